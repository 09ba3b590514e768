//! `operations.Operations`: what an operator asks of a node. This one is a part of a process that is operated otherwise,
//! and says so; only who may ask is told so. Persistent subscriptions are the node's own, and it restarts them.

use super::{
    Services, begin,
    proto::event_store::client::operations::{
        ScavengeResp, SetNodePriorityReq, StartScavengeReq, StopScavengeReq, operations_server::Operations,
    },
};
use crate::Entry;
use event_store::ErrorCode;
use tonic::{Request, Response, Status};

impl Services {
    /// Refuses what the node does not do, to whoever may come in, and writes down that it was asked for.
    async fn cannot<A, T>(
        &self,
        request: Request<A>,
        action: &'static str,
        why: &str,
    ) -> Result<Response<T>, Status> {
        let Entry { trail, .. } = self.enter(&request).await?;
        begin(&*trail, action, None)?.end(ErrorCode::NotImplemented.slug());
        Err(Status::unimplemented(why))
    }
}

#[tonic::async_trait]
impl Operations for Services {
    async fn start_scavenge(
        &self,
        request: Request<StartScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        self.cannot(request, "start-scavenge", "this node does not scavenge").await
    }

    async fn stop_scavenge(
        &self,
        request: Request<StopScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        self.cannot(request, "stop-scavenge", "this node does not scavenge: there is none to stop").await
    }

    async fn shutdown(&self, request: Request<()>) -> Result<Response<()>, Status> {
        self.cannot(request, "shutdown", "this node is stopped by the process that it is a part of").await
    }

    async fn merge_indexes(&self, request: Request<()>) -> Result<Response<()>, Status> {
        self.cannot(request, "merge-indexes", "this node's index needs no merging").await
    }

    async fn resign_node(&self, request: Request<()>) -> Result<Response<()>, Status> {
        self.cannot(request, "resign-node", "this node is alone: nobody could lead in its place").await
    }

    async fn set_node_priority(&self, request: Request<SetNodePriorityReq>) -> Result<Response<()>, Status> {
        self.cannot(request, "set-node-priority", "this node is alone: it has no priority").await
    }

    async fn restart_persistent_subscriptions(&self, request: Request<()>) -> Result<Response<()>, Status> {
        self.restart_groups(request).await.map(Response::new)
    }
}
