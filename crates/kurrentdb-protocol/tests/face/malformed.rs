//! What is no proper call at all, and calls whose time is over: a status with a sentence, and the node goes on.

use crate::support::{Started, events, start, within};
use axum::http::{Request, Version};
use bytes::Bytes;
use event_store::ReadAll;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Builder, Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use kurrentdb_protocol::grpc::proto::event_store::client::{
    AllStreamPosition, StreamIdentifier,
    persistent_subscriptions::{
        CreateReq, DeleteReq, GetInfoReq, GroupOptions, ListReq, ParkedOptions, ReplayParkedReq,
        TruncateParkedReq, group_options, list_req, parked_options,
        persistent_subscriptions_client::PersistentSubscriptionsClient,
    },
    streams::{ReadReq, ReadResp, read_req, read_resp, streams_client::StreamsClient},
};
use tonic::{Code, Status, Streaming};

const READ: &str = "/event_store.client.streams.Streams/Read";
const APPEND: &str = "/event_store.client.streams.Streams/Append";
const BATCH: &str = "/event_store.client.streams.Streams/BatchAppend";
const RECORDS: &str = "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords";
const SESSION: &str = "/kurrentdb.protocol.v2.streams.StreamsService/AppendSession";
const CREATE: &str = "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Create";
const CONSUME: &str = "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Read";
const STATS: &str = "/event_store.client.monitoring.Monitoring/Stats";

/// A message's frame: a flag, a length, and bytes, which need not be true.
fn frame(flag: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[flag], &length.to_be_bytes()[..], bytes].concat()
}

fn http_2() -> Client<HttpConnector, Full<Bytes>> {
    Builder::new(TokioExecutor::new()).http2_only(true).build_http()
}

