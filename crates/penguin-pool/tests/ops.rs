//! The layers around the API, over real sockets: ids, limits, headers, compression, metrics.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use event_store::{Clock, RandomIds, SystemClock};
use penguin_pool::{
    app,
    config::{Config, DataDir, Inputs},
    endpoint,
    http::{self, Context, Routes, Success},
    ops::{self, Lifecycle, Phase},
    server::{self, End},
    store,
};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use test_support::{MockClock, TestService};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Semaphore,
    task::JoinHandle,
};

/// Routes of this test inside of the service's own layers.
struct Layered {
    url: String,
    client: Client,
    lifecycle: Lifecycle,
    gate: Arc<Gate>,
    server: JoinHandle<End>,
}

/// Holds requests to `/gate`.
struct Gate {
    /// Has a permit for each that came.
    arrived: Semaphore,
    /// Each permit lets one pass.
    open: Semaphore,
}

endpoint! {
    /// Panics.
    []
    async fn panics() -> Success<u8> {
        panic!("on purpose")
    }
}

async fn wait_at_gate(State(gate): State<Arc<Gate>>) -> &'static str {
    gate.arrived.add_permits(1);
    gate.open.acquire().await.unwrap().forget();
    "passed"
}

async fn feed() -> impl IntoResponse {
    let first = futures::stream::iter([Ok::<_, std::convert::Infallible>("data: 1\n\n".repeat(50))]);
    let body = axum::body::Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()));
    ([(header::CONTENT_TYPE, "text/event-stream")], body)
}

async fn layered(variables: &[(&str, &str)]) -> Layered {
    let variables = [("NODE_ENV", "test")].iter().chain(variables);
    let variables = variables.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let inputs = Inputs { variables, directory: None };
    let settings = Config::from_inputs(&inputs).unwrap().settings;
    let gate = Arc::new(Gate { arrived: Semaphore::new(0), open: Semaphore::new(0) });
    let (api, _) = http::build(|| Routes::new("Test", "").get("/panics", panics, panics::DOC)).unwrap();
    let own = Router::new()
        .route("/gate", get(wait_at_gate))
        .route("/health", get(async || "alive"))
        .route("/feed", get(feed))
        .route("/large", get(async || "penguin ".repeat(1000)))
        .with_state(Arc::clone(&gate));
    let lifecycle = Lifecycle::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids = Arc::new(RandomIds);
    let store = store::open_embedded(&DataDir::Memory, Arc::clone(&clock), ids.clone()).await.unwrap();
    let identity = app::identity(&settings, store, Arc::clone(&clock), ids.clone(), None).unwrap();
    let limiter = ops::Limiter::new(&settings, Arc::clone(&clock));
    let options = ops::Options {
        settings: &settings,
        clock,
        ids,
        lifecycle: lifecycle.clone(),
        identity,
        limiter,
        own: penguin_pool::security::OwnPass::new().unwrap(),
    };
    let router = ops::layers(api.merge(own), Router::new(), &options);
    let listener = server::bind(&settings.host, 0).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let context = Context { clock: Arc::new(SystemClock), ids: Arc::new(RandomIds) };
    let patience = settings.shutdown_timeout.get();
    let server =
        tokio::spawn(server::serve(listener, None, router, context, None, lifecycle.clone(), patience));
    Layered { url, client: Client::new(), lifecycle, gate, server }
}

impl Layered {
    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    /// Asks again and again until the answer has this status.
    async fn until(&self, path: &str, status: StatusCode) -> Response {
        let asking = async {
            loop {
                let response = self.get(path).await;
                if response.status() == status {
                    return response;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap()
    }
}

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
}

async fn error(response: Response, status: u16, kind: &str) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(header(&response, "content-type"), "application/json");
    let id = header(&response, "x-request-id");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["success"], false);
    assert_eq!(body["type"], kind);
    assert_eq!(body["statusCode"], status);
    assert_eq!(body["requestId"], id.as_str());
    body
}

