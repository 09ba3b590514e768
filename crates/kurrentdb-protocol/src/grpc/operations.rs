//! `operations.Operations`: what an operator asks of a node. This one is a part of a process that is operated otherwise,
//! and says so; only who may ask is told so. Persistent subscriptions are the node's own, and it restarts them.

use super::{
    Services,
    proto::event_store::client::operations::{
        ScavengeResp, SetNodePriorityReq, StartScavengeReq, StopScavengeReq, operations_server::Operations,
    },
};
use tonic::{Request, Response, Status};

impl Services {
    async fn cannot<A, T>(&self, request: Request<A>, why: &str) -> Result<Response<T>, Status> {
        self.store(&request).await?;
        Err(Status::unimplemented(why))
    }
}

#[tonic::async_trait]
impl Operations for Services {
    async fn start_scavenge(
        &self,
        request: Request<StartScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        self.cannot(request, "this node does not scavenge").await
    }

    async fn stop_scavenge(
        &self,
        request: Request<StopScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        self.cannot(request, "this node does not scavenge: there is none to stop").await
    }

    async fn shutdown(&self, request: Request<()>) -> Result<Response<()>, Status> {
        self.cannot(request, "this node is stopped by the process that it is a part of").await
    }

    async fn merge_indexes(&self, request: Request<()>) -> Result<Response<()>, Status> {
        self.cannot(request, "this node's index needs no merging").await
    }

    async fn resign_node(&self, request: Request<()>) -> Result<Response<()>, Status> {
        self.cannot(request, "this node is alone: nobody could lead in its place").await
    }

    async fn set_node_priority(&self, request: Request<SetNodePriorityReq>) -> Result<Response<()>, Status> {
        self.cannot(request, "this node is alone: it has no priority").await
    }

    async fn restart_persistent_subscriptions(&self, request: Request<()>) -> Result<Response<()>, Status> {
        self.restart_groups(request).await.map(Response::new)
    }
}
