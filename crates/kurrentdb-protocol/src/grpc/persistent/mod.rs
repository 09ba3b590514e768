//! `persistent_subscriptions.PersistentSubscriptions`: the calls. What they ask for is read in `parse`, what they answer is
//! put into words in `answer`, and a consumer's two streams are in `consume`.
//!
//! Who may change or list groups is who may read the stream that holds them. They may consume every group; others those to
//! a stream that they may follow, unless it is one of the system's or the group resolves links, because what comes then
//! is from other streams. A group's own reads and writes are the node's, so what its consumers may is asked again for each
//! batch that they are sent (KurrentDB asks once, when they come): one who may no longer is told so as at the beginning,
//! and what was meant for them goes to others.
//!
//! Each call is a deed in its caller's trail, also one that is refused or makes no sense; consuming is one when it begins.

mod answer;
mod consume;
mod parse;

use super::{
    Services, begin,
    proto::event_store::client::persistent_subscriptions::{
        CreateReq, CreateResp, DeleteReq, DeleteResp, GetInfoReq, GetInfoResp, ListReq, ListResp, ReadReq,
        ReadResp, ReplayParkedReq, ReplayParkedResp, TruncateParkedReq, TruncateParkedResp, UpdateReq,
        UpdateResp, persistent_subscriptions_server::PersistentSubscriptions,
    },
    status,
};
use crate::{
    Credentials, Entry, Trail, gate,
    persistent::{CONFIG_STREAM, GroupError, GroupKey, Registry},
};
use event_store::{Error, ErrorCode, EventStore, ReadStream, StreamName};
use futures::stream::BoxStream;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

#[tonic::async_trait]
impl PersistentSubscriptions for Services {
    type ReadStream = BoxStream<'static, Result<ReadResp, Status>>;

    async fn create(&self, request: Request<CreateReq>) -> Result<Response<CreateResp>, Status> {
        let (entry, by) = (self.enter(&request), user(request.metadata()));
        let entry = entry.await?;
        let asked = parse::definition(request.into_inner().options, true).map(|asked| (asked.key(), asked));
        let create = |groups: Arc<Registry>, _, asked| async move { groups.create(asked, &by).await };
        self.manage(entry, "create-group", asked, create).await?;
        Ok(Response::new(CreateResp {}))
    }

    async fn update(&self, request: Request<UpdateReq>) -> Result<Response<UpdateResp>, Status> {
        let (entry, by) = (self.enter(&request), user(request.metadata()));
        let entry = entry.await?;
        let asked = parse::definition(request.into_inner().options, false).map(|asked| (asked.key(), asked));
        let update = |groups: Arc<Registry>, _, asked| async move { groups.update(asked, &by).await };
        self.manage(entry, "update-group", asked, update).await?;
        Ok(Response::new(UpdateResp {}))
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        let (entry, by) = (self.enter(&request), user(request.metadata()));
        let entry = entry.await?;
        let asked = parse::delete(request.into_inner()).map(|key| (key, ()));
        let delete = |groups: Arc<Registry>, key, ()| async move { groups.delete(&key, &by).await };
        self.manage(entry, "delete-group", asked, delete).await?;
        Ok(Response::new(DeleteResp {}))
    }

    async fn read(&self, request: Request<Streaming<ReadReq>>) -> Result<Response<Self::ReadStream>, Status> {
        consume::consume(self, request).await.map(Response::new)
    }

    async fn get_info(&self, request: Request<GetInfoReq>) -> Result<Response<GetInfoResp>, Status> {
        let Entry { rights, trail, .. } = self.enter(&request).await?;
        let asked = parse::get_info(request.into_inner());
        let key = asked.as_ref().ok().cloned();
        let told = written(&*trail, "describe-group", key.as_ref(), async {
            let key = asked?;
            let groups = self.groups()?;
            may_consume(groups, &*rights, &key).await?;
            Ok(groups.group(&key).await?.info().await?)
        });
        Ok(Response::new(GetInfoResp { subscription_info: Some(answer::info(told.await?)) }))
    }

    async fn replay_parked(
        &self,
        request: Request<ReplayParkedReq>,
    ) -> Result<Response<ReplayParkedResp>, Status> {
        let entry = self.enter(&request).await?;
        let asked = parse::parked(request.into_inner().options, "replay");
        let replay =
            |groups: Arc<Registry>, key, until| async move { groups.group(&key).await?.replay(until).await };
        self.manage(entry, "replay-parked", asked, replay).await?;
        Ok(Response::new(ReplayParkedResp {}))
    }

    async fn truncate_parked(
        &self,
        request: Request<TruncateParkedReq>,
    ) -> Result<Response<TruncateParkedResp>, Status> {
        let entry = self.enter(&request).await?;
        let asked = parse::parked(request.into_inner().options, "truncate");
        let truncate = |groups: Arc<Registry>, key, until| async move {
            groups.group(&key).await?.truncate(until).await
        };
        self.manage(entry, "truncate-parked", asked, truncate).await?;
        Ok(Response::new(TruncateParkedResp {}))
    }

