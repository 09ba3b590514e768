//! BatchAppend: by the official client, and bare, for chunks, deadlines and in-band errors.

use crate::support::{Started, all_of, event, events, id, revisions, start, start_with, within};
use event_store::{ExpectedState, ReadAll};
use futures::StreamExt;
use kurrentdb::{Error, StreamState};
use kurrentdb_protocol::{
    Limits,
    grpc::proto::{
        event_store::client::{
            self as wire, Property, StreamIdentifier,
            streams::{
                BatchAppendReq, BatchAppendResp, ProposedMessage, WriteOptions, append_success,
                batch_append_resp, streams_client::StreamsClient, write_options,
            },
        },
        google::rpc,
    },
};
use prost::Name;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use uuid::Uuid;

/// One call, and its answers.
struct Call {
    requests: mpsc::Sender<BatchAppendReq>,
    answers: Streaming<BatchAppendResp>,
}

impl Call {
    async fn to(node: &Started) -> Self {
        let (requests, receiver) = mpsc::channel(100);
        let mut client = StreamsClient::new(node.channel().await);
        let answers = within(client.batch_append(ReceiverStream::new(receiver))).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn send(&self, request: BatchAppendReq) {
        self.requests.send(request).await.unwrap();
    }

    async fn answer(&mut self) -> BatchAppendResp {
        within(self.answers.next()).await.expect("the call ended").unwrap()
    }
}

fn options(stream: &str, expected: write_options::Expected) -> WriteOptions {
    WriteOptions {
        stream_identifier: Some(StreamIdentifier { stream_name: stream.to_owned().into() }),
        expected: Some(expected),
        deadline_option: None,
    }
}

fn any(stream: &str) -> WriteOptions {
    options(stream, write_options::Expected::Any(()))
}

fn text(id: Uuid) -> wire::Uuid {
    wire::Uuid { value: Some(wire::uuid::Value::String(id.to_string())) }
}

fn message() -> ProposedMessage {
    let property = |key: &str, value: &str| Property { key: key.into(), value: value.into() };
    ProposedMessage {
        id: Some(text(id())),
        metadata: vec![property("type", "t"), property("content-type", "application/json")],
        custom_metadata: Default::default(),
        data: "{}".into(),
    }
}

fn request(correlation: Uuid, options: Option<WriteOptions>, count: usize, is_final: bool) -> BatchAppendReq {
    BatchAppendReq {
        correlation_id: Some(text(correlation)),
        options,
        proposed_messages: (0..count).map(|_| message()).collect(),
        is_final,
    }
}

fn success(answer: &BatchAppendResp) -> Option<u64> {
    match &answer.result {
        Some(batch_append_resp::Result::Success(success)) => match success.current {
            Some(append_success::Current::CurrentRevision(revision)) => Some(revision),
            _ => None,
        },
        other => panic!("{other:?}"),
    }
}

fn failure(answer: &BatchAppendResp) -> &rpc::Status {
    match &answer.result {
        Some(batch_append_resp::Result::Error(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_appends_batches() {
    let node = start().await;
    let client = node.client();
    let batch = client.batch_append(&Default::default()).await.unwrap();
    let first = within(batch.append_to_stream("s", StreamState::NoStream, events(3))).await.unwrap();
    assert_eq!((first.stream_name(), first.current_revision()), ("s", Some(2)));
    assert!(first.current_position().is_some());
    let second = batch.append_to_stream("s", StreamState::StreamRevision(2), vec![event("a", 0)]);
    assert_eq!(within(second).await.unwrap().current_revision(), Some(3));
    let wrong = within(batch.append_to_stream("s", StreamState::NoStream, events(1))).await.unwrap_err();
    match wrong {
        Error::Grpc { code, message } => {
            assert_eq!(code, tonic::Code::AlreadyExists);
            assert!(message.contains("WrongExpectedVersion"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let mut read = client.read_stream("s", &Default::default()).await.unwrap();
    assert_eq!(revisions(&all_of(&mut read).await), [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_of_several_appends_are_told_apart() {
    let node = start().await;
    let mut call = Call::to(&node).await;
    let (a, b) = (id(), id());
    call.send(request(a, Some(any("a")), 2, false)).await;
    call.send(request(b, Some(any("b")), 1, false)).await;
    call.send(request(a, None, 2, false)).await;
    call.send(request(b, None, 0, true)).await;
    let answer = call.answer().await;
    assert_eq!(answer.correlation_id, Some(text(b)));
    assert_eq!(answer.stream_identifier.as_ref().unwrap().stream_name, "b");
    assert_eq!(answer.expected, Some(batch_append_resp::Expected::Any(())));
    assert_eq!(success(&answer), Some(0));
    call.send(request(a, None, 1, true)).await;
    let answer = call.answer().await;
    assert_eq!((answer.correlation_id.clone(), success(&answer)), (Some(text(a)), Some(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_appends_to_one_stream_keep_their_order() {
    let node = start().await;
    let mut call = Call::to(&node).await;
    let ids: Vec<Uuid> = (0..200).map(|_| id()).collect();
    for (i, id) in ids.iter().enumerate() {
        let expected = match i {
            0 => write_options::Expected::NoStream(()),
            i => write_options::Expected::Revision(i as u64 - 1),
        };
        call.send(request(*id, Some(options("s", expected)), 1, true)).await;
        // Another stream beside it does not disturb.
        call.send(request(crate::support::id(), Some(any(&format!("other-{i}"))), 1, true)).await;
    }
    let mut revisions = Vec::new();
    for _ in 0..400 {
        let answer = call.answer().await;
        let revision = success(&answer).unwrap();
        if answer.stream_identifier.unwrap().stream_name == "s" {
            assert_eq!(answer.correlation_id, Some(text(ids[revisions.len()])));
            revisions.push(revision);
        }
    }
    assert_eq!(revisions, (0..200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_in_band_with_a_detail_by_name() {
    let node = start().await;
    let mut call = Call::to(&node).await;
    call.send(request(id(), Some(options("s", write_options::Expected::Revision(7))), 1, true)).await;
    let answer = call.answer().await;
    let error = failure(&answer);
    assert_eq!(error.code, 6);
    assert_eq!(error.details[0].type_url, "type.googleapis.com/event_store.client.WrongExpectedVersion");
    let detail: wire::WrongExpectedVersion = prost::Message::decode(&*error.details[0].value).unwrap();
    use wire::wrong_expected_version::{Current, Expected};
    assert_eq!(detail.current, Some(Current::CurrentNoStream(())));
    assert_eq!(detail.expected, Some(Expected::ExpectedStreamPosition(7)));

    let gone = event_store::StreamName::new("gone").unwrap();
    node.store.tombstone(&gone, ExpectedState::Any).await.unwrap();
    call.send(request(id(), Some(any("gone")), 1, true)).await;
    let answer = call.answer().await;
    assert_eq!(failure(&answer).code, 5);
    assert_eq!(failure(&answer).details[0].type_url, wire::StreamDeleted::type_url());

    // No options, a bad name, an event without a type: refused, and the call goes on.
    let mut nameless = message();
    nameless.metadata.clear();
    let bad_event =
        BatchAppendReq { proposed_messages: vec![nameless], ..request(id(), Some(any("s")), 0, true) };
    for bad in [request(id(), None, 1, true), request(id(), Some(any("")), 1, true), bad_event] {
        let correlation = bad.correlation_id.clone();
        call.send(bad).await;
        let answer = call.answer().await;
        assert_eq!(answer.correlation_id, correlation);
        assert!(answer.stream_identifier.is_some());
        assert_eq!(failure(&answer).code, 3);
        assert_eq!(failure(&answer).details[0].type_url, wire::BadRequest::type_url());
    }
    call.send(request(id(), Some(any("s")), 1, true)).await;
    assert_eq!(success(&call.answer().await), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_late_is_not_written() {
    let node = start().await;
    let mut call = Call::to(&node).await;
    let late = [
        write_options::DeadlineOption::Deadline(prost_types::Duration { seconds: -1, nanos: 0 }),
        write_options::DeadlineOption::Deadline21100(prost_types::Timestamp { seconds: 1_000, nanos: 0 }),
    ];
    for deadline in late {
        let options = WriteOptions { deadline_option: Some(deadline), ..any("s") };
        call.send(request(id(), Some(options), 1, true)).await;
        let answer = call.answer().await;
        assert_eq!(failure(&answer).code, 4);
        assert_eq!(failure(&answer).details[0].type_url, wire::Timeout::type_url());
    }
    // What the Rust client says: the moment, where it should be how long.
    let epoch = write_options::DeadlineOption::Deadline(prost_types::Duration { seconds: 1 << 40, nanos: 0 });
    let options = WriteOptions { deadline_option: Some(epoch), ..any("s") };
    call.send(request(id(), Some(options), 1, true)).await;
    assert_eq!(success(&call.answer().await), Some(0), "the first that was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_in_the_middle_of_a_batch_writes_nothing() {
    let node = start().await;
    let mut call = Call::to(&node).await;
    call.send(request(id(), Some(any("half")), 5, false)).await;
    // The next one's answer says that the first was taken in.
    call.send(request(id(), Some(any("whole")), 1, true)).await;
    call.answer().await;
    drop(call);
    let mut call = Call::to(&node).await;
    call.send(request(id(), Some(options("half", write_options::Expected::NoStream(()))), 1, true)).await;
    assert_eq!(success(&call.answer().await), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_ends_gets_all_its_answers() {
    let node = start().await;
    let mut call = Call::to(&node).await;
    for i in 0..50 {
        call.send(request(id(), Some(any(&format!("s-{i}"))), 1, true)).await;
    }
    let (closed, _) = mpsc::channel(1);
    call.requests = closed;
    for _ in 0..50 {
        assert_eq!(success(&call.answer().await), Some(0));
    }
    assert!(within(call.answers.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_append_that_was_refused_nothing_is_written_however_it_goes_on() {
    let limits = Limits { event_bytes: 1_000, append_bytes: 3_000, ..Limits::default() };
    let node = start_with(limits, None).await;
    let mut call = Call::to(&node).await;
    let large = ProposedMessage { data: vec![b' '; 2_000].into(), ..message() };
    let heavy = || ProposedMessage { data: vec![b' '; 900].into(), ..message() };
    for (parts, detail) in [
        // One event that is too large, in the middle of the append.
        (vec![vec![message()], vec![large], vec![message()]], wire::MaximumAppendSizeExceeded::type_url()),
        // Each is small enough, and all together are not.
        (vec![vec![heavy(), heavy()], vec![heavy(), heavy()]], wire::MaximumAppendSizeExceeded::type_url()),
        (
            vec![vec![message()], vec![ProposedMessage { id: None, ..message() }]],
            wire::BadRequest::type_url(),
        ),
    ] {
        let correlation = id();
        let last = parts.len() - 1;
        for (i, proposed_messages) in parts.into_iter().enumerate() {
            let options = (i == 0).then(|| any("refused"));
            call.send(BatchAppendReq { proposed_messages, ..request(correlation, options, 0, i == last) })
                .await;
        }
        let answer = call.answer().await;
        assert_eq!(answer.correlation_id, Some(text(correlation)));
        assert_eq!(failure(&answer).details[0].type_url, detail);
        assert!(!failure(&answer).message.is_empty());
    }
    // The next answer is the next append's: each refusal was told once.
    let correlation = id();
    call.send(request(correlation, Some(any("fine")), 1, true)).await;
    assert_eq!(call.answer().await.correlation_id, Some(text(correlation)));
    let events = node.store.read_all(ReadAll::forwards(10)).await.unwrap().events;
    assert_eq!(events.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_are_begun_and_not_ended_are_limited_in_number() {
    let node = start().await;
    let mut call = Call::to(&node).await;
    let begun: Vec<Uuid> = (0..1_024).map(|_| id()).collect();
    for correlation in &begun {
        call.send(request(*correlation, Some(any("s")), 0, false)).await;
    }
    let one_more = id();
    call.send(request(one_more, Some(any("s")), 1, false)).await;
    let answer = call.answer().await;
    assert_eq!(answer.correlation_id, Some(text(one_more)));
    assert!(failure(&answer).message.contains("too many incomplete appends"), "{answer:?}");
    // One that ends makes room.
    call.send(request(begun[0], None, 1, true)).await;
    assert_eq!(success(&call.answer().await), Some(0));
    call.send(request(one_more, Some(any("s")), 1, true)).await;
    assert_eq!(success(&call.answer().await), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_makes_no_sense_ends_with_a_status_after_its_answers() {
    let node = start().await;
    for correlation_id in [None, Some(text(Uuid::nil())), Some(wire::Uuid { value: None })] {
        let mut call = Call::to(&node).await;
        let good = id();
        call.send(request(id(), Some(any("half")), 1, false)).await;
        call.send(request(good, Some(any("whole")), 1, true)).await;
        call.send(BatchAppendReq { correlation_id, ..request(id(), Some(any("s")), 1, true) }).await;
        assert_eq!(call.answer().await.correlation_id, Some(text(good)));
        let status = within(call.answers.next()).await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().contains("correlation id"), "{status:?}");
    }
    let events = node.store.read_all(ReadAll::forwards(10)).await.unwrap().events;
    assert!(events.iter().all(|e| e.event.as_ref().unwrap().stream.as_str() == "whole"));
}
