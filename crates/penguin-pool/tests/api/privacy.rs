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
        let (_, listed) = ask(&service, "GET", "/api/streams/browse?status=deleted", None).await;
        assert_eq!(listed["data"]["total"], 0, "{listed}");
        assert_eq!(stored(&store).await.contains("xylophone"), key.is_none());
    }
}

/// What only bob's streams say: in an event, its metadata, the stream's data, its description and its tags.
const WORDS: [&str; 5] = ["xylophone", "quagmire", "078-05-1120", "zeppelin", "ocarina"];

/// Writes all of [`WORDS`] into streams of bob, and the same of others' into eve's.
async fn write_words(service: &TestService, user: &str, words: [&str; 5]) {
    let [said, noted, ssn, described, tag] = words;
    put(service, &format!("/api/users/{user}/profile"), json!({ "bio": said })).await;
    let body = json!({ "eventType": "Noted", "eventData": { "note": said }, "metadata": { "m": noted } });
    let path = format!("/api/streams/user-{user}-profile");
    assert_eq!(ask(service, "POST", &format!("{path}/events"), Some(body)).await.0, 201);
    let body = json!({ "data": { "ssn": ssn }, "description": described, "tags": [tag] });
    assert_eq!(ask(service, "PATCH", &path, Some(body)).await.0, 200);
}

/// All that an administrator can read of everything.
async fn everything(service: &TestService) -> Vec<Value> {
    let path = "/api/streams/all/events?system=true&limit=1000";
    let (status, body) = ask(service, "GET", path, None).await;
    assert_eq!(status, 200, "{body}");
    body["data"]["events"].as_array().unwrap().clone()
}

/// Whether any of the words stands in a text.
fn tells(text: &str) -> bool {
    WORDS.iter().any(|word| text.contains(word))
}

