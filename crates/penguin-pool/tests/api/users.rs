//! Users' data: what is set, read, changed, listed and deleted.

use crate::support::{Answer, Service};
use serde_json::{Value, json};
use std::time::Duration;

const PROFILE: &str = "/api/users/bob/profile";

/// The data of an answer, whatever the time.
#[track_caller]
fn data(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["data"].take()
}

async fn loan(service: &Service, id: &str, amount: u64, status: &str) -> Value {
    let body = json!({ "data": { "amount": amount, "currency": "EUR", "status": status } });
    data(&service.put(&format!("/api/users/bob/loans/{id}"), body).await)
}

#[tokio::test]
async fn what_is_set_is_read_and_its_stream_is_as_the_contract_says() {
    let service = Service::start_on(super::STORE).await;
    service.get(PROFILE).await.failure(404, "stream-not-found");
    let set = service.put(PROFILE, json!({ "data": { "displayName": "Bob", "free": { "x": 1 } } })).await;
    let written = set.data(200);
    assert_eq!(
        written,
        json!({
            "userId": "bob", "type": "profile", "data": { "displayName": "Bob", "free": { "x": 1 } },
            "isPublic": false, "revision": 1, "updatedAt": "2024-01-15T10:30:00.000Z", "eventId": written["eventId"],
        })
    );
    assert_eq!(set.headers["etag"], "\"1\"");
    let read = service.get(PROFILE).await;
    assert_eq!((read.data(200), &read.headers["etag"]), (written.clone(), &set.headers["etag"]));
    assert_eq!(read.headers["cache-control"], "private, no-cache");

    let stream = service.get("/api/streams/user-bob-profile/details").await.data(200);
    let described = &stream["stream"];
    assert_eq!(described["metadata"]["tags"], json!(["user", "profile", "private"]));
    assert_eq!(described["metadata"]["owner"], "bob");
    assert_eq!(described["permissions"], json!({ "read": ["bob"], "write": ["bob"], "admin": ["bob"] }));
    let created = &stream["firstEvent"];
    assert_eq!(created["type"], "StreamCreated");
    assert_eq!(
        created["data"],
        json!({
            "streamName": "user-bob-profile", "description": "User bob: profile", "tags": ["user", "profile", "private"],
            "owner": "bob", "createdAt": "2024-01-15T10:30:00.000Z", "data": {},
        })
    );
    let updated = &stream["lastEvent"];
    assert_eq!((&updated["type"], &updated["id"]), (&json!("UserDataUpdated"), &written["eventId"]));
    assert_eq!(
        updated["data"],
        json!({
            "userId": "bob", "type": "profile", "category": "", "data": { "displayName": "Bob", "free": { "x": 1 } },
            "isPublic": false, "timestamp": "2024-01-15T10:30:00.000Z", "eventId": written["eventId"],
        })
    );
    assert_eq!(updated["metadata"]["source"], "penguin-pool/users");
}

