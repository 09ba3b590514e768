//! `streams.Streams`: the calls, each with its request parsed, its store entered, and its answer made elsewhere.

use super::{
    Services, convert,
    proto::event_store::client::streams::{
        AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq, ReadResp,
        delete_resp, streams_server::Streams,
    },
    status,
    subscription::until,
};
use crate::Entry;
use event_store::{Deleted, ErrorCode};
use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};
use tonic::{Request, Response, Status, Streaming};

/// What a read or a subscription answers.
pub(crate) type Responses = BoxStream<'static, Result<ReadResp, Status>>;

#[tonic::async_trait]
impl Streams for Services {
    type ReadStream = Responses;
    type BatchAppendStream = BoxStream<'static, Result<BatchAppendResp, Status>>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Self::ReadStream>, Status> {
        let led = self.led(request.metadata()).cloned();
        let entry = self.enter(&request).await?;
        let answers = Services::read(self, entry, request.into_inner()).await?;
        Ok(Response::new(match led {
            Some(cluster) => {
                let leader = cluster.clone();
                until(answers, cluster.deposed().map(move |()| status::not_leader(leader.leader()))).boxed()
            }
            None => answers,
        }))
    }

    async fn append(&self, request: Request<Streaming<AppendReq>>) -> Result<Response<AppendResp>, Status> {
        let store = self.store(&request).await?;
        Services::append(self, &*store, request.into_inner()).await.map(Response::new)
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        let store = self.store(&request).await?;
        let (stream, expected) = convert::write_options(request.into_inner().options.as_ref())?;
        store.delete(&stream, expected).await.map(deleted).map_err(|e| status::of(&e))
    }

    async fn tombstone(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        let store = self.store(&request).await?;
        let (stream, expected) = convert::write_options(request.into_inner().options.as_ref())?;
        store.tombstone(&stream, expected).await.map(deleted).map_err(|e| status::of(&e))
    }

    async fn batch_append(
        &self,
        request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        let Entry { store, lost, .. } = self.enter(&request).await?;
        let answers = Services::batch_append(self, store, request.into_inner());
        let lost = lost.map(|()| status::refused(ErrorCode::AuthenticationFailed));
        Ok(Response::new(until(answers, lost).boxed()))
    }
}

fn deleted(deleted: Deleted) -> Response<DeleteResp> {
    let position = delete_resp::At::Position(convert::position_to_wire(deleted.position));
    Response::new(DeleteResp { at: Some(position) })
}
