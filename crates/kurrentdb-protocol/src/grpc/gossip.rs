//! `gossip.Gossip`: the members of the cluster, or of one whose leader is this node.

use super::{
    Services, convert,
    layers::Authority,
    proto::event_store::client::gossip::{
        ClusterInfo, EndPoint, MemberInfo, gossip_server::Gossip, member_info,
    },
    status,
};
use crate::{Member, MemberState};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Gossip for Services {
    /// Clients that discover connect to the host and port that stand here, so those are the ones they came by unless
    /// others were set.
    async fn read(&self, request: Request<()>) -> Result<Response<ClusterInfo>, Status> {
        if let Some(cluster) = &self.options.cluster {
            let now = self.options.clock.now().ticks();
            let members = cluster.members().into_iter().map(|member| to_wire(member, now)).collect();
            return Ok(Response::new(ClusterInfo { members }));
        }
        let asked = request.extensions().get::<Authority>().map(|a| (a.host.clone(), a.port));
        let Some((address, port)) = self.options.advertise.clone().or(asked) else {
            return Err(status::invalid("the request names no authority, and no address is advertised"));
        };
        let closing = *self.closing.borrow();
        let state = if closing { member_info::State::ShuttingDown } else { member_info::State::Leader };
        let member = MemberInfo {
            instance_id: Some(convert::uuid_to_wire(self.instance, convert::UuidForm::Structured)),
            time_stamp: self.options.clock.now().ticks(),
            state: state.into(),
            is_alive: !closing,
            http_end_point: Some(EndPoint { address, port: port.into() }),
        };
        Ok(Response::new(ClusterInfo { members: vec![member] }))
    }
}

fn to_wire(member: Member, now: i64) -> MemberInfo {
    let state = match member.state {
        MemberState::Leader => member_info::State::Leader,
        MemberState::Follower => member_info::State::Follower,
        MemberState::Gone => member_info::State::Unknown,
    };
    MemberInfo {
        instance_id: Some(convert::uuid_to_wire(member.id, convert::UuidForm::Structured)),
        time_stamp: now,
        state: state.into(),
        is_alive: member.state != MemberState::Gone,
        http_end_point: Some(EndPoint { address: member.host, port: member.port.into() }),
    }
}
