//! Requests that make no sense or are too much: a proper status, and nothing half written.

use crate::support::{Started, id, start, start_with, within};
use event_store::ReadAll;
use futures::StreamExt;
use kurrentdb::{AppendToStreamOptions, Error, EventData};
use kurrentdb_protocol::{
    Limits,
    grpc::proto::event_store::client::{
        self as wire, AllStreamPosition, Property, StreamIdentifier,
        monitoring::{StatsReq, monitoring_client::MonitoringClient},
        streams::{
            AppendReq, DeleteReq, ProposedMessage, ReadReq, WriteOptions, append_req, read_req,
            read_req::{options, stream_options},
            streams_client::StreamsClient,
            write_options,
        },
    },
};
use test_support::Proxy;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

async fn streams(node: &Started) -> StreamsClient<Channel> {
    StreamsClient::new(node.channel().await)
}

fn stream(name: &[u8], from: Option<stream_options::From>) -> options::Target {
    options::Target::Stream(read_req::StreamOptions {
        stream_identifier: Some(StreamIdentifier { stream_name: name.to_vec().into() }),
        from,
    })
}

fn all(from: Option<read_req::all_options::From>) -> options::Target {
    options::Target::All(read_req::AllOptions { from })
}

/// A read that makes sense.
fn sound() -> read_req::Options {
    read_req::Options {
        read_direction: 0,
        resolve_links: false,
        uuid_option: Some(read_req::UuidOption { form: Some(read_req::uuid_option::Form::String(())) }),
        control_option: None,
        target: Some(stream(b"s", Some(stream_options::From::Start(())))),
        kind: Some(options::Kind::Count(1)),
        filtering: Some(options::Filtering::NoFilter(())),
    }
}