#[tokio::test]
async fn a_sane_request_id_is_kept_and_another_replaced() {
    let service = TestService::start().await;
    let kept = service.get("/health").header("x-request-id", "abc-123").send().await.unwrap();
    assert_eq!(header(&kept, "x-request-id"), "abc-123");
    for insane in ["with space", "", &"x".repeat(500), "<script>"] {
        let response = service.get("/nowhere").header("x-request-id", insane).send().await.unwrap();
        let id = header(&response, "x-request-id");
        assert!(uuid::Uuid::parse_str(&id).is_ok(), "{insane}: {id}");
        error(response, 404, "route-not-found").await;
    }
}

#[tokio::test]
async fn the_rate_limit_refuses_says_when_and_lets_in_again() {
    let clock = Arc::new(MockClock::new());
    let service = TestService::builder()
        .set("RATE_LIMIT_MAX_REQUESTS", 2)
        .set("RATE_LIMIT_WINDOW_MS", 60_000)
        .clock(clock.clone())
        .start()
        .await;
    for left in ["1", "0"] {
        let response = service.get("/api/status").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "x-ratelimit-limit"), "2");
        assert_eq!(header(&response, "x-ratelimit-remaining"), left);
    }
    let refused = service.get("/api/status").header("origin", "http://localhost:3000").send().await.unwrap();
    assert_eq!(header(&refused, "retry-after"), "30");
    assert_eq!(header(&refused, "x-ratelimit-remaining"), "0");
    assert_eq!(header(&refused, "x-ratelimit-reset"), "60");
    assert_eq!(
        header(&refused, "access-control-allow-origin"),
        "http://localhost:3000",
        "a browser can read it"
    );
    error(refused, 429, "rate-limited").await;
    for exempt in ["/health", "/health/ready", "/metrics"] {
        let response = service.get(exempt).send().await.unwrap();
        assert_eq!(response.status(), 200, "{exempt}");
        assert_eq!(header(&response, "x-ratelimit-limit"), "", "{exempt}");
    }
    clock.advance(Duration::from_secs(30));
    assert_eq!(service.get("/api/status").send().await.unwrap().status(), 200);
    assert_eq!(service.get("/api/status").send().await.unwrap().status(), 429);
}

#[tokio::test]
async fn callers_behind_a_trusted_proxy_have_a_limit_each() {
    let service = TestService::builder()
        .set("RATE_LIMIT_MAX_REQUESTS", 1)
        .set("TRUSTED_PROXIES", "127.0.0.1")
        .clock(Arc::new(MockClock::new()))
        .start()
        .await;
    let ask = async |caller: &str| {
        service.get("/api/status").header("x-forwarded-for", caller).send().await.unwrap().status().as_u16()
    };
    assert_eq!(
        [ask("198.51.100.1").await, ask("198.51.100.2").await, ask("198.51.100.1").await],
        [200, 200, 429]
    );
}

