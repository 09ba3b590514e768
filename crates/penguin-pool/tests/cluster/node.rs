//! `/kurrentdb/*` leads to the server's own HTTP interface, and to nothing else.

use crate::support::{Node, PATIENCE, get, post, service};
use axum::{Router, body::Body, extract::Request, routing::any};
use serde_json::json;
use test_support::{Proxy, TestService};

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_answers_are_passed_back() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let wire = Proxy::to(node.address).await.unwrap();
    let service = service(&wire).await;
    assert_eq!(service.get("/kurrentdb/health/live").send().await.unwrap().status(), 204);
    assert_eq!(get(&service, "/kurrentdb/info").await.1["state"], "leader");
    let (_, gossip) = get(&service, "/kurrentdb/gossip").await;
    assert_eq!(gossip["members"][0]["httpEndPointPort"], node.address.port(), "it is the node's own answer");
    assert_eq!(post(&service, "/api/streams/loans/events", crate::support::event(7)).await.0, 201);
    let (_, page) = get(&service, "/kurrentdb/streams/loans?embed=body").await;
    let id = page["entries"][0]["id"].as_str().unwrap();
    assert_eq!(id, format!("{}/kurrentdb/streams/loans/0", service.url), "links lead through the service");
    assert_eq!(service.get("/kurrentdb/streams/nobody").send().await.unwrap().status(), 404);
    assert_eq!(service.post("/kurrentdb/streams/loans").body("[]").send().await.unwrap().status(), 405);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_servers_node_is_asked_stands_in_the_trail() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let service = TestService::builder()
        .set("EVENT_STORE", "kurrentdb")
        .set("KURRENTDB_URL", format!("http://{}", node.address))
        .set("RATE_LIMIT_MAX_REQUESTS", 0)
        .set("AUDIT", "true")
        .start()
        .await;
    assert_eq!(service.get("/kurrentdb/info?secret=1").send().await.unwrap().status(), 200);
    assert_eq!(service.get("/kurrentdb/streams/loans%2D1/0").send().await.unwrap().status(), 404);
    let there = async {
        loop {
            let (_, answer) = get(&service, "/api/audit?action=ask-node").await;
            let records = answer["data"]["records"].as_array().unwrap().clone();
            if records.len() >= 2 {
                return records;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, there).await.expect("they are written");
    let told = |name: &str| found.iter().rev().map(|r| r[name].clone()).collect::<Vec<_>>();
    assert_eq!(told("subject"), ["GET /info", "GET /streams/loans%2D1/0"]);
    assert_eq!(told("streams"), [json!([]), json!(["loans-1"])]);
    assert_eq!(told("outcome"), ["ok", "http-404"]);
    assert_eq!(told("address"), ["127.0.0.1", "127.0.0.1"]);
    service.stop().await;
}

/// A server that says what came to it, how much, and tries to send callers away.
async fn mirror() -> std::net::SocketAddr {
    let says = async |request: Request| {
        let (parts, body) = request.into_parts();
        let names: Vec<_> = parts.headers.keys().map(ToString::to_string).collect();
        let length = match axum::body::to_bytes(body, usize::MAX).await {
            Ok(bytes) => bytes.len(),
            Err(_) => return Err(axum::http::StatusCode::BAD_REQUEST),
        };
        if parts.uri.path() == "/away" {
            let answer =
                axum::http::Response::builder().status(307).header("location", "http://127.0.0.1:9/");
            return Ok(answer.body(Body::empty()).unwrap());
        }
        if parts.uri.path() == "/endless" {
            let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 64 << 10]));
            return Ok(axum::http::Response::new(Body::from_stream(chunks)));
        }
        let body = json!({ "uri": parts.uri.to_string(), "headers": names, "length": length });
        Ok(axum::http::Response::builder()
            .header("set-cookie", "node=1")
            .body(Body::from(body.to_string()))
            .unwrap())
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(says))).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_cookies_stay_behind_and_redirects_are_not_followed() {
    let wire = Proxy::to(mirror().await).await.unwrap();
    let service = service(&wire).await;
    let response = service
        .get("/kurrentdb/a%2Fb//c?d=e%20f")
        .header("authorization", "Basic c2VjcmV0")
        .header("cookie", "session=secret")
        .header("x-api-key", "secret")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("es-resolvelinktos", "false")
        .send()
        .await
        .unwrap();
    assert!(!response.headers().contains_key("set-cookie"));
    let came: serde_json::Value = response.json().await.unwrap();
    assert_eq!(came["uri"], "/a%2Fb//c?d=e%20f");
    let names: Vec<_> = came["headers"].as_array().unwrap().iter().filter_map(|n| n.as_str()).collect();
    assert!(names.contains(&"es-resolvelinktos") && names.contains(&"x-forwarded-prefix"), "{names:?}");
    for behind in ["authorization", "cookie", "x-api-key", "x-hop"] {
        assert!(!names.contains(&behind), "{names:?}");
    }
    let moved = service.get("/kurrentdb/away").send().await.unwrap();
    assert_eq!(moved.status(), 307);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_streamed_and_bounded() {
    let wire = Proxy::to(mirror().await).await.unwrap();
    let service = service(&wire).await;
    let (status, came) = post(&service, "/kurrentdb/x", json!({ "text": "y".repeat(3 << 20) })).await;
    assert_eq!((status, &came["length"]), (200, &json!((3 << 20) + 11)));
    // One that says how much it is, and one that does not.
    let large = vec![b'z'; (16 << 20) + 1];
    let unsized_body = reqwest::Body::wrap_stream(futures::stream::iter(
        large.chunks(1 << 20).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>(),
    ));
    for body in [reqwest::Body::from(large.clone()), unsized_body] {
        let refused = service.post("/kurrentdb/x").body(body).send().await.unwrap();
        assert_eq!(refused.status(), 413);
        assert_eq!(refused.json::<serde_json::Value>().await.unwrap()["type"], "payload-too-large");
    }
    let mut endless = service.get("/kurrentdb/endless").send().await.unwrap();
    for _ in 0..100 {
        assert!(endless.chunk().await.unwrap().is_some());
    }
    drop(endless);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_is_a_time_out() {
    let wire = Proxy::to(mirror().await).await.unwrap();
    let service = TestService::builder()
        .set("EVENT_STORE", "kurrentdb")
        .set("KURRENTDB_URL", format!("http://{}", wire.address()))
        .set("REQUEST_TIMEOUT", 300)
        .start()
        .await;
    wire.stall();
    let (status, late) = get(&service, "/kurrentdb/info").await;
    assert_eq!((status, &late["type"]), (504, &json!("timeout")), "{late}");
    service.stop().await;
}