fn filter(
    regex: &str,
    window: Option<read_req::filter_options::Window>,
    multiplier: u32,
) -> Option<options::Filtering> {
    let expression = read_req::filter_options::Expression { regex: regex.into(), prefix: vec![] };
    Some(options::Filtering::Filter(read_req::FilterOptions {
        checkpoint_interval_multiplier: multiplier,
        by: Some(read_req::filter_options::By::EventType(expression)),
        window,
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_make_no_sense_are_refused() {
    use read_req::{all_options, filter_options::Window};
    let node = start().await;
    let mut client = streams(&node).await;
    let mut read = async |options| within(client.read(ReadReq { options })).await.map(drop);
    read(Some(sound())).await.unwrap();

    let everything = || Some(all(Some(all_options::From::Start(()))));
    let at = |commit_position, prepare_position| {
        Some(all(Some(all_options::From::Position(AllStreamPosition { commit_position, prepare_position }))))
    };
    let subscribing = Some(options::Kind::Subscription(()));
    let count = Some(Window::Count(()));
    let bad = [
        None,
        Some(read_req::Options { read_direction: 2, ..sound() }),
        Some(read_req::Options { read_direction: -1, ..sound() }),
        Some(read_req::Options { uuid_option: None, ..sound() }),
        Some(read_req::Options { target: None, ..sound() }),
        Some(read_req::Options { kind: None, ..sound() }),
        Some(read_req::Options { read_direction: 1, kind: subscribing, ..sound() }),
        Some(read_req::Options { target: Some(stream(b"s", None)), ..sound() }),
        Some(read_req::Options {
            target: Some(stream(b"", Some(stream_options::From::Start(())))),
            ..sound()
        }),
        Some(read_req::Options {
            target: Some(stream(b"$all", Some(stream_options::From::Start(())))),
            ..sound()
        }),
        Some(read_req::Options {
            target: Some(stream(&[0xff], Some(stream_options::From::Start(())))),
            ..sound()
        }),
        Some(read_req::Options {
            target: Some(stream(b"s", Some(stream_options::From::Revision(1 << 63)))),
            ..sound()
        }),
        Some(read_req::Options { target: Some(all(None)), ..sound() }),
        Some(read_req::Options { target: at(1, 2), ..sound() }),
        Some(read_req::Options { target: at(1 << 63, 0), ..sound() }),
        Some(read_req::Options { filtering: filter("x", count, 1), ..sound() }),
        Some(read_req::Options { target: everything(), filtering: filter("(", count, 1), ..sound() }),
        Some(read_req::Options { target: everything(), filtering: filter("", count, 1), ..sound() }),
        Some(read_req::Options { target: everything(), filtering: filter("x", None, 1), ..sound() }),
        Some(read_req::Options {
            target: everything(),
            filtering: filter("x", Some(Window::Max(0)), 1),
            ..sound()
        }),
        Some(read_req::Options {
            target: everything(),
            kind: subscribing,
            filtering: filter("x", count, 0),
            ..sound()
        }),
    ];
    for options in bad {
        let told = format!("{options:?}");
        let status = read(options).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{told}");
        assert!(!status.message().is_empty(), "{told}");
    }
}

fn to(name: &str, expected: Option<write_options::Expected>) -> WriteOptions {
    WriteOptions {
        stream_identifier: Some(StreamIdentifier { stream_name: name.to_owned().into() }),
        expected,
        deadline_option: None,
    }
}

fn begin(name: &str) -> AppendReq {
    let options = to(name, Some(write_options::Expected::Any(())));
    AppendReq { content: Some(append_req::Content::Options(options)) }
}

fn proposed(id: Option<&str>, metadata: &[(&str, &str)], bytes: usize) -> AppendReq {
    let property = |(key, value): &(&str, &str)| Property { key: (*key).into(), value: (*value).into() };
    let message = ProposedMessage {
        id: id.map(|id| wire::Uuid { value: Some(wire::uuid::Value::String(id.into())) }),
        metadata: metadata.iter().map(property).collect(),
        custom_metadata: Default::default(),
        data: vec![b' '; bytes].into(),
    };
    AppendReq { content: Some(append_req::Content::ProposedMessage(message)) }
}

const FULL: &[(&str, &str)] = &[("type", "t"), ("content-type", "application/json")];

async fn append(client: &mut StreamsClient<Channel>, messages: Vec<AppendReq>) -> Result<(), Status> {
    within(client.append(tokio_stream::iter(messages))).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_make_no_sense_are_refused_and_write_nothing() {
    let node = start().await;
    let mut client = streams(&node).await;
    let one = id().to_string();
    let fine = || proposed(Some(&one), FULL, 2);
    let revision = to("s", Some(write_options::Expected::Revision(u64::MAX)));
    let bad = [
        vec![],
        vec![fine()],
        vec![AppendReq { content: None }],
        vec![begin("s"), begin("s")],
        vec![begin("s"), fine(), AppendReq { content: None }],
        vec![begin(""), fine()],
        vec![begin("$$$$s"), fine()],
        vec![begin(&"x".repeat(2_000)), fine()],
        vec![AppendReq { content: Some(append_req::Content::Options(to("s", None))) }, fine()],
        vec![AppendReq { content: Some(append_req::Content::Options(revision)) }, fine()],
        vec![begin("s"), proposed(None, FULL, 2)],
        vec![begin("s"), proposed(Some("not an id"), FULL, 2)],
        vec![begin("s"), proposed(Some("00000000-0000-0000-0000-000000000000"), FULL, 2)],
        vec![begin("s"), proposed(Some(&one), &[("type", ""), ("content-type", "x")], 2)],
    ];
    for messages in bad {
        let told = format!("{messages:?}");
        assert_eq!(append(&mut client, messages).await.unwrap_err().code(), Code::InvalidArgument, "{told}");
    }
    for metadata in [&[][..], &FULL[..1], &FULL[1..]] {
        let status =
            append(&mut client, vec![begin("s"), proposed(Some(&one), metadata, 2)]).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.metadata().get("exception").unwrap(), "missing-required-metadata-property");
        assert_eq!(status.metadata().get("required-metadata-properties").unwrap(), "type,content-type");
    }
    assert!(node.store.read_all(ReadAll::forwards(1)).await.unwrap().events.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_tell_the_versions_in_trailers() {
    let node = start().await;
    let mut client = streams(&node).await;
    let exact = DeleteReq { options: Some(to("ünknown", Some(write_options::Expected::Revision(7)))) };
    for status in
        [client.delete(exact.clone()).await.unwrap_err(), client.tombstone(exact).await.unwrap_err()]
    {
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("WrongExpectedVersion"), "{}", status.message());
        assert!(status.message().contains("Actual version: -1"), "{}", status.message());
        let trailer = |key| status.metadata().get(key).unwrap().to_str().unwrap().to_owned();
        assert_eq!(trailer("exception"), "wrong-expected-version");
        assert_eq!(trailer("stream-name"), "%C3%BCnknown");
        assert_eq!((trailer("expected-version"), trailer("actual-version")), ("7".into(), "-1".into()));
    }
    append(&mut client, vec![begin("s"), proposed(Some(&id().to_string()), FULL, 2)]).await.unwrap();
    client
        .tombstone(DeleteReq { options: Some(to("s", Some(write_options::Expected::Any(())))) })
        .await
        .unwrap();
    let status = within(client.read(ReadReq { options: Some(sound()) })).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "Event stream 's' is deleted."));
    assert_eq!(status.metadata().get("exception").unwrap(), "stream-deleted");
    assert_eq!(status.metadata().get("stream-name").unwrap(), "s");
    assert_eq!(client.delete(DeleteReq { options: None }).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_with_its_limit() {
    let limits = Limits { event_bytes: 1_000, append_bytes: 3_000, ..Limits::default() };
    let node = start_with(limits, None).await;
    let mut client = streams(&node).await;
    let one = id();
    let status =
        append(&mut client, vec![begin("s"), proposed(Some(&one.to_string()), FULL, 999)]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let trailer = |status: &Status, key| status.metadata().get(key).unwrap().to_str().unwrap().to_owned();
    assert_eq!(trailer(&status, "exception"), "maximum-append-event-size-exceeded");
    assert_eq!(trailer(&status, "maximum-append-event-size"), "1000");
    assert_eq!(trailer(&status, "event-id"), one.to_string());
    assert_eq!(trailer(&status, "proposed-append-event-size"), "1001");

    let mut messages = vec![begin("s")];
    messages.extend((0..4).map(|_| proposed(Some(&id().to_string()), FULL, 900)));
    let status = append(&mut client, messages).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(trailer(&status, "exception"), "maximum-append-size-exceeded");
    assert_eq!(trailer(&status, "maximum-append-size"), "3000");
    assert!(node.store.read_all(ReadAll::forwards(1)).await.unwrap().events.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_up_to_sixteen_megabytes_pass_and_larger_ones_do_not() {
    let node = start().await;
    let client = node.client();
    let large = EventData::binary("t", vec![7; (16 << 20) - 2].into()).id(id());
    client.append_to_stream("s", &AppendToStreamOptions::default(), large).await.unwrap();
    let larger = EventData::binary("t", vec![7; 16 << 20].into()).id(id());
    let refused = client.append_to_stream("s", &AppendToStreamOptions::default(), larger).await.unwrap_err();
    assert!(matches!(refused, Error::Grpc { code: Code::InvalidArgument, .. }), "{refused:?}");
    let undecodable = EventData::binary("t", vec![7; 18 << 20].into()).id(id());
    let refused =
        client.append_to_stream("s", &AppendToStreamOptions::default(), undecodable).await.unwrap_err();
    assert!(
        matches!(refused, Error::Grpc { code: Code::OutOfRange | Code::ResourceExhausted, .. }),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_wait_to_be_written_are_bounded_and_given_back() {
    let node = start_with(Limits { pending_bytes: 64 << 10, ..Limits::default() }, None).await;
    let mut client = streams(&node).await;
    let mut other = client.clone();
    // An append that stays open and holds most of what may wait.
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let held =
        tokio::spawn(
            async move { other.append(tokio_stream::wrappers::ReceiverStream::new(receiver)).await },
        );
    sender.send(begin("held")).await.unwrap();
    sender.send(proposed(Some(&id().to_string()), FULL, 60 << 10)).await.unwrap();
    let small = || vec![begin("s"), proposed(Some(&id().to_string()), FULL, 8 << 10)];
    let mut monitoring = MonitoringClient::new(node.channel().await);
    let request = StatsReq { use_metadata: false, refresh_time_period_in_ms: 1 };
    let mut figures = monitoring.stats(request).await.unwrap().into_inner();
    within(async {
        // Its bytes have arrived when the node says so.
        loop {
            let stats = figures.next().await.unwrap().unwrap().stats;
            let pending = stats.iter().find(|p| p.key == "es-pending-bytes").unwrap();
            if pending.value.parse::<usize>().unwrap() >= 60 << 10 {
                break;
            }
        }
    })
    .await;
    assert_eq!(append(&mut client, small()).await.unwrap_err().code(), Code::ResourceExhausted);
    drop(sender);
    within(held).await.unwrap().unwrap();
    append(&mut client, small()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_larger_than_all_that_may_wait_is_refused_before_it_has_come() {
    let node = start_with(Limits { pending_bytes: 1 << 20, ..Limits::default() }, None).await;
    let mut client = streams(&node).await;
    let large = vec![begin("s"), proposed(Some(&id().to_string()), FULL, 8 << 20)];
    let status = append(&mut client, large).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    append(&mut client, vec![begin("s"), proposed(Some(&id().to_string()), FULL, 512 << 10)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_in_the_middle_of_an_append_writes_nothing() {
    let node = start_with(Limits { pending_bytes: 64 << 10, ..Limits::default() }, None).await;
    let mut client = streams(&node).await;
    for _ in 0..20 {
        let wire = Proxy::to(node.address).await.unwrap();
        let channel =
            Endpoint::from_shared(format!("http://{}", wire.address())).unwrap().connect().await.unwrap();
        // A wire that carries: what it has not taken up yet it cannot cut.
        MonitoringClient::new(channel.clone())
            .stats(StatsReq { use_metadata: false, refresh_time_period_in_ms: 60_000 })
            .await
            .unwrap();
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let call = tokio::spawn(async move {
            StreamsClient::new(channel).append(tokio_stream::wrappers::ReceiverStream::new(receiver)).await
        });
        sender.send(begin("half")).await.unwrap();
        sender.send(proposed(Some(&id().to_string()), FULL, 60 << 10)).await.unwrap();
        sender.reserve().await.map(drop).unwrap();
        wire.cut();
        assert!(within(call).await.unwrap().is_err());
    }
    // What they held is given back, or this one could never be taken.
    within(async {
        let full = || vec![begin("whole"), proposed(Some(&id().to_string()), FULL, 60 << 10)];
        while append(&mut client, full()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let page = node.store.read_all(ReadAll::forwards(100)).await.unwrap();
    let streams: Vec<_> = page.events.iter().map(|e| e.event.as_ref().unwrap().stream.to_string()).collect();
    assert_eq!(streams, ["whole"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_past_its_deadline_is_ended() {
    let node = start().await;
    // Not tonic's own transport, which would end the call by itself.
    let hyper = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http::<tonic::body::Body>();
    let mut client = StreamsClient::with_origin(hyper, format!("http://{}", node.address).parse().unwrap());
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    sender.send(begin("s")).await.unwrap();
    let mut request = tonic::Request::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    request.metadata_mut().insert("grpc-timeout", "50m".parse().unwrap());
    let status = within(client.append(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let mut request = tonic::Request::new(ReadReq { options: Some(sound()) });
    request.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    assert_eq!(within(client.read(request)).await.unwrap_err().code(), Code::InvalidArgument);
    drop(sender);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_reading_is_not_read_ahead_for() {
    let node = start().await;
    let client = node.client();
    for i in 0..4 {
        let large = || EventData::binary("t", vec![7; 1 << 20].into()).id(id());
        let events: Vec<_> = (0..8).map(|_| large()).collect();
        client.append_to_stream(format!("s-{i}"), &Default::default(), events).await.unwrap();
    }
    // On a connection of its own: what it leaves unread stalls nobody else.
    let _left_alone = node.client().read_all(&Default::default()).await.unwrap();
    let mut read = client.read_all(&Default::default()).await.unwrap();
    assert_eq!(crate::support::all_of(&mut read).await.len(), 32);
    // An event a page for the reader that read; for the other what fits into the windows of its connection.
    let pages = node.pages();
    assert!((33..=48).contains(&pages), "{pages} pages were read");
}
