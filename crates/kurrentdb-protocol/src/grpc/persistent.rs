//! `persistent_subscriptions.PersistentSubscriptions`, as far as it is served: there are none, and the list says so.

use super::{
    Services,
    proto::event_store::client::persistent_subscriptions::{
        ListReq, ListResp, persistent_subscriptions_server::PersistentSubscriptions,
    },
};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl PersistentSubscriptions for Services {
    async fn list(&self, request: Request<ListReq>) -> Result<Response<ListResp>, Status> {
        self.store(request.metadata()).await?;
        Ok(Response::new(ListResp::default()))
    }
}
