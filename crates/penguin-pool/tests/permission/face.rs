//! Each call of KurrentDB's protocol, and what each caller is answered, with credentials as its clients send them.
//!
//! As in the matrix of the API, whoever may not read a stream is never told what stands in it. Long, because every method
//! of every service has its row here: a test over the protocol's own files demands it.

use crate::world::{Kept, Who, World};
use futures::{StreamExt as _, future::BoxFuture, stream};
use kurrentdb_protocol::grpc::proto::{
    event_store::client::{
        Property, StreamIdentifier, Uuid, gossip,
        monitoring::{StatsReq, monitoring_client::MonitoringClient},
        operations::{
            SetNodePriorityReq, StartScavengeReq, StopScavengeReq, operations_client::OperationsClient,
        },
        persistent_subscriptions::{
            self as persistent, GroupOptions, ParkedOptions, group_options,
            persistent_subscriptions_client::PersistentSubscriptionsClient,
        },
        server_features::server_features_client::ServerFeaturesClient,
        streams::{
            AppendReq, BatchAppendReq, DeleteReq, ProposedMessage, ReadReq, ReadResp, WriteOptions,
            append_req, batch_append_resp, read_req, read_resp, streams_client::StreamsClient, write_options,
        },
        users::{self, users_client::UsersClient},
        uuid,
    },
    kurrentdb::protocol::v2::streams::{
        AppendRecord, AppendRecordsRequest, AppendRequest, SchemaInfo,
        streams_service_client::StreamsServiceClient,
    },
};
use std::{
    collections::BTreeSet,
    fmt::Debug,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Channel, Endpoint},
};

/// Long enough for the slowest machine.
const LONG: Duration = Duration::from_secs(30);

/// What callers are answered, in the order of [`Who::AND_KEY`]: `ok`, `missing` where an answer says that a stream is, or
/// a code of gRPC's.
type Outcomes = [&'static str; 8];

const NOBODY: &str = "Unauthenticated";
const DENIED: &str = "PermissionDenied";

/// Whoever is known.
const KNOWN: Outcomes = [NOBODY, "ok", "ok", "ok", "ok", "ok", "ok", "ok"];
/// Whoever may read the stream.
const READERS: Outcomes = [NOBODY, DENIED, "ok", "ok", "ok", DENIED, "ok", "ok"];
/// Whoever may append to it.
const WRITERS: Outcomes = [NOBODY, DENIED, "ok", DENIED, DENIED, "ok", "ok", "ok"];
/// Whoever may change and delete it.
const OWNERS: Outcomes = [NOBODY, DENIED, "ok", DENIED, DENIED, DENIED, "ok", "ok"];
/// Administrators.
const ADMINS: Outcomes = [NOBODY, DENIED, DENIED, DENIED, DENIED, DENIED, "ok", "ok"];
/// Everybody, credentials or none.
const EVERYBODY: Outcomes = ["ok"; 8];
/// What is not served is said to whoever is known.
const NOT_SERVED: Outcomes = {
    let no = "Unimplemented";
    [NOBODY, no, no, no, no, no, no, no]
};

/// Whoever may read a user's stream; to others it is as this says.
const fn finders(missing: &'static str) -> Outcomes {
    [NOBODY, missing, "ok", "ok", "ok", missing, "ok", "ok"]
}

/// One call by one caller.
#[derive(Clone)]
struct Call {
    channel: Channel,
    authorization: Option<String>,
    /// A stream of the owner's.
    stream: String,
    /// A user's stream of the owner's.
    users: String,
    /// A stream, or an account, that is not there yet.
    new: String,
    /// An account that is nobody's here.
    account: String,
}

impl Call {
    fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(LONG);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.parse().unwrap());
        }
        request
    }

    fn streams(&self) -> StreamsClient<Channel> {
        StreamsClient::new(self.channel.clone())
    }

    fn persistent(&self) -> PersistentSubscriptionsClient<Channel> {
        PersistentSubscriptionsClient::new(self.channel.clone())
    }

    fn users(&self) -> UsersClient<Channel> {
        UsersClient::new(self.channel.clone())
    }

    fn operations(&self) -> OperationsClient<Channel> {
        OperationsClient::new(self.channel.clone())
    }
}

