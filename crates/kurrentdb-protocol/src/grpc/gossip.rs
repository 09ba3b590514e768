//! `gossip.Gossip`: a cluster of one, whose leader is this node.

use super::{
    Services, convert,
    layers::Authority,
    proto::event_store::client::gossip::{
        ClusterInfo, EndPoint, MemberInfo, gossip_server::Gossip, member_info,
    },
    status,
};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Gossip for Services {
    /// Clients that discover connect to the host and port that stand here, so those are the ones they came by unless
    /// others were set.
    async fn read(&self, request: Request<()>) -> Result<Response<ClusterInfo>, Status> {
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
