//! `persistent_subscriptions.PersistentSubscriptions`: the calls. What they ask for is read in `parse`, what they answer is
//! put into words in `answer`, and a consumer's two streams are in `consume`.
//!
//! Who may change or list groups is who may read the stream that holds them. They may consume every group; others those to
//! a stream that they may follow, unless it is one of the system's or the group resolves links, because what comes then
//! is from other streams. A group's own reads and writes are the node's, so what its consumers may is asked again for each
//! batch that they are sent (KurrentDB asks once, when they come): one who may no longer is told so as at the beginning,
//! and what was meant for them goes to others.

mod answer;
mod consume;
mod parse;

use super::{
    Services,
    proto::event_store::client::persistent_subscriptions::{
        CreateReq, CreateResp, DeleteReq, DeleteResp, GetInfoReq, GetInfoResp, ListReq, ListResp, ReadReq,
        ReadResp, ReplayParkedReq, ReplayParkedResp, TruncateParkedReq, TruncateParkedResp, UpdateReq,
        UpdateResp, persistent_subscriptions_server::PersistentSubscriptions,
    },
    status,
};
use crate::{
    Credentials, gate,
    persistent::{CONFIG_STREAM, GroupError, GroupKey, Registry},
};
use event_store::{Error, EventStore, ReadStream, StreamName};
use futures::stream::BoxStream;
use std::{future::Future, sync::Arc};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

#[tonic::async_trait]
impl PersistentSubscriptions for Services {
    type ReadStream = BoxStream<'static, Result<ReadResp, Status>>;

    async fn create(&self, request: Request<CreateReq>) -> Result<Response<CreateResp>, Status> {
        let by = self.manager(&request).await?;
        let definition = parse::definition(request.into_inner().options, true)?;
        let key = definition.key();
        self.change(key, move |groups| async move { groups.create(definition, &by).await }).await?;
        Ok(Response::new(CreateResp {}))
    }

    async fn update(&self, request: Request<UpdateReq>) -> Result<Response<UpdateResp>, Status> {
        let by = self.manager(&request).await?;
        let definition = parse::definition(request.into_inner().options, false)?;
        let key = definition.key();
        self.change(key, move |groups| async move { groups.update(definition, &by).await }).await?;
        Ok(Response::new(UpdateResp {}))
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        let by = self.manager(&request).await?;
        let key = parse::delete(request.into_inner())?;
        let asked = key.clone();
        self.change(key, move |groups| async move { groups.delete(&asked, &by).await }).await?;
        Ok(Response::new(DeleteResp {}))
    }

    async fn read(&self, request: Request<Streaming<ReadReq>>) -> Result<Response<Self::ReadStream>, Status> {
        consume::consume(self, request).await.map(Response::new)
    }

    async fn get_info(&self, request: Request<GetInfoReq>) -> Result<Response<GetInfoResp>, Status> {
        let store = self.store(&request).await?;
        let key = parse::get_info(request.into_inner())?;
        let groups = self.groups().map_err(|e| status::of_group(&e, &key))?;
        may_consume(groups, &*store, &key).await?;
        let info = async { groups.group(&key).await?.info().await };
        let info = info.await.map_err(|e| status::of_group(&e, &key))?;
        Ok(Response::new(GetInfoResp { subscription_info: Some(answer::info(info)) }))
    }

    async fn replay_parked(
        &self,
        request: Request<ReplayParkedReq>,
    ) -> Result<Response<ReplayParkedResp>, Status> {
        self.manager(&request).await?;
        let (key, stop_at) = parse::parked(request.into_inner().options, "replay")?;
        let asked = key.clone();
        self.change(key, move |groups| async move { groups.group(&asked).await?.replay(stop_at).await })
            .await?;
        Ok(Response::new(ReplayParkedResp {}))
    }

    async fn truncate_parked(
        &self,
        request: Request<TruncateParkedReq>,
    ) -> Result<Response<TruncateParkedResp>, Status> {
        self.manager(&request).await?;
        let (key, stop_at) = parse::parked(request.into_inner().options, "truncate")?;
        let asked = key.clone();
        self.change(key, move |groups| async move { groups.group(&asked).await?.truncate(stop_at).await })
            .await?;
        Ok(Response::new(TruncateParkedResp {}))
    }

