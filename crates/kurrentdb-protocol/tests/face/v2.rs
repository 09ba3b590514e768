//! Appending to several streams at once.

use crate::support::{Started, id, start, within};
use event_store::{EventStore, ExpectedState, NewEvent, ReadStream, StreamName};
use kurrentdb_protocol::grpc::proto::{
    google::rpc,
    kurrentdb::protocol::v2::streams::{
        AppendRecord, AppendRecordsRequest, AppendRequest, ConsistencyCheck, SchemaFormat, SchemaInfo,
        consistency_check::{StreamStateCheck, Type},
        errors,
        streams_service_client::StreamsServiceClient,
    },
};
use prost::{Message, Name};
use prost_types::{Value, value::Kind};
use tonic::{Code, Status, transport::Channel};

async fn service(node: &Started) -> StreamsServiceClient<Channel> {
    StreamsServiceClient::new(node.channel().await)
}

fn record(stream: &str) -> AppendRecord {
    AppendRecord {
        record_id: Some(id().to_string()),
        properties: [("by".to_owned(), Value { kind: Some(Kind::StringValue("me".into())) })].into(),
        schema: Some(SchemaInfo { format: SchemaFormat::Json.into(), name: "t".into(), id: None }),
        data: "{}".into(),
        stream: stream.to_owned(),
    }
}

fn request(stream: &str, expected_revision: Option<i64>, count: usize) -> AppendRequest {
    let records = (0..count).map(|_| record("")).collect();
    AppendRequest { stream: stream.to_owned(), records, expected_revision }
}