type Answer = Result<String, Box<Status>>;

struct Row {
    /// `service/method`, and after a space what of it.
    operation: &'static str,
    outcomes: Outcomes,
    /// Whether it tells what stands in the stream.
    shows: bool,
    ask: fn(Call) -> BoxFuture<'static, Answer>,
}

/// A row: what is called, what comes of it, and whether that shows what stands in the stream.
macro_rules! row {
    ($operation:literal, $outcomes:expr, $shows:literal, |$call:ident| $ask:expr) => {
        Row {
            operation: $operation,
            outcomes: $outcomes,
            shows: $shows,
            ask: |$call| Box::pin(async move { $ask }),
        }
    };
}

fn named(stream: &str) -> Option<StreamIdentifier> {
    Some(StreamIdentifier { stream_name: stream.to_owned().into() })
}

fn told<T: Debug>(answer: Result<Response<T>, Status>) -> Answer {
    Ok(format!("{:?}", answer?.into_inner()))
}

/// What is answered one after the other, up to the one that is the last.
async fn all_told<T: Debug>(
    answer: Result<Response<Streaming<T>>, Status>,
    is_last: impl Fn(&T) -> bool,
) -> Answer {
    let mut messages = answer?.into_inner();
    let mut text = String::new();
    while let Some(message) = messages.message().await? {
        text.push_str(&format!("{message:?}"));
        if is_last(&message) {
            break;
        }
    }
    Ok(text)
}

fn of_stream(name: &str) -> read_req::options::Target {
    let from = Some(read_req::stream_options::From::Start(()));
    read_req::options::Target::Stream(read_req::StreamOptions { stream_identifier: named(name), from })
}

fn of_all() -> read_req::options::Target {
    let from = Some(read_req::all_options::From::Start(()));
    read_req::options::Target::All(read_req::AllOptions { from })
}

fn read(target: read_req::options::Target, kind: read_req::options::Kind) -> ReadReq {
    let options = read_req::Options {
        target: Some(target),
        kind: Some(kind),
        uuid_option: Some(read_req::UuidOption { form: Some(read_req::uuid_option::Form::String(())) }),
        ..read_req::Options::default()
    };
    ReadReq { options: Some(options) }
}

async fn page(call: Call, target: read_req::options::Target) -> Answer {
    let request = call.with(read(target, read_req::options::Kind::Count(100_000)));
    all_told(call.streams().read(request).await, |_| false).await
}

async fn follow(call: Call, target: read_req::options::Target) -> Answer {
    let request = call.with(read(target, read_req::options::Kind::Subscription(())));
    let live = |m: &ReadResp| matches!(m.content, Some(read_resp::Content::CaughtUp(_)));
    all_told(call.streams().read(request).await, live).await
}

fn write_to(stream: &str) -> WriteOptions {
    let expected = Some(write_options::Expected::Any(()));
    WriteOptions { stream_identifier: named(stream), expected, ..WriteOptions::default() }
}

fn proposed(event_type: &str) -> ProposedMessage {
    let property = |key: &str, value: &str| Property { key: key.to_owned(), value: value.to_owned() };
    ProposedMessage {
        id: Some(id()),
        metadata: vec![property("type", event_type), property("content-type", "application/json")],
        custom_metadata: "".into(),
        data: "{}".into(),
    }
}

/// Another one each time.
fn text_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    ::uuid::Uuid::from_u64_pair(9, NEXT.fetch_add(1, Ordering::Relaxed)).to_string()
}

fn id() -> Uuid {
    Uuid { value: Some(uuid::Value::String(text_id())) }
}