#[tokio::test]
async fn other_sites_may_call_if_they_are_listed() {
    let service = TestService::builder().set("ALLOWED_ORIGINS", "https://app.example.org").start().await;
    let preflight = async |origin: &str| {
        let request = service.client.request(Method::OPTIONS, format!("{}/api/status", service.url));
        let request = request
            .header("origin", origin)
            .header("access-control-request-method", "PATCH")
            .header("access-control-request-headers", "content-type,x-api-key");
        request.send().await.unwrap()
    };
    let allowed = preflight("https://app.example.org").await;
    assert_eq!(allowed.status(), 200);
    assert_eq!(header(&allowed, "access-control-allow-origin"), "https://app.example.org");
    assert_eq!(header(&allowed, "access-control-allow-credentials"), "true");
    assert_eq!(
        header(&allowed, "access-control-allow-headers"),
        "authorization,content-type,x-api-key,x-request-id,if-match,if-none-match,last-event-id"
    );
    assert!(header(&allowed, "access-control-allow-methods").contains("PATCH"));
    let refused = preflight("https://evil.example.org").await;
    assert_eq!(header(&refused, "access-control-allow-origin"), "");
    let read = service.get("/api/status").header("origin", "https://app.example.org").send().await.unwrap();
    assert_eq!(
        header(&read, "access-control-expose-headers"),
        "etag,x-request-id,retry-after,x-ratelimit-limit,x-ratelimit-remaining,x-ratelimit-reset"
    );
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let service = TestService::start().await;
    for path in ["/health", "/nowhere"] {
        let response = service.get(path).send().await.unwrap();
        assert_eq!(header(&response, "x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header(&response, "x-frame-options"), "DENY", "{path}");
        assert_eq!(header(&response, "referrer-policy"), "no-referrer", "{path}");
        assert!(header(&response, "content-security-policy").starts_with("default-src 'none'"), "{path}");
    }
    let page = service.get("/api/docs").send().await.unwrap();
    assert!(header(&page, "content-security-policy").contains("script-src"), "the page's own policy stays");
}

#[tokio::test]
async fn answers_are_compressed_as_asked_and_feeds_never() {
    let layered = layered(&[]).await;
    let ask = async |path: &str, encoding: &str| {
        let request =
            layered.client.get(format!("{}{path}", layered.url)).header("accept-encoding", encoding);
        request.send().await.unwrap()
    };
    for encoding in ["gzip", "br", "zstd"] {
        let response = ask("/large", encoding).await;
        assert_eq!(header(&response, "content-encoding"), encoding);
        assert!(response.bytes().await.unwrap().len() < 1000, "{encoding}");
    }
    assert_eq!(header(&ask("/large", "identity").await, "content-encoding"), "");
    let feed = ask("/feed", "gzip").await;
    assert_eq!(header(&feed, "content-encoding"), "");
    assert_eq!(header(&feed, "content-type"), "text/event-stream");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_504_and_a_feed_may_go_on() {
    let layered = layered(&[("REQUEST_TIMEOUT", "50")]).await;
    let mut feed = layered.get("/feed").await;
    let body = error(layered.get("/gate").await, 504, "timeout").await;
    assert_eq!(body["message"], "There was no answer within 50 ms");
    assert!(
        feed.chunk().await.unwrap().unwrap().starts_with(b"data: 1"),
        "longer open than a request may take"
    );
}

#[tokio::test]
async fn requests_beyond_what_the_service_can_work_on_are_refused_and_health_is_not() {
    let layered = Arc::new(layered(&[("MAX_CONCURRENT_REQUESTS", "1")]).await);
    let first = tokio::spawn({
        let layered = Arc::clone(&layered);
        async move { layered.get("/gate").await.status() }
    });
    layered.gate.arrived.acquire().await.unwrap().forget();
    let refused = layered.get("/large").await;
    assert_eq!(header(&refused, "retry-after"), "1");
    error(refused, 429, "rate-limited").await;
    assert_eq!(layered.get("/health").await.status(), 200);
    layered.gate.open.add_permits(1);
    assert_eq!(first.await.unwrap(), 200);
    layered.until("/large", StatusCode::OK).await;
}

#[tokio::test]
async fn feeds_are_limited_in_number_and_a_place_comes_free_when_one_ends() {
    let layered = layered(&[("MAX_SUBSCRIPTIONS", "1")]).await;
    let mut first = layered.get("/feed").await;
    assert!(first.chunk().await.unwrap().is_some());
    let refused = layered.get("/feed").await;
    assert_eq!(header(&refused, "retry-after"), "5");
    error(refused, 429, "rate-limited").await;
    drop(first);
    layered.until("/feed", StatusCode::OK).await;
}

#[tokio::test]
async fn feeds_end_and_requests_finish_when_the_service_drains() {
    let layered = layered(&[]).await;
    let mut feed = layered.get("/feed").await;
    assert!(feed.chunk().await.unwrap().is_some());
    let url = format!("{}/gate", layered.url);
    let slow = tokio::spawn(async move { reqwest::get(url).await.unwrap().text().await.unwrap() });
    layered.gate.arrived.acquire().await.unwrap().forget();
    layered.lifecycle.advance(Phase::Draining);
    while feed.chunk().await.unwrap().is_some() {}
    assert!(!layered.server.is_finished(), "it waits for the request");
    layered.gate.open.add_permits(1);
    assert_eq!(slow.await.unwrap(), "passed");
    assert_eq!(layered.server.await.unwrap(), End::Clean);
    assert!(layered.client.get(&layered.url).send().await.unwrap_err().is_connect());
}

#[tokio::test]
async fn a_request_that_does_not_finish_in_time_is_cut_off() {
    let layered = layered(&[("SHUTDOWN_TIMEOUT", "50")]).await;
    let url = format!("{}/gate", layered.url);
    let slow = tokio::spawn(reqwest::get(url));
    layered.gate.arrived.acquire().await.unwrap().forget();
    layered.lifecycle.advance(Phase::Draining);
    assert_eq!(layered.server.await.unwrap(), End::Cut(1));
    assert!(slow.await.unwrap().is_err());
}

#[tokio::test]
async fn a_panic_is_500_in_the_error_body_and_says_nothing_of_its_cause() {
    let layered = layered(&[]).await;
    let body = error(layered.get("/panics").await, 500, "internal-error").await;
    assert!(!body.to_string().contains("on purpose"));
}

#[tokio::test]
async fn options_are_told_for_what_there_is_alone() {
    let service = TestService::start().await;
    let ask = async |path: &str, origin: Option<&str>| {
        let mut request = service.client.request(Method::OPTIONS, format!("{}{path}", service.url));
        if let Some(origin) = origin {
            request = request.header("origin", origin).header("access-control-request-method", "POST");
        }
        request.send().await.unwrap()
    };
    for origin in [None, Some("http://localhost:3000")] {
        let answer = ask("/nope", origin).await;
        assert!(answer.headers().contains_key("x-request-id"));
        error(answer, 404, "route-not-found").await;
        let answer = ask("/api/streams/a/events", origin).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "allow")), (200, "GET,HEAD,POST".to_owned()));
        assert_eq!(answer.text().await.unwrap(), "");
    }
}