#[tokio::test]
async fn order_white_space_and_every_digit_survive() {
    let service = Service::start_on(super::STORE).await;
    let text =
        r#"{ "z": 0.10000000000000000555, "a": 123456789012345678901234567890, "m":{"b":1e400,"a":[ ]} }"#;
    let body = format!(r#"{{"data":{text}}}"#);
    assert_eq!(service.send_text("PUT", PROFILE, body).await.status, 200);
    for path in
        [PROFILE, "/api/users/bob/profile/history", "/api/users/bob", "/api/streams/user-bob-profile/events"]
    {
        let answer = service.get(path).await;
        assert!(answer.text.contains(text), "{path}: {}", answer.text);
    }
    let patched = service.patch(PROFILE, json!({ "data": { "new": true, "m": { "a": null } } })).await;
    let merged =
        r#"{"z":0.10000000000000000555,"a":123456789012345678901234567890,"m":{"b":1e400},"new":true}"#;
    assert!(patched.text.contains(merged), "{}", patched.text);
}

#[tokio::test]
async fn categories_are_kept_apart() {
    let service = Service::start_on(super::STORE).await;
    let set = |category: &'static str, theme: &'static str| {
        let path = format!("/api/users/bob/preferences{category}");
        let service = &service;
        async move { data(&service.put(&path, json!({ "data": { "theme": theme } })).await) }
    };
    set("", "light").await;
    let mobile = set("?category=mobile", "dark").await;
    assert_eq!(mobile["category"], "mobile");
    let read = async |query: &str| {
        data(&service.get(&format!("/api/users/bob/preferences{query}")).await)["data"]["theme"].take()
    };
    assert_eq!((read("").await, read("?category=mobile").await), (json!("light"), json!("dark")));
    let details = service.get("/api/streams/user-bob-preferences-mobile/details").await.data(200);
    assert_eq!(details["stream"]["metadata"]["tags"], json!(["user", "preferences", "mobile", "private"]));
    let overview = service.get("/api/users/bob").await.data(200);
    assert_eq!(overview["preferences"]["total"], 2);
    assert_eq!(overview["preferences"]["items"][1]["category"], "mobile");
    assert_eq!(overview["loans"], json!({ "items": [], "total": 0, "hasMore": false }));
}

#[tokio::test]
async fn what_is_made_public_and_private_again_changes_the_streams_permissions() {
    let service = Service::start_on(super::STORE).await;
    let seen = async || {
        let stream = service.get("/api/streams/user-bob-profile/details").await.data(200)["stream"].take();
        (stream["permissions"]["read"].clone(), stream["metadata"]["tags"][2].clone())
    };
    let body = |public| json!({ "data": {}, "isPublic": public });
    data(&service.put(PROFILE, body(true)).await);
    assert_eq!(seen().await, (json!(["*"]), json!("public")));
    // What is not said stays as it was.
    assert_eq!(data(&service.put(PROFILE, json!({ "data": { "bio": "x" } })).await)["isPublic"], true);
    assert_eq!(
        data(&service.patch(PROFILE, json!({ "isPublic": false })).await)["data"],
        json!({ "bio": "x" })
    );
    assert_eq!(seen().await, (json!(["bob"]), json!("private")));
    data(&service.put(PROFILE, body(false)).await);
    let metadata = service.get("/api/streams/user-bob-profile/metadata").await.data(200);
    assert_eq!((&metadata["version"], &metadata["$acl"]["$w"]), (&json!(2), &json!(["bob"])));
}

#[tokio::test]
async fn a_writer_who_saw_something_else_is_told_so() {
    let service = Service::start_on(super::STORE).await;
    let put = |header: &'static str, value: &'static str| {
        let request = service.request("PUT", PROFILE).header(header, value).json(&json!({ "data": {} }));
        service.send(request)
    };
    put("if-match", "*").await.failure(409, "wrong-expected-revision");
    assert_eq!(put("if-none-match", "*").await.status, 200);
    let refused = put("if-none-match", "*").await.failure(409, "wrong-expected-revision");
    assert_eq!((&refused["expectedRevision"], &refused["actualRevision"]), (&json!("no-stream"), &json!(1)));
    assert_eq!(put("if-match", "\"1\"").await.headers["etag"], "\"2\"");
    let refused = put("if-match", "\"1\"").await.failure(409, "wrong-expected-revision");
    assert_eq!((&refused["expectedRevision"], &refused["actualRevision"]), (&json!(1), &json!(2)));
    assert_eq!(put("if-match", "W/\"9\", \"2\"").await.status, 200);
    for (header, value) in [("if-match", "2"), ("if-match", "\"x\""), ("if-none-match", "\"2\"")] {
        put(header, value).await.failure(400, "validation-failed");
    }

    let get =
        |value: &'static str| service.send(service.request("GET", PROFILE).header("if-none-match", value));
    let held = get("\"3\"").await;
    assert_eq!(
        (held.status, held.text.as_str(), &held.headers["etag"]),
        (304, "", &"\"3\"".parse().unwrap())
    );
    assert_eq!(get("\"2\"").await.status, 200);
    assert_eq!(get("\"2\", \"3\"").await.status, 304);
}

#[tokio::test]
async fn patches_at_once_are_all_taken() {
    let service = Service::start_on(super::STORE).await;
    data(&service.put(PROFILE, json!({ "data": {} })).await);
    let patch = |key: &'static str| service.patch(PROFILE, json!({ "data": { key: 1 } }));
    let answers = tokio::join!(patch("a"), patch("b"), patch("c"), patch("d"));
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let is = data(&service.get(PROFILE).await)["data"].take();
    assert_eq!(is.as_object().unwrap().len(), 4, "{is}");
}

#[tokio::test]
async fn histories_are_read_by_pages() {
    let service = Service::start_on(super::STORE).await;
    for n in 0..5 {
        data(&service.put(PROFILE, json!({ "data": { "n": n } })).await);
    }
    let page = async |query: &str| service.get(&format!("{PROFILE}/history{query}")).await.data(200);
    let numbers = |page: &Value| -> Vec<u64> {
        page["entries"].as_array().unwrap().iter().map(|e| e["data"]["n"].as_u64().unwrap()).collect()
    };
    let newest = page("?limit=2").await;
    assert_eq!(
        (numbers(&newest), &newest["hasMore"], &newest["nextRevision"]),
        (vec![4, 3], &json!(true), &json!(3))
    );
    let rest = page("?limit=10&from=3").await;
    assert_eq!((numbers(&rest), &rest["nextRevision"]), (vec![2, 1, 0], &Value::Null));
    assert_eq!(numbers(&page("?direction=forwards&limit=3").await), [0, 1]);
    service.get("/api/users/bob/activity/history").await.failure(404, "stream-not-found");
}

#[tokio::test]
async fn the_state_is_found_behind_events_that_others_wrote() {
    let service = Service::start_on(super::STORE).await;
    data(&service.put(PROFILE, json!({ "data": { "bio": "x" } })).await);
    for n in 0..3 {
        service.append("user-bob-profile", n).await;
    }
    let odd = json!({ "eventType": "UserDataUpdated", "eventData": { "data": 7 } });
    service.post("/api/streams/user-bob-profile/events", odd).await.data(201);
    let found = data(&service.get(PROFILE).await);
    assert_eq!((&found["data"], &found["revision"]), (&json!({ "bio": "x" }), &json!(1)));
    let request = service.request("PUT", PROFILE).header("if-match", "\"1\"").json(&json!({ "data": {} }));
    assert_eq!(data(&service.send(request).await)["revision"], 6);
}

#[tokio::test]
async fn an_archived_stream_is_not_written() {
    let service = Service::start_on(super::STORE).await;
    data(&service.put(PROFILE, json!({ "data": {} })).await);
    service.patch("/api/streams/user-bob-profile", json!({ "status": "archived" })).await.data(200);
    service.put(PROFILE, json!({ "data": {} })).await.failure(409, "stream-archived");
    service.patch(PROFILE, json!({ "data": {} })).await.failure(409, "stream-archived");
}

#[tokio::test]
async fn loans_are_listed_by_pages_and_filters() {
    let service = Service::start_on(super::STORE).await;
    for (id, amount, status) in
        [("1", 10, "active"), ("2", 20, "repaid"), ("3", 30, "active"), ("4-x.y_z", 40, "active")]
    {
        loan(&service, id, amount, status).await;
    }
    // Of nobody but Bob.
    let body = json!({ "data": { "amount": 1, "currency": "EUR", "status": "active" } });
    data(&service.put("/api/users/bob-2/loans/1", body.clone()).await);
    data(&service.put("/api/users/bobby/loans/1", body.clone()).await);
    data(
        &service
            .put(
                "/api/users/bob/offers/1",
                json!({ "data": { "amount": 1, "currency": "EUR", "status": "open" } }),
            )
            .await,
    );

    let list = async |query: &str| service.get(&format!("/api/users/bob/loans{query}")).await.data(200);
    let ids = |list: &Value| -> Vec<String> {
        list["items"].as_array().unwrap().iter().map(|i| i["category"].as_str().unwrap().to_owned()).collect()
    };
    let all = list("").await;
    assert_eq!(
        (ids(&all), &all["total"], &all["hasMore"]),
        (["1", "2", "3", "4-x.y_z"].map(str::to_owned).into(), &json!(4), &json!(false))
    );
    let first = list("?limit=3").await;
    assert_eq!((ids(&first).len(), &first["total"], &first["hasMore"]), (3, &json!(4), &json!(true)));
    let rest = list(&format!("?limit=3&cursor={}", first["nextCursor"].as_str().unwrap())).await;
    assert_eq!((ids(&rest), rest.get("nextCursor")), (vec!["4-x.y_z".to_owned()], None));

    for (query, found) in [
        ("status=active", vec!["1", "3", "4-x.y_z"]),
        ("status=repaid&currency=EUR", vec!["2"]),
        ("currency=USD", vec![]),
        ("minAmount=20&maxAmount=30", vec!["2", "3"]),
        ("status=active&minAmount=10.5", vec!["3", "4-x.y_z"]),
    ] {
        assert_eq!(ids(&list(&format!("?{query}")).await), found, "{query}");
        // Page by page it is the same, and a total that would be wrong is not told.
        let (mut by_pages, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = list(&format!("?{query}&limit=1&cursor={cursor}")).await;
            assert_eq!(page.get("total"), None);
            by_pages.extend(ids(&page));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(by_pages, found, "{query}");
    }
    for bad in ["status=lent", "currency=euro", "minAmount=x", "limit=0", "cursor=!", "no=1"] {
        service.get(&format!("/api/users/bob/loans?{bad}")).await.failure(400, "validation-failed");
    }
}

#[tokio::test]
async fn a_loan_that_was_deleted_is_gone_and_its_id_can_be_used_again() {
    let service = Service::start_on(super::STORE).await;
    let path = "/api/users/bob/loans/42";
    service.delete(path).await.failure(404, "stream-not-found");
    loan(&service, "42", 1, "active").await;
    let request = service.request("DELETE", path).header("if-match", "\"0\"");
    service.send(request).await.failure(409, "wrong-expected-revision");
    assert_eq!(service.delete(path).await.data(200), json!({ "deleted": true }));
    service.get(path).await.failure(404, "stream-not-found");
    service.delete(path).await.failure(404, "stream-not-found");
    service.get("/api/users/bob").await.failure(404, "user-not-found");
    assert_eq!(service.get("/api/users/bob/loans").await.data(200)["total"], 0);

    let again = loan(&service, "42", 2, "requested").await;
    assert_eq!(again["data"]["amount"], 2);
    let history = service.get(&format!("{path}/history")).await.data(200);
    assert_eq!(history["entries"].as_array().unwrap().len(), 1, "{history}");
    let patched =
        data(&service.patch(path, json!({ "data": { "status": "active", "purpose": "boat" } })).await);
    assert_eq!(
        patched["data"],
        json!({ "amount": 2, "currency": "EUR", "status": "active", "purpose": "boat" })
    );
}

#[tokio::test]
async fn data_that_breaks_the_rules_of_its_type_is_refused_by_path() {
    let service = Service::start_on(super::STORE).await;
    for (path, body, at) in [
        (PROFILE, json!({ "data": { "email": "bob" } }), "data.email"),
        (PROFILE, json!({ "data": { "displayName": 7 } }), "data.displayName"),
        (PROFILE, json!({ "data": [] }), "data"),
        (PROFILE, json!({}), "data"),
        (PROFILE, json!({ "data": {}, "ispublic": true }), "ispublic"),
        (
            "/api/users/bob/preferences",
            json!({ "data": { "notifications": { "email": "yes" } } }),
            "data.notifications.email",
        ),
        (
            "/api/users/bob/loans/1",
            json!({ "data": { "amount": -1, "currency": "EUR", "status": "active" } }),
            "data.amount",
        ),
        (
            "/api/users/bob/loans/1",
            json!({ "data": { "amount": 1, "currency": "EUR", "status": "lent" } }),
            "data.status",
        ),
        (
            "/api/users/bob/offers/1",
            json!({ "data": { "currency": "EUR", "status": "open" } }),
            "data.amount",
        ),
    ] {
        let refused = service.put(path, body.clone()).await.failure(400, "validation-failed");
        assert_eq!(refused["details"][0]["path"], at, "{body}: {refused}");
    }
    let large = json!({ "data": { "free": "x".repeat(1 << 20) } });
    service.put(PROFILE, large).await.failure(413, "event-too-large");
    service.get(PROFILE).await.failure(404, "stream-not-found");

    loan(&service, "1", 1, "active").await;
    let refused = service.patch("/api/users/bob/loans/1", json!({ "data": { "amount": null } })).await;
    assert_eq!(refused.failure(400, "validation-failed")["details"][0]["path"], "data.amount");
    service.patch(PROFILE, json!({ "data": {} })).await.failure(404, "stream-not-found");
}

#[tokio::test]
async fn what_is_no_user_no_type_and_no_category_is_refused() {
    let service = Service::start_on(super::STORE).await;
    let unknown = service.get("/api/users/bob/secrets").await.failure(400, "validation-failed");
    assert_eq!(unknown["details"][0]["path"], "type");
    let message = unknown["message"].as_str().unwrap();
    assert!(message.ends_with("profile, preferences, activity, loans, offers"), "{message}");
    for path in [
        "/api/users/a-loans-b/profile",
        "/api/users/profile/profile",
        "/api/users/a%20b/profile",
        "/api/users/a%2Fb/profile",
        &format!("/api/users/{}/profile", "x".repeat(65)),
        "/api/users/bob/profile?category=",
        "/api/users/bob/profile?category=a%2Fb",
        "/api/users/bob/loans/a%20b",
    ] {
        service.get(path).await.failure(400, "validation-failed");
    }
    service.put("/api/users/bob/loans", json!({ "data": {} })).await.failure(405, "method-not-allowed");
    // The longest name there can be is one that a stream can have.
    let longest = format!("/api/users/{}/preferences?category={}", "u".repeat(64), "c".repeat(100));
    assert_eq!(service.put(&longest, json!({ "data": {} })).await.status, 200);
}

#[tokio::test]
async fn users_are_listed_by_id() {
    let service = Service::start_on(super::STORE).await;
    for user in ["bob", "al", "alice", "carol-anne"] {
        let path = format!("/api/users/{user}/profile");
        data(&service.put(&path, json!({ "data": {} })).await);
    }
    loan(&service, "1", 1, "active").await;
    let list = async |query: &str| service.get(&format!("/api/users{query}")).await.data(200);
    assert_eq!(
        list("").await,
        json!({
            "users": [
                { "userId": "al", "streams": 1 }, { "userId": "alice", "streams": 1 },
                { "userId": "bob", "streams": 2 }, { "userId": "carol-anne", "streams": 1 },
            ],
            "total": 4, "hasMore": false,
        })
    );
    let first = list("?limit=2").await;
    assert_eq!(
        (&first["nextCursor"], &first["total"], &first["hasMore"]),
        (&json!("alice"), &json!(4), &json!(true))
    );
    assert_eq!(list("?limit=2&cursor=alice").await["users"][0]["userId"], "bob");
    let prefixed = list("?prefix=al").await;
    assert_eq!((&prefixed["total"], prefixed["users"].as_array().unwrap().len()), (&json!(2), 2));
}

#[tokio::test]
async fn times_are_the_clocks() {
    let service = Service::start_on(super::STORE).await;
    data(&service.put(PROFILE, json!({ "data": {} })).await);
    service.clock.advance(Duration::from_secs(60));
    let later = data(&service.put(PROFILE, json!({ "data": {} })).await);
    assert_eq!(later["updatedAt"], "2024-01-15T10:31:00.000Z");
}