async fn append(call: Call, stream: String, event_type: &'static str) -> Answer {
    let messages = [
        append_req::Content::Options(write_to(&stream)),
        append_req::Content::ProposedMessage(proposed(event_type)),
    ];
    let messages = messages.map(|content| AppendReq { content: Some(content) });
    told(call.streams().append(call.with(stream::iter(messages))).await)
}

async fn append_batch(call: Call) -> Answer {
    let message = BatchAppendReq {
        correlation_id: Some(id()),
        options: Some(write_to(&call.stream)),
        proposed_messages: vec![proposed("Added")],
        is_final: true,
    };
    let request = call.with(stream::iter([message]).chain(stream::pending()));
    let mut answers = call.streams().batch_append(request).await?.into_inner();
    let answer = answers.message().await?.expect("an answer");
    match answer.result {
        Some(batch_append_resp::Result::Error(error)) => {
            // Its codes are those of `google.rpc`, which gRPC's are.
            Err(Box::new(Status::new(Code::from(error.code), error.message)))
        }
        _ => Ok(format!("{answer:?}")),
    }
}

fn record(stream: &str) -> AppendRecord {
    AppendRecord {
        record_id: Some(text_id()),
        schema: Some(SchemaInfo { format: 1, name: "Added".to_owned(), id: None }),
        data: "{}".into(),
        stream: stream.to_owned(),
        ..AppendRecord::default()
    }
}

async fn append_session(call: Call) -> Answer {
    let stream = call.stream.clone();
    let one = AppendRequest { stream, records: vec![record("")], expected_revision: None };
    let mut client = StreamsServiceClient::new(call.channel.clone());
    told(client.append_session(call.with(stream::iter([one]))).await)
}

async fn append_records(call: Call) -> Answer {
    let records = AppendRecordsRequest { records: vec![record(&call.stream)], checks: Vec::new() };
    let mut client = StreamsServiceClient::new(call.channel.clone());
    told(client.append_records(call.with(records)).await)
}

fn group(stream: Option<&str>, name: &str) -> GroupOptions {
    let source = match stream {
        Some(stream) => group_options::Source::Stream(group_options::StreamOptions {
            stream_identifier: named(stream),
            from: Some(group_options::stream_options::From::Start(())),
        }),
        None => group_options::Source::All(group_options::AllOptions {
            from: Some(group_options::all_options::From::Start(())),
            filtering: None,
        }),
    };
    let settings = group_options::Settings {
        max_retry_count: 1,
        min_checkpoint_count: 1,
        max_checkpoint_count: 10,
        live_buffer_size: 100,
        read_batch_size: 10,
        history_buffer_size: 50,
        message_timeout: Some(group_options::settings::MessageTimeout::MessageTimeoutMs(30_000)),
        checkpoint_after: Some(group_options::settings::CheckpointAfter::CheckpointAfterMs(1_000)),
        consumer_strategy: "RoundRobin".to_owned(),
        ..group_options::Settings::default()
    };
    GroupOptions {
        source: Some(source),
        group_name: name.to_owned(),
        settings: Some(settings),
        ..GroupOptions::default()
    }
}

/// The group that each stream has.
const GROUP: &str = "workers";

/// The group of everything that a row is about.
fn group_of_all(call: &Call) -> String {
    format!("of-{}", call.stream)
}

/// Makes the groups that a row is about, at the node that is asked.
async fn make_groups(world: &World, call: &Call, who: Who, of_all: bool) {
    let maker = if who == Who::System { who } else { Who::Admin };
    let maker = Call { authorization: world.authorization(maker, "", "Bearer").await, ..call.clone() };
    let mut groups = vec![group(Some(&call.stream), GROUP), group(Some(&call.users), GROUP)];
    if of_all {
        groups.push(group(None, &group_of_all(call)));
    }
    for options in groups {
        let options = Some(options);
        maker.persistent().create(maker.with(persistent::CreateReq { options })).await.unwrap();
    }
}