#[tokio::test]
async fn what_cannot_be_read_as_a_request_gets_the_error_body() {
    let service = TestService::start().await;
    let long = "x".repeat(70_000);
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (request, status, kind) in [
        ("penguins\r\n\r\n".to_owned(), 400, "validation-failed"),
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), 400, "validation-failed"),
        (format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"), 414, "uri-too-long"),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), 431, "headers-too-large"),
    ] {
        let mut stream =
            tokio::net::TcpStream::connect(service.url.trim_start_matches("http://")).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["type"], &body["statusCode"]), (&kind.into(), &status.into()));
        assert!(head.contains(&format!("x-request-id: {}", body["requestId"].as_str().unwrap())), "{head}");
    }
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_the_stores_operations() {
    let service = TestService::start().await;
    assert_eq!(service.get("/health/kurrentdb").send().await.unwrap().status(), 200);
    service.get("/made-up/path/17").send().await.unwrap();
    let feed = service.get("/api/streams/all/subscribe").send().await.unwrap();
    assert_eq!(feed.status(), 200);
    let response = service.get("/metrics").send().await.unwrap();
    assert_eq!(header(&response, "content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    let value = |prefix: &str| -> f64 {
        let line =
            text.lines().find(|l| l.starts_with(prefix)).unwrap_or_else(|| panic!("{prefix} in\n{text}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert!(value(r#"http_requests_total{method="GET",route="/health/kurrentdb",status="200"}"#) >= 1.0);
    assert!(value(r#"http_requests_total{method="GET",route="(none)",status="404"}"#) >= 1.0);
    assert!(!text.contains("made-up"), "a caller's path is no label");
    assert!(
        value(r#"http_request_duration_seconds_bucket{method="GET",route="/health/kurrentdb",le="10"}"#)
            >= 1.0
    );
    assert!(value("http_requests_in_flight ") >= 1.0, "the one that asks");
    assert!(value(r#"store_operations_total{operation="append",outcome="ok"}"#) >= 1.0);
    assert!(value("store_events_appended_total") >= 2.0);
    assert!(value("store_bytes_appended_total") > 20.0);
    assert!(value("store_events_read_total") >= 1.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    // Seconds, and not milliseconds since some other time.
    assert!((0.0..3600.0).contains(&value("process_uptime_seconds")));
    assert!((0.0..=value("catalogue_events_total")).contains(&value("catalogue_lag_events")));
    assert!(value("store_subscriptions_open") >= 1.0, "the feed that is open");
    assert!(value("event_store_flush_seconds_count") >= 1.0);
    assert!(text.contains("# HELP http_requests_total"));
}