    async fn list(&self, request: Request<ListReq>) -> Result<Response<ListResp>, Status> {
        let Entry { rights, trail, .. } = self.enter(&request).await?;
        let asked = parse::list(request.into_inner());
        let of = |source: &String| GroupKey { source: source.clone(), group: String::new() };
        let key = asked.as_ref().ok().and_then(Option::as_ref).map(of);
        let told = written(&*trail, "list-groups", key.as_ref(), async {
            may_manage(&*rights).await?;
            let source = asked?;
            let infos = match &self.persistent {
                Some(groups) => groups.list(source.as_deref()).await?,
                None => Vec::new(),
            };
            // KurrentDB says of a stream that never had a group that there is none.
            if infos.is_empty() && source.is_some() {
                return Err(GroupError::Missing.into());
            }
            Ok(infos)
        });
        Ok(Response::new(ListResp { subscriptions: told.await?.into_iter().map(answer::info).collect() }))
    }

    async fn restart_subsystem(&self, request: Request<()>) -> Result<Response<()>, Status> {
        self.restart_groups(request).await.map(Response::new)
    }
}

/// Why a call was refused.
enum Failure {
    /// What it asks for makes no sense.
    Asked(Status),
    /// What it asks for cannot be done.
    Group(GroupError),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Asked(status)
    }
}

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Self {
        Self::Group(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Group(error.into())
    }
}

/// What came of a call, as a trail has it.
const fn outcome<T>(done: &Result<T, Failure>) -> &'static str {
    match done {
        Ok(_) => "ok",
        Err(Failure::Asked(_)) => ErrorCode::ValidationFailed.slug(),
        Err(Failure::Group(error)) => error.name(),
    }
}

/// What a call is answered that is about this group, or about none.
fn answered<T>(done: Result<T, Failure>, key: Option<&GroupKey>) -> Result<T, Status> {
    done.map_err(|failure| match (failure, key) {
        (Failure::Asked(status), _) => status,
        (Failure::Group(error), Some(key)) => status::of_group(&error, key),
        (Failure::Group(error), None) => {
            status::of_group(&error, &GroupKey { source: String::new(), group: String::new() })
        }
    })
}

/// Does something, and writes down that it was asked for and what came of it.
async fn written<T>(
    trail: &dyn Trail,
    action: &'static str,
    key: Option<&GroupKey>,
    done: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Status> {
    let deed = begin(trail, action, key)?;
    let done = done.await;
    deed.end(outcome(&done));
    answered(done, key)
}

impl Services {
    fn groups(&self) -> Result<&Arc<Registry>, GroupError> {
        self.persistent.as_ref().ok_or_else(|| {
            GroupError::Store(Error::Unsupported(
                "keep persistent subscriptions: the node has no store of its own".into(),
            ))
        })
    }

    /// Starts all groups anew, from what is written down of them.
    pub(super) async fn restart_groups(&self, request: Request<()>) -> Result<(), Status> {
        let entry = self.enter(&request).await?;
        let nothing = GroupKey { source: String::new(), group: String::new() };
        let restart = |groups: Arc<Registry>, _, ()| async move { groups.restart().await };
        self.manage(entry, "restart-groups", Ok((nothing, ())), restart).await
    }

    /// Does something with the groups for whoever may manage them, and writes it down; to its end, even if the client goes
    /// away meanwhile.
    async fn manage<A, F>(
        &self,
        entry: Entry,
        action: &'static str,
        asked: Result<(GroupKey, A), Status>,
        deed: impl FnOnce(Arc<Registry>, GroupKey, A) -> F + Send + 'static,
    ) -> Result<(), Status>
    where
        A: Send + 'static,
        F: Future<Output = Result<(), GroupError>> + Send + 'static,
    {
        let Entry { rights, trail, .. } = entry;
        let key = asked.as_ref().ok().map(|(key, _)| key.clone());
        let begun = begin(&*trail, action, key.as_ref())?;
        let groups = self.groups().cloned();
        let done = tokio::spawn(async move {
            let done = async {
                may_manage(&*rights).await?;
                let (key, asked) = asked?;
                Ok(deed(groups?, key, asked).await?)
            };
            let done = done.await;
            begun.end(outcome(&done));
            done
        });
        let done = done.await.map_err(|e| Error::Internal(e.to_string()).into()).flatten();
        answered(done, key.as_ref())
    }
}

/// Whether the caller may manage groups.
async fn may_manage(rights: &dyn EventStore) -> Result<(), Error> {
    let stream = StreamName::new(CONFIG_STREAM).map_err(|e| Error::InvalidArgument(e.to_string()))?;
    match rights.read_stream(&stream, ReadStream::backwards(1)).await {
        Ok(_) | Err(Error::StreamNotFound(_) | Error::StreamDeleted(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Refuses whoever may not be sent a group's events; tells which streams they must be able to read for that.
async fn may_consume(
    groups: &Registry,
    rights: &dyn EventStore,
    key: &GroupKey,
) -> Result<Vec<StreamName>, GroupError> {
    let named = |name: &str| StreamName::new(name).map_err(|e| Error::InvalidArgument(e.to_string()));
    let all = key.source.starts_with('$');
    let mut streams = Vec::new();
    if !all {
        let stream = named(&key.source)?;
        gate::may_follow(rights, &stream).await.map_err(unread)?;
        streams.push(stream);
    }
    let links = groups.resolves_links(key).await;
    if all || matches!(links, Ok(true)) {
        may_manage(rights).await?;
        streams.push(named(CONFIG_STREAM)?);
    }
    links.map(|_| streams)
}

/// Why somebody is not sent the events of a stream.
fn unread(error: Error) -> GroupError {
    match error {
        // To this caller it is as if nothing were there.
        Error::StreamNotFound(_) => GroupError::Missing,
        error => GroupError::Store(error),
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