async fn consume(call: Call, stream: Option<String>) -> Answer {
    use persistent::read_req::options::Source;
    let (source, group_name) = match &stream {
        Some(stream) => (Source::StreamIdentifier(named(stream).unwrap()), GROUP.to_owned()),
        None => (Source::All(()), group_of_all(&call)),
    };
    let options = persistent::read_req::Options {
        source: Some(source),
        group_name,
        buffer_size: 10,
        uuid_option: Some(read_req::UuidOption { form: Some(read_req::uuid_option::Form::String(())) }),
    };
    let first = persistent::ReadReq { content: Some(persistent::read_req::Content::Options(options)) };
    let request = call.with(stream::iter([first]).chain(stream::pending()));
    let is_event =
        |m: &persistent::ReadResp| matches!(m.content, Some(persistent::read_resp::Content::Event(_)));
    all_told(call.persistent().read(request).await, is_event).await
}

fn parked(call: &Call) -> Option<ParkedOptions> {
    use persistent::parked_options::{Source, Until};
    Some(ParkedOptions {
        group_name: GROUP.to_owned(),
        source: Some(Source::StreamIdentifier(named(&call.stream).unwrap())),
        until: Some(Until::NoLimit(())),
    })
}

fn info(stream: &str) -> persistent::GetInfoReq {
    use persistent::get_info_req::{Options, options::Source};
    let source = Some(Source::StreamIdentifier(named(stream).unwrap()));
    persistent::GetInfoReq { options: Some(Options { source, group_name: GROUP.to_owned() }) }
}

fn of_streams() -> Vec<Row> {
    vec![
        row!("Streams/Read", READERS, true, |c| {
            let target = of_stream(&c.stream);
            page(c, target).await
        }),
        row!("Streams/Read of a user's stream", finders("missing"), true, |c| {
            let target = of_stream(&c.users);
            page(c, target).await
        }),
        row!("Streams/Read of metadata", READERS, true, |c| {
            let target = of_stream(&format!("$${}", c.stream));
            page(c, target).await
        }),
        row!("Streams/Read of everything", KNOWN, true, |c| page(c, of_all()).await),
        row!("Streams/Read and follow", READERS, true, |c| {
            let target = of_stream(&c.stream);
            follow(c, target).await
        }),
        row!("Streams/Read and follow a user's stream", finders("NotFound"), true, |c| {
            let target = of_stream(&c.users);
            follow(c, target).await
        }),
        row!("Streams/Read and follow everything", KNOWN, true, |c| follow(c, of_all()).await),
        row!("Streams/Append", WRITERS, false, |c| {
            let stream = c.stream.clone();
            append(c, stream, "Added").await
        }),
        row!("Streams/Append to a user's stream", WRITERS, false, |c| {
            let stream = c.users.clone();
            append(c, stream, "Added").await
        }),
        row!("Streams/Append metadata", OWNERS, false, |c| {
            let stream = format!("$${}", c.stream);
            append(c, stream, "$metadata").await
        }),
        row!(
            "Streams/Append to a new stream",
            [NOBODY, "ok", "ok", DENIED, "ok", "ok", "ok", "ok"],
            false,
            |c| {
                let stream = c.new.clone();
                append(c, stream, "Added").await
            }
        ),
        row!("Streams/BatchAppend", WRITERS, false, |c| append_batch(c).await),
        row!("Streams/Delete", OWNERS, false, |c| {
            let options = Some(write_to(&c.stream));
            told(c.streams().delete(c.with(DeleteReq { options })).await)
        }),
        row!("Streams/Tombstone", OWNERS, false, |c| {
            let options = Some(write_to(&c.stream));
            told(c.streams().tombstone(c.with(DeleteReq { options })).await)
        }),
        row!("StreamsService/AppendSession", WRITERS, false, |c| append_session(c).await),
        row!("StreamsService/AppendRecords", WRITERS, false, |c| append_records(c).await),
    ]
}

