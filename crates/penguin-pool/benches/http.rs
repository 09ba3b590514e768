//! What HTTP and the store cost together, as a share of an axum route that takes or returns the same bytes and touches
//! no store: durable appends by 32 keep-alive clients, and pages of 100 events by 8.
//!
//! `cargo bench -p penguin-pool --bench http`

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures, and prints")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on is to stop")]

mod support;

use axum::{
    Router,
    body::Bytes,
    http::{StatusCode, header},
    routing::{get, post},
};
use event_store::{RandomIds, SystemClock};
use event_store_embedded::{Engine, Options};
use penguin_pool::{
    app::{Parts, Service},
    config::{Config, Inputs},
    security::Keys,
    server::Listeners,
};
use std::{net::SocketAddr, sync::Arc, time::Instant};
use support::{Connection, line, request};

const APPENDS: usize = 20_000;
const PAGES: usize = 4_000;

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let service = start(&directory).await;
    let address = service.address();

    // 300 bytes of event, as the port's benchmark has them.
    let data = format!(r#"{{"loanId":42,"note":"{}"}}"#, "x".repeat(270));
    let event = format!(r#"{{"eventType":"LoanTouched","eventData":{data}}}"#);
    let append = |client: usize| request("POST", &format!("/api/streams/bench-{client}/events"), &event);
    let mut one = Connection::open(address).await;
    let (status, answer) = one.ask(&append(0)).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(answer));
    let appended = Bytes::copy_from_slice(answer);
    for _ in 0..120 {
        one.ask(&append(0)).await;
    }
    let page = request("GET", "/api/streams/bench-0/events?limit=100", "");
    let (status, answer) = one.ask(&page).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(answer));
    let page_bytes = Bytes::copy_from_slice(answer);

    let bare = bare(appended, page_bytes.clone()).await;
    println!("HTTP, events of 300 bytes; a page of 100 has {} bytes\n", page_bytes.len());
    let limit = drive(bare, 32, APPENDS, |_| request("POST", "/append", &event), 201).await;
    let measured = drive(address, 32, APPENDS, append, 201).await;
    line("durable append, 32 clients", measured, limit, "appends/s");
    let limit = drive(bare, 8, PAGES, |_| request("GET", "/page", ""), 200).await;
    let measured = drive(address, 8, PAGES, |_| page.clone(), 200).await;
    line("page of 100 events, 8 clients", measured, limit, "pages/s");
    service.stop().await.unwrap();
}

async fn start(directory: &tempfile::TempDir) -> Service {
    let variables = [
        ("NODE_ENV", "test".to_owned()),
        ("HTTP_PORT", "0".to_owned()),
        ("WS_PORT", "0".to_owned()),
        ("RATE_LIMIT_MAX_REQUESTS", "0".to_owned()),
        ("DATA_DIR", directory.path().join("data").display().to_string()),
    ];
    let inputs = Inputs {
        variables: variables.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        directory: None,
    };
    let config = Config::from_inputs(&inputs).unwrap();
    let listeners = Listeners::bind(&config.settings).await.unwrap();
    let store = Engine::open(Options::at(directory.path().join("data"))).unwrap();
    let parts = Parts {
        config,
        store: Arc::new(store),
        keys: Keys::none(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
    };
    Service::start(listeners, parts).await.unwrap()
}

/// The limit: the same bytes in and out, through axum, and nothing else.
async fn bare(appended: Bytes, page: Bytes) -> SocketAddr {
    const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    let router = Router::new()
        .route("/append", post(async move |_body: Bytes| (StatusCode::CREATED, JSON, appended.clone())))
        .route("/page", get(async move || (JSON, page.clone())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// How many answers a second so many clients get, each asking again as soon as it was answered.
async fn drive(
    address: SocketAddr,
    clients: usize,
    requests: usize,
    request: impl Fn(usize) -> Vec<u8>,
    expected: u16,
) -> f64 {
    let mut tasks = tokio::task::JoinSet::new();
    let start = Instant::now();
    for client in 0..clients {
        let request = request(client);
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await;
            for _ in 0..requests / clients {
                let (status, body) = connection.ask(&request).await;
                assert_eq!(status, expected, "{}", String::from_utf8_lossy(body));
            }
        });
    }
    tasks.join_all().await;
    rate(requests, start.elapsed())
}

/// Times a second.
fn rate(count: usize, time: std::time::Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
