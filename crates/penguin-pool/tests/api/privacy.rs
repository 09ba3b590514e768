//! Users' data that is encrypted, exported and erased: what is in the store, and what is answered.

use event_store::{EventStore, ReadAll};
use serde_json::{Value, json};
use std::sync::Arc;
use test_support::TestService;

const KEY: &str = "0101010101010101010101010101010101010101010101010101010101010101";

async fn store() -> Arc<dyn EventStore> {
    super::STORE.open(&Arc::default()).await
}

async fn ask(service: &TestService, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = service.client.request(method.parse().unwrap(), format!("{}{path}", service.url));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn put(service: &TestService, path: &str, data: Value) -> Value {
    let (status, body) = ask(service, "PUT", path, Some(json!({ "data": data }))).await;
    assert_eq!(status, 200, "{body}");
    body["data"].clone()
}

/// All that stands in the store, as text.
async fn stored(store: &Arc<dyn EventStore>) -> String {
    let page = store.read_all(ReadAll::forwards(1000)).await.unwrap();
    let texts = page.events.iter().filter_map(|e| e.event.as_ref()).map(|event| {
        format!(
            "{} {} {}\n",
            event.stream,
            String::from_utf8_lossy(&event.data),
            String::from_utf8_lossy(&event.metadata)
        )
    });
    texts.collect()
}

#[tokio::test]
async fn what_a_user_has_is_encrypted_in_the_store_and_not_found_by_what_is_in_it() {
    let store = store().await;
    let service = TestService::builder().set("ENCRYPTION_KEY", KEY).store(Arc::clone(&store)).start().await;
    let written = put(&service, "/api/users/bob/profile", json!({ "bio": "xylophone" })).await;
    let body = json!({ "eventType": "Noted", "eventData": { "note": "xylophone" }, "metadata": { "m": "xylophone" } });
    let (status, _) = ask(&service, "POST", "/api/streams/user-bob-profile/events", Some(body)).await;
    assert_eq!(status, 201);
    let text = stored(&store).await;
    assert!(text.contains("\"$encrypted\"") && !text.contains("xylophone"), "{text}");

    let (_, read) = ask(&service, "GET", "/api/users/bob/profile", None).await;
    assert_eq!(read["data"], written);
    let (_, events) = ask(&service, "GET", "/api/streams/user-bob-profile/events", None).await;
    assert_eq!(events["data"]["events"][2]["metadata"], json!({ "m": "xylophone" }));
    let (_, found) = ask(&service, "POST", "/api/streams/search", Some(json!({ "text": "xylophone" }))).await;
    assert_eq!(found["data"]["total"], 0, "{found}");
    let of_type = json!({ "eventType": "Noted" });
    let (_, found) = ask(&service, "POST", "/api/streams/search", Some(of_type)).await;
    assert_eq!(
        found["data"]["events"][0]["data"],
        json!({ "note": "xylophone" }),
        "what is found otherwise is shown plain"
    );
}

#[tokio::test]
async fn a_user_gets_everything_as_one_document() {
    let service = TestService::builder().set("ENCRYPTION_KEY", KEY).store(store().await).start().await;
    put(&service, "/api/users/bob/profile", json!({ "bio": "a" })).await;
    put(&service, "/api/users/bob/preferences?category=mobile", json!({ "theme": "dark" })).await;
    for n in 0..250 {
        put(
            &service,
            "/api/users/bob/loans/1",
            json!({ "amount": n, "currency": "EUR", "status": "active" }),
        )
        .await;
    }
    put(&service, "/api/users/bob-2/profile", json!({ "bio": "another's" })).await;
    let answer = service.get("/api/users/bob/export").send().await.unwrap();
    assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"bob.json\"");
    let document: Value = answer.json().await.unwrap();
    assert_eq!(document["userId"], "bob");
    let streams = document["streams"].as_array().unwrap();
    let of = |stream: &Value| {
        (stream["name"].as_str().unwrap().to_owned(), stream["events"].as_array().unwrap().len())
    };
    let found: Vec<_> = streams.iter().map(of).collect();
    let expected = [("user-bob-profile", 2), ("user-bob-preferences-mobile", 2), ("user-bob-loans-1", 251)];
    assert_eq!(found, expected.map(|(name, events)| (name.to_owned(), events)));
    assert_eq!(streams[1]["category"], "mobile");
    assert_eq!(streams[2]["events"][250]["data"]["data"]["amount"], 249);
    assert_eq!(streams[0]["metadata"]["owner"], "bob");
    assert_eq!(ask(&service, "GET", "/api/users/nobody/export", None).await.0, 404);
}

#[tokio::test]
async fn an_erased_user_is_gone_everywhere_and_cannot_come_back() {
    for key in [Some(KEY), None] {
        let store = store().await;
        let mut builder = TestService::builder().store(Arc::clone(&store));
        if let Some(key) = key {
            builder = builder.set("ENCRYPTION_KEY", key);
        }
        let service = builder.start().await;
        put(&service, "/api/users/bob/profile", json!({ "bio": "xylophone" })).await;
        put(
            &service,
            "/api/users/bob/loans/1",
            json!({ "amount": 1, "currency": "EUR", "status": "active" }),
        )
        .await;
        put(
            &service,
            "/api/users/bob/loans/2",
            json!({ "amount": 1, "currency": "EUR", "status": "active" }),
        )
        .await;
        assert_eq!(ask(&service, "DELETE", "/api/users/bob/loans/2", None).await.0, 200);
        put(&service, "/api/users/bob-2/profile", json!({ "bio": "another's" })).await;

        let (status, erased) = ask(&service, "DELETE", "/api/users/bob", None).await;
        let expected = json!({ "erased": true, "keyDestroyed": key.is_some(), "streamsClosed": 3 });
        assert_eq!((status, &erased["data"]), (200, &expected), "{erased}");
        let body = Some(json!({ "data": {} }));
        for (method, path, body) in [
            ("GET", "/api/users/bob", None),
            ("GET", "/api/users/bob/profile", None),
            ("GET", "/api/users/bob/profile/history", None),
            ("GET", "/api/users/bob/loans", None),
            ("GET", "/api/users/bob/loans/1", None),
            ("GET", "/api/users/bob/export", None),
            ("PUT", "/api/users/bob/profile", body.clone()),
            ("PUT", "/api/users/bob/activity", body),
            ("GET", "/api/streams/user-bob-profile/events", None),
            ("GET", "/api/streams/user-bob-profile/details", None),
        ] {
            let (status, answer) = ask(&service, method, path, body).await;
            assert_eq!((status, &answer["type"]), (410, &json!("user-erased")), "{method} {path}: {answer}");
        }
        for path in ["/api/streams/browse?prefix=user-bob-p", "/api/streams/browse?prefix=user-bob-l"] {
            assert_eq!(ask(&service, "GET", path, None).await.1["data"]["total"], 0);
        }
        let (_, found) =
            ask(&service, "POST", "/api/streams/search", Some(json!({ "text": "xylophone" }))).await;
        assert_eq!(found["data"]["total"], 0);
        let (_, users) = ask(&service, "GET", "/api/users", None).await;
        assert_eq!(users["data"]["users"], json!([{ "userId": "bob-2", "streams": 1 }]));
        assert_eq!(ask(&service, "GET", "/api/users/bob-2/profile", None).await.0, 200);
        let (_, again) = ask(&service, "DELETE", "/api/users/bob", None).await;
        assert_eq!(again["data"], json!({ "erased": true, "keyDestroyed": false, "streamsClosed": 0 }));
        assert_eq!(stored(&store).await.contains("xylophone"), key.is_none());
    }
}