fn of_groups() -> Vec<Row> {
    use persistent::{
        CreateReq, DeleteReq, ListReq, ReplayParkedReq, TruncateParkedReq, UpdateReq, delete_req,
    };
    vec![
        row!("PersistentSubscriptions/Create", ADMINS, false, |c| {
            let options = Some(group(Some(&c.stream), &c.new));
            told(c.persistent().create(c.with(CreateReq { options })).await)
        }),
        row!("PersistentSubscriptions/Update", ADMINS, false, |c| {
            let options = Some(group(Some(&c.stream), GROUP));
            told(c.persistent().update(c.with(UpdateReq { options })).await)
        }),
        row!("PersistentSubscriptions/Delete", ADMINS, false, |c| {
            let source = Some(delete_req::options::Source::StreamIdentifier(named(&c.stream).unwrap()));
            let options = Some(delete_req::Options { source, group_name: GROUP.to_owned() });
            told(c.persistent().delete(c.with(DeleteReq { options })).await)
        }),
        row!("PersistentSubscriptions/Read", READERS, true, |c| {
            let stream = Some(c.stream.clone());
            consume(c, stream).await
        }),
        row!("PersistentSubscriptions/Read of a user's stream", finders("NotFound"), true, |c| {
            let stream = Some(c.users.clone());
            consume(c, stream).await
        }),
        row!("PersistentSubscriptions/Read of everything", ADMINS, false, |c| consume(c, None).await),
        row!("PersistentSubscriptions/GetInfo", READERS, false, |c| {
            told(c.persistent().get_info(c.with(info(&c.stream))).await)
        }),
        row!("PersistentSubscriptions/GetInfo of a user's stream", finders("NotFound"), false, |c| {
            told(c.persistent().get_info(c.with(info(&c.users))).await)
        }),
        row!("PersistentSubscriptions/List", ADMINS, false, |c| {
            told(c.persistent().list(c.with(ListReq::default())).await)
        }),
        row!("PersistentSubscriptions/ReplayParked", ADMINS, false, |c| {
            let options = parked(&c);
            told(c.persistent().replay_parked(c.with(ReplayParkedReq { options })).await)
        }),
        row!("PersistentSubscriptions/TruncateParked", ADMINS, false, |c| {
            let options = parked(&c);
            told(c.persistent().truncate_parked(c.with(TruncateParkedReq { options })).await)
        }),
        row!("PersistentSubscriptions/RestartSubsystem", ADMINS, false, |c| {
            told(c.persistent().restart_subsystem(c.with(())).await)
        }),
    ]
}

/// A row of a call about an account.
macro_rules! of_account {
    ($operation:literal, $outcomes:expr, $method:ident, $request:ident, $options:ident { $($field:ident: $value:expr),* }) => {
        row!($operation, $outcomes, false, |c| {
            let options = Some(users::$options::Options { login_name: c.account.clone(), $($field: $value),* });
            told(c.users().$method(c.with(users::$request { options })).await)
        })
    };
}