    async fn list(&self, request: Request<ListReq>) -> Result<Response<ListResp>, Status> {
        self.manager(&request).await?;
        let source = parse::list(request.into_inner())?;
        let key = GroupKey { source: source.clone().unwrap_or_default(), group: String::new() };
        let infos = match &self.persistent {
            Some(groups) => groups.list(source.as_deref()).await,
            None => Ok(Vec::new()),
        };
        let infos = infos.map_err(|e| status::of_group(&e, &key))?;
        // KurrentDB says of a stream that never had a group that there is none.
        if infos.is_empty() && source.is_some() {
            return Err(status::of_group(&GroupError::Missing, &key));
        }
        Ok(Response::new(ListResp { subscriptions: infos.into_iter().map(answer::info).collect() }))
    }

    async fn restart_subsystem(&self, request: Request<()>) -> Result<Response<()>, Status> {
        self.restart_groups(request).await.map(Response::new)
    }
}

impl Services {
    fn groups(&self) -> Result<&Arc<Registry>, GroupError> {
        self.persistent.as_ref().ok_or_else(|| {
            GroupError::Store(Error::Unsupported(
                "keep persistent subscriptions: the node has no store of its own".into(),
            ))
        })
    }

    /// Whoever may manage groups, by name.
    fn manager<'a, T>(
        &'a self,
        request: &Request<T>,
    ) -> impl Future<Output = Result<String, Status>> + Send + use<'a, T> {
        let (store, name) = (self.store(request), user(request.metadata()));
        async move {
            may_manage(&*store.await?).await?;
            Ok(name)
        }
    }

    /// Starts all groups anew, from what is written down of them.
    pub(super) async fn restart_groups(&self, request: Request<()>) -> Result<(), Status> {
        self.manager(&request).await?;
        let key = GroupKey { source: String::new(), group: String::new() };
        self.change(key, |groups| async move { groups.restart().await }).await
    }

    /// Does something with the groups to its end, even if the client goes away meanwhile.
    async fn change<F>(&self, key: GroupKey, deed: impl FnOnce(Arc<Registry>) -> F) -> Result<(), Status>
    where
        F: Future<Output = Result<(), GroupError>> + Send + 'static,
    {
        let groups = self.groups().map_err(|e| status::of_group(&e, &key))?;
        let done = tokio::spawn(deed(Arc::clone(groups))).await;
        let done = done.map_err(|e| GroupError::Store(Error::Internal(e.to_string()))).flatten();
        done.map_err(|e| status::of_group(&e, &key))
    }
}

/// Whether the caller may manage groups.
async fn may_manage(store: &dyn EventStore) -> Result<(), Status> {
    let stream = StreamName::new(CONFIG_STREAM).map_err(|e| status::invalid(e.to_string()))?;
    match store.read_stream(&stream, ReadStream::backwards(1)).await {
        Ok(_) | Err(Error::StreamNotFound(_) | Error::StreamDeleted(_)) => Ok(()),
        Err(error) => Err(status::of(&error)),
    }
}

/// Refuses whoever may not be sent a group's events; tells which streams they must be able to read for that.
async fn may_consume(
    groups: &Registry,
    store: &dyn EventStore,
    key: &GroupKey,
) -> Result<Vec<StreamName>, Status> {
    let named = |name: &str| StreamName::new(name).map_err(|e| status::invalid(e.to_string()));
    let all = key.source.starts_with('$');
    let mut streams = Vec::new();
    if !all {
        let stream = named(&key.source)?;
        gate::may_follow(store, &stream).await.map_err(|error| unread(&error, key))?;
        streams.push(stream);
    }
    let links = groups.resolves_links(key).await.map_err(|e| status::of_group(&e, key));
    if all || matches!(links, Ok(true)) {
        may_manage(store).await?;
        streams.push(named(CONFIG_STREAM)?);
    }
    links.map(|_| streams)
}

/// Why somebody is not sent the events of a stream.
fn unread(error: &Error, key: &GroupKey) -> Status {
    match error {
        // To this caller it is as if nothing were there.
        Error::StreamNotFound(_) => status::of_group(&GroupError::Missing, key),
        error => status::of(error),
    }
}

/// The login name that a call came with.
fn user(metadata: &MetadataMap) -> String {
    let header = metadata.get("authorization").map(tonic::metadata::MetadataValue::as_encoded_bytes);
    match Credentials::from_header(header) {
        Credentials::Basic { user, .. } => user,
        _ => "anonymous".into(),
    }
}
