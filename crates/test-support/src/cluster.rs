//! Three nodes over one store, each behind a wire of its own, and a way to say which of them leads.

use crate::{Node, Proxy};
use event_store::{Clock, EventStore, IdSource as _, RandomIds};
use kurrentdb_protocol::{Cluster, FaceOptions, Member, MemberState, OpenGate};
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::watch};

const NODES: usize = 3;

/// A cluster as its clients see one: what is written by one node is read from all, and one of them leads.
#[derive(Debug)]
pub struct Nodes {
    nodes: Vec<Node>,
    /// What clients know of a node is where its wire begins.
    wires: Vec<Proxy>,
    /// Leads to any node that is there, as a name of the whole cluster would.
    entrance: Proxy,
    members: watch::Sender<Vec<Member>>,
}

/// How a leader ceases to be it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It goes on as a follower, and says who leads.
    HandsOver,
    /// What ran to it ends, and it is not reached any more.
    IsGone,
    /// The same, and nobody is told: what ran to it is silent.
    IsSilent,
}

impl Nodes {
    /// Three nodes over a store, of which the first leads.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn over(store: Arc<dyn EventStore>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let mut wires = Vec::new();
        for _ in 0..NODES {
            wires.push(Proxy::to(nobody().await?).await?);
        }
        let member = |(i, wire): (usize, &Proxy)| Member {
            id: RandomIds.next_id(),
            host: wire.address().ip().to_string(),
            port: wire.address().port(),
            state: if i == 0 { MemberState::Leader } else { MemberState::Follower },
        };
        let known: Vec<Member> = wires.iter().enumerate().map(member).collect();
        let members = watch::Sender::new(known.clone());
        let mut nodes = Vec::new();
        for (wire, member) in wires.iter().zip(known) {
            let gate = Arc::new(OpenGate(Arc::clone(&store)));
            let options = FaceOptions::new(gate, Arc::clone(&clock), Arc::new(RandomIds));
            let cluster = Some(Cluster::new(members.subscribe(), member.id));
            let node = Node::with(FaceOptions { cluster, ..options }, "127.0.0.1:0").await;
            wire.lead_to(node.address());
            nodes.push(node);
        }
        let entrance = Proxy::to(nodes[1].address()).await?;
        Ok(Self { nodes, wires, entrance, members })
    }

    /// The address of each node, for a client that knows them all.
    #[must_use]
    pub fn seeds(&self) -> String {
        let seeds: Vec<_> = self.wires.iter().map(|wire| wire.address().to_string()).collect();
        format!("kurrentdb://{}?tls=false", seeds.join(","))
    }

    /// One address for all of them.
    #[must_use]
    pub fn name(&self) -> String {
        format!("kurrentdb+discover://{}?tls=false", self.entrance.address())
    }

    fn leader(&self) -> usize {
        let members = self.members.borrow();
        members.iter().position(|member| member.state == MemberState::Leader).unwrap_or_default()
    }

    /// The next node leads. Whichever was gone before is back.
    ///
    /// # Errors
    /// If no port can be bound that nobody listens on.
    pub async fn change(&self, change: Change) -> io::Result<()> {
        let old = self.leader();
        let new = (old + 1) % NODES;
        for (i, wire) in self.wires.iter().enumerate() {
            wire.lead_to(self.nodes[i].address());
        }
        if change != Change::HandsOver {
            self.wires[old].lead_to(nobody().await?);
        }
        match change {
            Change::HandsOver => {}
            Change::IsGone => self.wires[old].cut(),
            Change::IsSilent => self.wires[old].freeze(),
        }
        // Clients ask a follower who leads.
        self.entrance.lead_to(self.nodes[(new + 1) % NODES].address());
        self.entrance.cut();
        self.members.send_modify(|members| {
            for (i, member) in members.iter_mut().enumerate() {
                member.state = match i {
                    i if i == new => MemberState::Leader,
                    i if i == old && change != Change::HandsOver => MemberState::Gone,
                    _ => MemberState::Follower,
                };
            }
        });
        Ok(())
    }
}

/// An address where nobody listens.
async fn nobody() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").await?.local_addr()
}