fn of_accounts() -> Vec<Row> {
    vec![
        row!("Users/Create", ADMINS, false, |c| {
            let (login_name, password) = (c.new.clone(), "a long password".to_owned());
            let options = users::create_req::Options { login_name, password, ..Default::default() };
            told(c.users().create(c.with(users::CreateReq { options: Some(options) })).await)
        }),
        of_account!(
            "Users/Update",
            ADMINS,
            update,
            UpdateReq,
            update_req {
                password: String::new(),
                full_name: "Somebody".to_owned(),
                groups: vec!["$admins".to_owned()]
            }
        ),
        of_account!("Users/Delete", ADMINS, delete, DeleteReq, delete_req {}),
        of_account!("Users/Disable", ADMINS, disable, DisableReq, disable_req {}),
        of_account!("Users/Enable", ADMINS, enable, EnableReq, enable_req {}),
        of_account!(
            "Users/ChangePassword",
            ADMINS,
            change_password,
            ChangePasswordReq,
            change_password_req {
                current_password: "correct horse".to_owned(),
                new_password: "another password".to_owned()
            }
        ),
        of_account!(
            "Users/ResetPassword",
            ADMINS,
            reset_password,
            ResetPasswordReq,
            reset_password_req { new_password: "another password".to_owned() }
        ),
        row!("Users/Details", ADMINS, false, |c| {
            let options = Some(users::details_req::Options { login_name: c.account.clone() });
            all_told(c.users().details(c.with(users::DetailsReq { options })).await, |_| false).await
        }),
        row!("Users/Details of all", ADMINS, false, |c| {
            all_told(c.users().details(c.with(users::DetailsReq::default())).await, |_| false).await
        }),
        row!(
            "Users/Details of the reader",
            [NOBODY, DENIED, DENIED, DENIED, "ok", DENIED, "ok", "ok"],
            false,
            |c| {
                let options = Some(users::details_req::Options { login_name: "rita".to_owned() });
                all_told(c.users().details(c.with(users::DetailsReq { options })).await, |_| false).await
            }
        ),
    ]
}

fn of_the_node() -> Vec<Row> {
    vec![
        row!("Operations/StartScavenge", NOT_SERVED, false, |c| {
            told(c.operations().start_scavenge(c.with(StartScavengeReq::default())).await)
        }),
        row!("Operations/StopScavenge", NOT_SERVED, false, |c| {
            told(c.operations().stop_scavenge(c.with(StopScavengeReq::default())).await)
        }),
        row!("Operations/Shutdown", NOT_SERVED, false, |c| told(c.operations().shutdown(c.with(())).await)),
        row!("Operations/MergeIndexes", NOT_SERVED, false, |c| {
            told(c.operations().merge_indexes(c.with(())).await)
        }),
        row!("Operations/ResignNode", NOT_SERVED, false, |c| {
            told(c.operations().resign_node(c.with(())).await)
        }),
        row!("Operations/SetNodePriority", NOT_SERVED, false, |c| {
            told(c.operations().set_node_priority(c.with(SetNodePriorityReq::default())).await)
        }),
        row!("Operations/RestartPersistentSubscriptions", ADMINS, false, |c| {
            told(c.operations().restart_persistent_subscriptions(c.with(())).await)
        }),
        row!("Monitoring/Stats", KNOWN, false, |c| {
            let mut client = MonitoringClient::new(c.channel.clone());
            all_told(client.stats(c.with(StatsReq::default())).await, |_| true).await
        }),
        // What clients ask before they say who they are.
        row!("ServerFeatures/GetSupportedMethods", EVERYBODY, false, |c| {
            let mut client = ServerFeaturesClient::new(c.channel.clone());
            told(client.get_supported_methods(c.with(())).await)
        }),
        row!("Gossip/Read", EVERYBODY, false, |c| {
            let mut client = gossip::gossip_client::GossipClient::new(c.channel.clone());
            told(client.read(c.with(())).await)
        }),
    ]
}

fn matrix() -> Vec<Row> {
    [of_streams(), of_groups(), of_accounts(), of_the_node()].into_iter().flatten().collect()
}

/// The calls that the protocol's own files name.
fn methods(directory: &Path) -> BTreeSet<String> {
    let mut methods = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            methods.extend(self::methods(&path));
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let mut service = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("service ") {
                service = rest.trim_end_matches(['{', ' ']).to_owned();
            } else if let Some(rest) = line.strip_prefix("rpc ") {
                methods.insert(format!("{service}/{}", rest.split('(').next().unwrap()));
            }
        }
    }
    methods
}

#[test]
fn every_call_has_a_row() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kurrentdb-protocol/proto");
    let rows = matrix().iter().map(|row| row.operation.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(methods(&files), rows, "what is on one side alone needs a row, or has one too many");
}

async fn connect(world: &World, who: Who) -> Channel {
    Endpoint::from_shared(format!("http://{}", world.face(who))).unwrap().connect().await.unwrap()
}