fn check(stream: &str, expected_state: i64) -> ConsistencyCheck {
    let check = StreamStateCheck { stream: stream.to_owned(), expected_state };
    ConsistencyCheck { r#type: Some(Type::StreamState(check)) }
}

/// The specific detail of a failure: the last one, after the general.
fn detail<M: Message + Name + Default>(status: &Status, reason: &str) -> M {
    let rich = rpc::Status::decode(status.details()).unwrap();
    assert_eq!((rich.code, rich.message.as_str()), (status.code() as i32, status.message()));
    let info = rpc::ErrorInfo::decode(&*rich.details[0].value).unwrap();
    assert_eq!(info.reason, reason);
    let last = rich.details.last().unwrap();
    assert_eq!(last.type_url, M::type_url());
    M::decode(&*last.value).unwrap()
}

async fn count(store: &dyn EventStore, stream: &str) -> usize {
    let stream = StreamName::new(stream).unwrap();
    store.read_stream(&stream, ReadStream::forwards(100)).await.map_or(0, |page| page.events.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_writes_all_its_streams() {
    let node = start().await;
    let mut service = service(&node).await;
    let requests = vec![request("a", Some(-1), 2), request("b", None, 1)];
    let answer = within(service.append_session(tokio_stream::iter(requests))).await.unwrap().into_inner();
    let revisions: Vec<_> = answer.output.iter().map(|o| (o.stream.as_str(), o.stream_revision)).collect();
    assert_eq!(revisions, [("a", 1), ("b", 0)]);
    assert_eq!(answer.output[1].position, Some(answer.position));

    let a = StreamName::new("a").unwrap();
    let page = node.store.read_stream(&a, ReadStream::forwards(1)).await.unwrap();
    let event = page.events[0].event.as_ref().unwrap();
    assert_eq!(event.event_type.as_str(), "t");
    let metadata: serde_json::Value = serde_json::from_slice(&event.metadata).unwrap();
    assert_eq!(metadata, serde_json::json!({"by": "me", "$schema.name": "t", "$schema.format": "Json"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_written_whole_writes_nothing() {
    let node = start().await;
    let mut service = service(&node).await;
    let mut session = async |requests: Vec<AppendRequest>| {
        within(service.append_session(tokio_stream::iter(requests))).await.unwrap_err()
    };
    let conflict = session(vec![request("a", None, 1), request("b", Some(5), 1)]).await;
    assert_eq!(conflict.code(), Code::FailedPrecondition);
    let told: errors::StreamRevisionConflictErrorDetails = detail(&conflict, "STREAM_REVISION_CONFLICT");
    assert_eq!((told.stream.as_str(), told.expected_revision, told.actual_revision), ("b", 5, -1));

    let gone = StreamName::new("gone").unwrap();
    node.store.tombstone(&gone, ExpectedState::Any).await.unwrap();
    let tombstoned = session(vec![request("a", None, 1), request("gone", None, 1)]).await;
    assert_eq!(tombstoned.code(), Code::FailedPrecondition);
    let told: errors::StreamTombstonedErrorDetails = detail(&tombstoned, "STREAM_TOMBSTONED");
    assert_eq!(told.stream, "gone");

    let twice = session(vec![request("a", None, 1), request("a", None, 1)]).await;
    assert_eq!(twice.code(), Code::Aborted);
    let told: errors::StreamAlreadyInAppendSessionErrorDetails =
        detail(&twice, "STREAM_ALREADY_IN_APPEND_SESSION");
    assert_eq!(told.stream, "a");

    let none = session(vec![]).await;
    assert_eq!(none.code(), Code::FailedPrecondition);
    let _: rpc::ErrorInfo = detail(&none, "APPEND_SESSION_NO_REQUESTS");

    let mut large = request("a", None, 1);
    large.records[0].data = vec![b'x'; (16 << 20) + 1].into();
    let large = session(vec![large]).await;
    assert_eq!(large.code(), Code::InvalidArgument);
    let told: errors::AppendRecordSizeExceededErrorDetails = detail(&large, "APPEND_RECORD_SIZE_EXCEEDED");
    assert_eq!((told.stream.as_str(), told.max_size), ("a", 16 << 20));
    assert_eq!(count(&*node.store, "a").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_to_their_streams_in_order() {
    let node = start().await;
    let mut service = service(&node).await;
    let records = vec![record("a"), record("b"), record("a")];
    let checks = vec![check("a", -1), check("guard", -1)];
    let request = AppendRecordsRequest { records, checks };
    let answer = within(service.append_records(request.clone())).await.unwrap().into_inner();
    let mut revisions: Vec<_> = answer.revisions.iter().map(|r| (r.stream.as_str(), r.revision)).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [("a", 1), ("b", 0)], "a stream that was only checked is not written");
    // Sent again it is not written again.
    let again = within(service.append_records(request)).await.unwrap().into_inner();
    assert_eq!(again.position, answer.position);
    assert_eq!((count(&*node.store, "a").await, count(&*node.store, "b").await), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_is_named_and_nothing_is_written() {
    let node = start().await;
    let mut service = service(&node).await;
    let name = |n: &str| StreamName::new(n).unwrap();
    let put = async |stream: &str| {
        let event = NewEvent::json(id(), "t", "{}");
        node.store.append(&name(stream), ExpectedState::Any, vec![event]).await.unwrap();
    };
    put("present").await;
    put("soft").await;
    node.store.delete(&name("soft"), ExpectedState::Any).await.unwrap();
    node.store.tombstone(&name("gone"), ExpectedState::Any).await.unwrap();
    for (stream, expected, actual) in
        [("present", -1, 0), ("present", 3, 0), ("absent", -4, -1), ("soft", -4, -5), ("gone", -4, -6)]
    {
        let checks = vec![check("fine", -1), check(stream, expected)];
        let request = AppendRecordsRequest { records: vec![record("a")], checks };
        let status = within(service.append_records(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{stream}");
        let told: errors::AppendConsistencyViolationErrorDetails =
            detail(&status, "APPEND_CONSISTENCY_VIOLATION");
        assert_eq!(told.violations[0].check_index, 1);
        let Some(errors::consistency_violation::Type::StreamState(told)) = &told.violations[0].r#type else {
            panic!("{told:?}");
        };
        assert_eq!(
            (told.stream.as_str(), told.expected_state, told.actual_state),
            (stream, expected, actual)
        );
    }
    // Of several that fail each is told.
    let checks = vec![check("absent", 3), check("fine", -1), check("present", 5), check("gone", 0)];
    let request = AppendRecordsRequest { records: vec![record("a")], checks };
    let status = within(service.append_records(request)).await.unwrap_err();
    let told: errors::AppendConsistencyViolationErrorDetails =
        detail(&status, "APPEND_CONSISTENCY_VIOLATION");
    assert_eq!(told.violations.iter().map(|v| v.check_index).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(count(&*node.store, "a").await, 0);
    // To a check a tombstoned stream is none.
    let checks = vec![check("gone", -1), check("present", 0)];
    let request = AppendRecordsRequest { records: vec![record("a")], checks };
    let answer = within(service.append_records(request)).await.unwrap().into_inner();
    assert_eq!(answer.revisions.len(), 1);
    assert_eq!(count(&*node.store, "a").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_records_are_refused() {
    let node = start().await;
    let mut service = service(&node).await;
    let no_schema = AppendRecord { schema: None, ..record("a") };
    let bad_id = AppendRecord { record_id: Some("seven".into()), ..record("a") };
    let bad_stream = record("");
    let mut deep = Value { kind: None };
    for _ in 0..80 {
        deep = Value { kind: Some(Kind::ListValue(prost_types::ListValue { values: vec![deep] })) };
    }
    let deep = AppendRecord { properties: [("deep".to_owned(), deep)].into(), ..record("a") };
    for bad in [no_schema, bad_id, bad_stream, deep] {
        let request = AppendRecordsRequest { records: vec![bad], checks: vec![] };
        let status = within(service.append_records(request)).await.unwrap_err();
        assert!(matches!(status.code(), Code::InvalidArgument | Code::Internal), "{status:?}");
    }
    let empty_check = ConsistencyCheck { r#type: None };
    let many = (0..1_001).map(|i| check(&format!("checked-{i}"), -1)).collect();
    let bad = [vec![empty_check], vec![check("a", -3)], vec![check("a", -1), check("a", 4)], many];
    for checks in bad {
        let request = AppendRecordsRequest { records: vec![record("a")], checks };
        let status = within(service.append_records(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    let negative = AppendRequest { expected_revision: Some(-3), ..request("a", None, 1) };
    let status = within(service.append_session(tokio_stream::iter([negative]))).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(count(&*node.store, "a").await, 0);
}
