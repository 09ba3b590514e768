//! The cluster that a node is one of: who the others are, and which of them leads.
//!
//! A single node needs none of this: it leads itself. Nodes do not elect anybody here: whoever runs them says how it is, and
//! each node answers as KurrentDB's nodes do. It names all of them in gossip, and what a client asks of the leader alone
//! (`requires-leader`) it refuses with the leader's address where it is not the one, what runs included.

use tokio::sync::watch;
use uuid::Uuid;

/// A node, as clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its own id.
    pub id: Uuid,
    /// Where clients reach it.
    pub host: String,
    /// The port of the same.
    pub port: u16,
    /// What it is to the others.
    pub state: MemberState,
}

/// What a node is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It leads.
    Leader,
    /// It follows the leader.
    Follower,
    /// Nobody reaches it.
    Gone,
}

/// A cluster as one of its nodes knows it.
#[derive(Debug, Clone)]
pub struct Cluster {
    members: watch::Receiver<Vec<Member>>,
    this: Uuid,
}

impl Cluster {
    /// The cluster of these members, of which the node with this id is one.
    #[must_use]
    pub const fn new(members: watch::Receiver<Vec<Member>>, this: Uuid) -> Self {
        Self { members, this }
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        self.members.borrow().clone()
    }

    /// The host and port of the leader, if there is one.
    pub(crate) fn leader(&self) -> Option<(String, u16)> {
        let members = self.members.borrow();
        let leader = members.iter().find(|member| member.state == MemberState::Leader)?;
        Some((leader.host.clone(), leader.port))
    }

    pub(crate) fn leads(&self) -> bool {
        leads(&self.members.borrow(), self.this)
    }

    /// Ends when this node does not lead.
    pub(crate) async fn deposed(mut self) {
        let this = self.this;
        if self.members.wait_for(|members| !leads(members, this)).await.is_err() {
            // Nobody can say any more that another leads.
            std::future::pending::<()>().await;
        }
    }
}

fn leads(members: &[Member], this: Uuid) -> bool {
    members.iter().any(|member| member.id == this && member.state == MemberState::Leader)
}