/// How a call ends that sends these bytes.
async fn raw(node: &Started, path: &str, bytes: Vec<u8>, headers: &[(&str, &str)]) -> Status {
    let mut request = Request::post(format!("http://{}{path}", node.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::from(bytes)).unwrap();
    let (head, body) = within(http_2().request(request)).await.unwrap().into_parts();
    let trailers = within(body.collect()).await.unwrap().trailers().cloned().unwrap_or_default();
    Status::from_header_map(&head.headers)
        .or_else(|| Status::from_header_map(&trailers))
        .unwrap_or_else(|| panic!("{path}: a call without a status"))
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_refused_by_every_service() {
    let node = start().await;
    let cut = frame(0, 100, b"abc");
    let garbage = frame(0, 3, &[0xff; 3]);
    let endless = frame(0, u32::MAX, b"abc");
    for path in [READ, APPEND, BATCH, RECORDS, SESSION, CREATE, CONSUME, STATS] {
        for (bytes, headers, codes) in [
            (garbage.clone(), &[][..], &[Code::Internal][..]),
            (cut.clone(), &[], &[Code::Internal]),
            (endless.clone(), &[], &[Code::OutOfRange]),
            (frame(1, 3, b"abc"), &[], &[Code::Internal]),
            (frame(9, 3, b"abc"), &[], &[Code::Internal]),
            (frame(0, 0, b""), &[("grpc-encoding", "snappy")], &[Code::Unimplemented]),
            (garbage.clone(), &[("grpc-timeout", "10x")], &[Code::InvalidArgument]),
        ] {
            let status = raw(&node, path, bytes.clone(), headers).await;
            let told = format!("{path} {bytes:?} {headers:?}: {status:?}");
            assert!(codes.contains(&status.code()), "{told}");
            assert!(!status.message().is_empty(), "{told}");
        }
    }
    // Nothing of it was written, and the node works.
    assert!(node.store.read_all(ReadAll::forwards(1)).await.unwrap().events.is_empty());
    node.client().append_to_stream("s", &Default::default(), events(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_serves_is_named() {
    let node = start().await;
    for path in [
        "/nope",
        "/event_store.client.streams.Streams/Nope",
        "/event_store.client.streams.Streams",
        "/event_store.client.gossip.Gossip/Write",
        "/event_store.client.cluster.Gossip/Update",
    ] {
        let status = raw(&node, path, frame(0, 0, b""), &[]).await;
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
        assert!(status.message().contains(path), "{status:?}");
    }
    let projections = raw(&node, "/event_store.client.projections.Projections/Create", vec![], &[]).await;
    assert_eq!(projections.code(), Code::Unimplemented);
    assert!(projections.message().contains("no projection engine"), "{projections:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_by_http_1_is_told_what_it_needs() {
    let node = start().await;
    let client: Client<_, Full<Bytes>> = Builder::new(TokioExecutor::new()).build_http();
    let request = Request::post(format!("http://{}{READ}", node.address))
        .header("content-type", "application/grpc")
        .body(Full::from(frame(0, 0, b"")))
        .unwrap();
    let answer = within(client.request(request)).await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (Version::HTTP_11, 426));
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(status.message(), "Request protocol 'HTTP/1.1' is not supported.");
}

/// Follows a stream for so long, by a client that does not look at the clock itself.
async fn follow(node: &Started, timeout: &str) -> Result<Streaming<ReadResp>, Status> {
    use read_req::{StreamOptions, UuidOption, options, stream_options::From, uuid_option::Form};
    let hyper = Builder::new(TokioExecutor::new()).http2_only(true).build_http::<tonic::body::Body>();
    let mut client = StreamsClient::with_origin(hyper, format!("http://{}", node.address).parse().unwrap());
    let options = read_req::Options {
        uuid_option: Some(UuidOption { form: Some(Form::String(())) }),
        target: Some(options::Target::Stream(StreamOptions {
            stream_identifier: Some(StreamIdentifier { stream_name: "s".into() }),
            from: Some(From::Start(())),
        })),
        kind: Some(options::Kind::Subscription(())),
        ..Default::default()
    };
    let mut request = tonic::Request::new(ReadReq { options: Some(options) });
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    within(client.read(request)).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_goes_on_is_broken_off_when_its_time_is_over() {
    let node = start().await;
    let late = match follow(&node, "300m").await {
        Ok(mut subscription) => loop {
            match within(subscription.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a status"),
                Err(status) => break status,
            }
        },
        // A slow machine does not come to its first word.
        Err(status) => status,
    };
    assert_eq!((late.code(), late.message()), (Code::DeadlineExceeded, "Deadline Exceeded"));
    // One that has time gets everything.
    let mut subscription = follow(&node, "1H").await.unwrap();
    node.client().append_to_stream("s", &Default::default(), events(1)).await.unwrap();
    loop {
        let message = within(subscription.message()).await.unwrap().unwrap();
        if let Some(read_resp::Content::Event(_)) = message.content {
            break;
        }
    }
}

fn stream(name: &str) -> Option<StreamIdentifier> {
    Some(StreamIdentifier { stream_name: name.to_owned().into() })
}

fn group(source: Option<group_options::Source>, settings: Option<group_options::Settings>) -> GroupOptions {
    GroupOptions { source, stream_identifier: None, group_name: "g".into(), settings }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_make_no_sense_are_not_made() {
    use group_options::{AllOptions, Settings, Source, StreamOptions, all_options, settings, stream_options};
    let node = start().await;
    let mut groups = PersistentSubscriptionsClient::new(node.channel().await);
    let on = |name: &str, from| Some(Source::Stream(StreamOptions { stream_identifier: stream(name), from }));
    let of_stream = || on("s", Some(stream_options::From::Start(())));
    let of_all = |from| Some(Source::All(AllOptions { from, filtering: None }));
    let at = |commit_position, prepare_position| {
        of_all(Some(all_options::From::Position(AllStreamPosition { commit_position, prepare_position })))
    };
    let sound = || Settings { history_buffer_size: 500, live_buffer_size: 500, ..Default::default() };
    let bad = [
        None,
        Some(group(of_stream(), None)),
        Some(group(None, Some(sound()))),
        Some(group(on("", Some(stream_options::From::Start(()))), Some(sound()))),
        Some(group(on("s", None), Some(sound()))),
        Some(group(on("s", Some(stream_options::From::Revision(1 << 63))), Some(sound()))),
        Some(group(of_all(None), Some(sound()))),
        Some(group(at(1 << 63, 0), Some(sound()))),
        Some(group(of_stream(), Some(Settings { max_retry_count: -1, ..sound() }))),
        Some(group(of_stream(), Some(Settings { min_checkpoint_count: -1, ..sound() }))),
        Some(group(of_stream(), Some(Settings { max_checkpoint_count: i32::MIN, ..sound() }))),
        Some(group(of_stream(), Some(Settings { max_subscriber_count: -1, ..sound() }))),
        Some(group(of_stream(), Some(Settings { live_buffer_size: -1, ..sound() }))),
        Some(group(of_stream(), Some(Settings { read_batch_size: -1, ..sound() }))),
        Some(group(of_stream(), Some(Settings { history_buffer_size: -1, ..sound() }))),
        Some(group(
            of_stream(),
            Some(Settings {
                message_timeout: Some(settings::MessageTimeout::MessageTimeoutMs(-1)),
                ..sound()
            }),
        )),
        Some(group(
            of_stream(),
            Some(Settings {
                checkpoint_after: Some(settings::CheckpointAfter::CheckpointAfterTicks(i64::MIN)),
                ..sound()
            }),
        )),
    ];
    for options in bad {
        let told = format!("{options:?}");
        let status = within(groups.create(CreateReq { options })).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{told}: {status:?}");
        assert!(!status.message().is_empty(), "{told}");
    }
    // What KurrentDB answers with a failure that has a reason.
    let nameless = GroupOptions { group_name: String::new(), ..group(of_stream(), Some(sound())) };
    let strange = Settings { named_consumer_strategy: 9, ..sound() };
    let small = Settings { history_buffer_size: 20, ..sound() };
    for options in [
        nameless,
        group(of_stream(), Some(strange)),
        group(of_stream(), Some(small)),
        group(at(1, 2), Some(sound())),
    ] {
        let told = format!("{options:?}");
        let status = within(groups.create(CreateReq { options: Some(options) })).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{told}: {status:?}");
        assert_eq!(status.metadata().get("exception").unwrap(), "persistent-subscription-failed", "{told}");
        assert!(!status.metadata().get("reason").unwrap().is_empty(), "{told}");
    }
    // None of them is there, nor anything of one.
    assert!(groups.list(ListReq::default()).await.unwrap().into_inner().subscriptions.is_empty());
    assert!(node.store.read_all(ReadAll::forwards(1)).await.unwrap().events.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_groups_that_make_no_sense_are_refused() {
    let node = start().await;
    let mut groups = PersistentSubscriptionsClient::new(node.channel().await);
    let parked = |source, until| ParkedOptions { group_name: "g".into(), source, until };
    let named = || Some(parked_options::Source::StreamIdentifier(stream("s").unwrap()));
    for options in [None, Some(parked(None, None))] {
        let replay = groups.replay_parked(ReplayParkedReq { options: options.clone() }).await.unwrap_err();
        let truncate = groups.truncate_parked(TruncateParkedReq { options }).await.unwrap_err();
        assert_eq!((replay.code(), truncate.code()), (Code::InvalidArgument, Code::InvalidArgument));
    }
    let negative = parked(named(), Some(parked_options::Until::StopAt(-1)));
    for status in [
        groups.replay_parked(ReplayParkedReq { options: Some(negative.clone()) }).await.unwrap_err(),
        groups.truncate_parked(TruncateParkedReq { options: Some(negative) }).await.unwrap_err(),
    ] {
        assert_eq!(status.metadata().get("exception").unwrap(), "persistent-subscription-failed");
        assert!(status.message().contains("negative"), "{status:?}");
    }
    let nobodys = list_req::Options {
        what: Some(list_req::options::What::ListForStream(list_req::Target { target: None })),
    };
    let refused = [
        groups.list(ListReq { options: Some(nobodys) }).await.map(drop).unwrap_err(),
        groups.get_info(GetInfoReq { options: None }).await.map(drop).unwrap_err(),
        groups.delete(DeleteReq { options: None }).await.map(drop).unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_is_named_at_any_length_no_more_is_told_than_fits() {
    use kurrentdb_protocol::grpc::proto::event_store::client::persistent_subscriptions::get_info_req;
    let node = start().await;
    let mut groups = PersistentSubscriptionsClient::new(node.channel().await);
    let options = get_info_req::Options {
        source: Some(get_info_req::options::Source::All(())),
        group_name: "ü".repeat(500_000),
    };
    let status = within(groups.get_info(GetInfoReq { options: Some(options) })).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    assert_eq!(status.metadata().get("exception").unwrap(), "persistent-subscription-does-not-exist");
    assert!(status.message().len() < 3_000 && status.message().ends_with('…'), "{}", status.message().len());

    let mut streams = StreamsClient::new(node.channel().await);
    use read_req::{
        AllOptions, FilterOptions, UuidOption, all_options, filter_options, options, uuid_option,
    };
    let mut filtered = async |expression: filter_options::Expression| {
        let filter = FilterOptions {
            checkpoint_interval_multiplier: 1,
            by: Some(filter_options::By::StreamIdentifier(expression)),
            window: Some(filter_options::Window::Count(())),
        };
        let options = read_req::Options {
            uuid_option: Some(UuidOption { form: Some(uuid_option::Form::String(())) }),
            target: Some(options::Target::All(AllOptions { from: Some(all_options::From::Start(())) })),
            kind: Some(options::Kind::Count(1)),
            filtering: Some(options::Filtering::Filter(filter)),
            ..Default::default()
        };
        within(streams.read(ReadReq { options: Some(options) })).await.map(drop)
    };
    let expression = |regex: String, prefix| filter_options::Expression { regex, prefix };
    filtered(expression("x".repeat(1_000), vec![])).await.unwrap();
    filtered(expression(String::new(), vec!["x".into(); 1_000])).await.unwrap();
    for too_much in [
        expression("x".repeat(20_000), vec![]),
        expression(String::new(), vec!["x".into(); 1_001]),
        expression(format!("{}(", "x".repeat(10_000)), vec![]),
        expression("(".repeat(10_000), vec![]),
    ] {
        let status = filtered(too_much).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!((1..3_000).contains(&status.message().len()), "{}", status.message().len());
    }
}