async fn call(world: &World, channel: Channel, who: Who, kept: &Kept) -> Call {
    let (new, account) = (world.name(), world.name());
    world.account(&account, None).await;
    Call {
        channel,
        authorization: world.authorization(who, &kept.owner, "Bearer").await,
        stream: kept.name.clone(),
        users: format!("user-{}-loans-1", kept.owner),
        new,
        account,
    }
}

/// What one caller is answered wrongly; nothing if all is as it should be.
async fn faults(world: &World, channel: Channel, row: &Row, who: Who, expected: &str) -> Vec<String> {
    let kept = world.keep().await;
    let call = call(world, channel, who, &kept).await;
    if row.operation.starts_with("PersistentSubscriptions/") {
        make_groups(world, &call, who, row.operation.contains("everything")).await;
    }
    let answer = tokio::time::timeout(LONG, (row.ask)(call)).await;
    let (outcome, text) = match answer.expect("an answer") {
        Ok(text) if text.contains("StreamNotFound(") => ("missing".to_owned(), text),
        Ok(text) => ("ok".to_owned(), text),
        Err(status) => (format!("{:?}", status.code()), format!("{status:?}")),
    };
    let mut faults = Vec::new();
    if outcome != expected {
        faults.push(format!("{who:?}: {} is {outcome} and not {expected}: {text}", row.operation));
    }
    // Of any stream at all: those of the other rows are there too.
    if !who.reads() && text.contains("Hush") {
        faults.push(format!("{who:?}: {} tells: {text}", row.operation));
    }
    if row.shows && expected == "ok" && who.reads() && !text.contains(&kept.secret) {
        faults.push(format!("{who:?}: {} does not tell {}: {text}", row.operation, kept.secret));
    }
    faults
}

#[tokio::test]
async fn each_caller_is_answered_as_the_matrix_says() {
    let world = World::start().await;
    let (closed, open) = (connect(&world, Who::Admin).await, connect(&world, Who::System).await);
    let mut found = Vec::new();
    for row in matrix() {
        for (who, expected) in Who::AND_KEY.into_iter().zip(row.outcomes) {
            let channel = if who == Who::System { open.clone() } else { closed.clone() };
            found.extend(faults(&world, channel, &row, who, expected).await);
        }
    }
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
}

#[tokio::test]
async fn a_consumer_whose_right_is_taken_back_is_sent_nothing_that_is_written_after() {
    let world = World::start().await;
    for (users, code) in [(false, Code::PermissionDenied), (true, Code::NotFound)] {
        let kept = world.keep().await;
        let call = call(&world, connect(&world, Who::Reader).await, Who::Reader, &kept).await;
        make_groups(&world, &call, Who::Reader, false).await;
        let stream = if users { call.users.clone() } else { call.stream.clone() };
        let source = persistent::read_req::options::Source::StreamIdentifier(named(&stream).unwrap());
        let options = persistent::read_req::Options {
            source: Some(source),
            group_name: GROUP.to_owned(),
            buffer_size: 10,
            uuid_option: Some(read_req::UuidOption { form: Some(read_req::uuid_option::Form::String(())) }),
        };
        let first = persistent::ReadReq { content: Some(persistent::read_req::Content::Options(options)) };
        let request = call.with(stream::iter([first]).chain(stream::pending()));
        let mut messages = call.persistent().read(request).await.unwrap().into_inner();
        let confirmation = messages.message().await.unwrap().unwrap();
        assert!(format!("{confirmation:?}").contains("Confirmation"), "{confirmation:?}");
        let event = messages.message().await.unwrap().unwrap();
        assert!(format!("{event:?}").contains(&kept.secret), "{event:?}");
        world.take_back(&stream).await;
        world.say(&stream, "WrittenAfter").await;
        let refused = tokio::time::timeout(LONG, messages.message()).await.unwrap().unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
    }
}