#[tokio::test]
async fn of_an_erased_user_nothing_is_served_by_any_read_with_a_key_or_without() {
    for key in [Some(KEY), None] {
        let store = store().await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        std::fs::create_dir(&path).unwrap();
        let mut builder = TestService::builder().store(Arc::clone(&store));
        builder = builder.set("DATA_DIR", path.to_str().unwrap());
        if let Some(key) = key {
            builder = builder.set("ENCRYPTION_KEY", key);
        }
        let service = builder.start().await;
        write_words(&service, "bob", WORDS).await;
        write_words(&service, "eve", ["kettle", "ladder", "123-45-6789", "marble", "needle"]).await;
        let in_log = stored(&store).await;
        let found: Vec<_> = WORDS.into_iter().filter(|word| in_log.contains(word)).collect();
        // Tags are to find the stream by.
        assert_eq!(found, if key.is_some() { &WORDS[4..] } else { &WORDS[..] }, "in the log");
        let (_, details) = ask(&service, "GET", "/api/streams/user-bob-profile/details", None).await;
        assert_eq!(details["data"]["stream"]["description"], "zeppelin");
        assert_eq!(details["data"]["metadata"]["data"], json!({ "ssn": "078-05-1120" }), "{details}");
        let (_, listed) = ask(&service, "GET", "/api/streams/browse?tag=ocarina", None).await;
        let listed = &listed["data"]["streams"][0];
        assert_eq!(listed["metadata"]["owner"], "bob");
        assert_eq!(listed["description"], if key.is_some() { "" } else { "zeppelin" });
        let before = everything(&service).await;
        assert!(tells(&json!(before).to_string()));
        let (status, _) = ask(&service, "DELETE", "/api/users/bob", None).await;
        assert_eq!(status, 200);

        let after = everything(&service).await;
        let place = |event: &Value| (event["position"].clone(), event["id"].clone(), event["type"].clone());
        let places = |events: &[Value]| events.iter().map(place).collect::<Vec<_>>();
        assert_eq!(places(&after)[..before.len()], places(&before), "positions stay dense");
        let of = |user: &str| {
            let of_user = format!("user-{user}-");
            after.iter().filter(|e| e["streamId"].as_str().unwrap().contains(&of_user)).collect::<Vec<_>>()
        };
        assert!(of("bob").len() >= 5, "events, metadata, and the end");
        for event in of("bob").iter().filter(|event| event["type"] != "$streamDeleted") {
            assert_eq!(
                (&event["data"], &event["metadata"]),
                (&json!({ "$erased": true }), &json!({})),
                "{event}"
            );
        }
        let text = json!(after).to_string();
        assert!(!tells(&text), "{text}");
        assert!(
            ["kettle", "ladder", "123-45-6789", "marble", "needle"].iter().all(|word| text.contains(word))
        );

        let (_, deleted) = ask(&service, "GET", "/api/streams/browse?status=deleted", None).await;
        assert_eq!(deleted["data"]["total"], 0, "{deleted}");
        for word in WORDS {
            let by_text = json!({ "text": word });
            let in_meta = json!({ "text": word, "streamName": "$$user-bob-profile" });
            for question in [by_text, in_meta] {
                let (status, found) = ask(&service, "POST", "/api/streams/search", Some(question)).await;
                assert_eq!((status, &found["data"]["total"]), (200, &json!(0)), "{word}: {found}");
            }
        }
        for name in ["user-bob-profile", "$$user-bob-profile"] {
            for what in ["events", "details", "metadata", "subscribe?from=0"] {
                let path = format!("/api/streams/{}/{what}", name.replace('$', "%24"));
                let (status, answer) = ask(&service, "GET", &path, None).await;
                assert_eq!(status, 410, "{path}: {answer}");
            }
        }
        let mut feed = service.get("/api/streams/all/subscribe?from=0&system=true").send().await.unwrap();
        let mut text = String::new();
        while !text.contains("$streamDeleted") {
            let chunk = tokio::time::timeout(std::time::Duration::from_secs(30), feed.chunk()).await;
            text.push_str(&String::from_utf8_lossy(&chunk.unwrap().unwrap().unwrap()));
        }
        assert!(text.contains("$erased") && !tells(&text), "{text}");

        let catalogue: Vec<_> = std::fs::read_dir(&path)
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.to_str().unwrap().contains("catalogue.sqlite"))
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        let holds = |word: &str| {
            catalogue.iter().any(|bytes| bytes.windows(word.len()).any(|part| part == word.as_bytes()))
        };
        assert!(holds("needle"), "the catalogue is looked into");
        assert!(!WORDS.into_iter().any(holds), "and has forgotten");
    }
}

#[tokio::test]
async fn a_user_of_whom_there_is_nothing_is_not_erased() {
    let store = store().await;
    let service = TestService::builder().set("ENCRYPTION_KEY", KEY).store(Arc::clone(&store)).start().await;
    put(&service, "/api/users/eve/profile", json!({ "bio": "a" })).await;
    let (status, answer) = ask(&service, "DELETE", "/api/users/nobody", None).await;
    assert_eq!((status, &answer["type"]), (404, &json!("user-not-found")), "{answer}");
    assert!(!stored(&store).await.contains("nobody"), "nothing is written");
    put(&service, "/api/users/nobody/profile", json!({ "bio": "here" })).await;
    assert_eq!(ask(&service, "DELETE", "/api/users/nobody", None).await.0, 200);
}

#[tokio::test]
async fn whoever_follows_an_erased_users_stream_hears_of_it() {
    let service = TestService::builder().store(store().await).start().await;
    put(&service, "/api/users/bob/profile", json!({ "bio": "xylophone" })).await;
    let mut feed = service.get("/api/streams/user-bob-profile/subscribe?from=0").send().await.unwrap();
    let mut text = String::new();
    let mut next = async |until: &str| {
        while !text.contains(until) {
            let chunk = tokio::time::timeout(std::time::Duration::from_secs(30), feed.chunk()).await;
            let Some(chunk) = chunk.unwrap().unwrap() else { break };
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        text.clone()
    };
    next("xylophone").await;
    assert_eq!(ask(&service, "DELETE", "/api/users/bob", None).await.0, 200);
    let text = next("user-erased").await;
    assert!(text.contains("user-erased") && !text.contains("stream-deleted"), "{text}");
}
