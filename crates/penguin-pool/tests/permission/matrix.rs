//! Each operation of the API, and what each caller is answered.
//!
//! A row is an operation on a stream of the owner's, which the reader may read and the writer append to. Beside the status
//! it is held that whoever may not read the stream is never told what stands in it: not its events, not their types, not
//! its description.

use crate::world::{Kept, Who, World};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use test_support::Backend;

/// What callers are answered, in the order of [`Who::ALL`].
type Statuses = [u16; 7];

/// Whoever is known.
const KNOWN: Statuses = [401, 200, 200, 200, 200, 200, 200];
/// Whoever may read the stream.
const READERS: Statuses = [401, 403, 200, 200, 403, 200, 200];
/// Whoever may append to it.
const WRITERS: Statuses = [401, 403, 201, 403, 201, 201, 201];
/// Whoever may change and delete it.
const OWNERS: Statuses = [401, 403, 200, 403, 403, 200, 200];
/// Whoever may read a user's data: to others it is not there.
const FINDERS: Statuses = [401, 404, 200, 200, 404, 200, 200];
/// Whoever may change a user's data; one who may write it and not read it does not find it.
const KEEPERS: Statuses = [401, 403, 200, 403, 404, 200, 200];
/// Administrators.
const ADMINS: Statuses = [401, 403, 403, 403, 403, 200, 200];
/// Administrators, of an account that is not there.
const NO_ACCOUNT: Statuses = [401, 403, 403, 403, 403, 404, 404];
/// Whoever is known, of a key that is not there.
const NO_KEY: Statuses = [401, 404, 404, 404, 404, 404, 404];
/// Everybody, credentials or none.
const EVERYBODY: Statuses = [200; 7];

/// What an answer must have in it for those who may read the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    /// What stands in the stream.
    Secret,
    /// It is told when something later comes, and what stands in the stream was told before that.
    Feed,
    /// All that stands in the user's streams, for the user and administrators.
    Exported,
    /// Nothing that this test knows of.
    Anything,
}

struct Row {
    operation: &'static str,
    statuses: Statuses,
    shows: Shows,
    ask: fn(RequestBuilder, &Kept, String) -> RequestBuilder,
    path: fn(&Kept) -> String,
}

fn plain(request: RequestBuilder, _: &Kept, _: String) -> RequestBuilder {
    request
}

fn row(operation: &'static str, statuses: Statuses, path: fn(&Kept) -> String) -> Row {
    Row { operation, statuses, shows: Shows::Anything, ask: plain, path }
}

impl Row {
    /// What the owner is answered who comes by a key that is good for reading: nothing is changed by it.
    fn by_key(&self) -> u16 {
        let owners = self.statuses[2];
        let reads = self.operation.starts_with("GET ") || self.operation == "POST /api/streams/search";
        match owners {
            // What the key is good for comes before what is there.
            200..300 | 404 if !reads => 403,
            owners => owners,
        }
    }

    fn showing(self, shows: Shows) -> Self {
        Self { shows, ..self }
    }

    fn sending(self, ask: fn(RequestBuilder, &Kept, String) -> RequestBuilder) -> Self {
        Self { ask, ..self }
    }
}

/// A row of an operation whose path is the same for all.
macro_rules! fixed {
    ($method:literal, $path:literal, $statuses:expr) => {
        row(concat!($method, " ", $path), $statuses, |_| $path.to_owned())
    };
}

/// A row of an operation on a stream.
macro_rules! of_stream {
    ($method:literal, $path:literal, $statuses:expr) => {
        row(concat!($method, " ", $path), $statuses, |kept| $path.replace("{streamName}", &kept.name))
    };
}

/// A row of an operation on a user's data.
macro_rules! of_user {
    ($method:literal, $path:literal, $statuses:expr) => {
        row(concat!($method, " ", $path), $statuses, |kept| {
            let path = $path.replace("{userId}", &kept.owner).replace("{type}", "activity");
            path.replace("{loanId}", "1").replace("{offerId}", "1")
        })
    };
}

fn loan() -> Value {
    json!({ "amount": 5, "currency": "EUR", "interestRate": 4.5, "termDays": 90, "status": "active" })
}

fn offer() -> Value {
    json!({ "amount": 5, "currency": "EUR", "interestRate": 3.9, "maxTermDays": 365, "status": "open" })
}

fn matrix() -> Vec<Row> {
    vec![
        fixed!("POST", "/api/streams/create", [401, 201, 201, 201, 201, 201, 201])
            .sending(|r, _, new| r.json(&json!({ "streamName": new, "eventType": "Made", "eventData": {} }))),
        fixed!("POST", "/api/streams/append", WRITERS).sending(|r, kept, _| {
            let events = json!([{ "eventType": "Added", "eventData": {} }]);
            r.json(&json!({ "streams": [{ "streamName": kept.name, "events": events }] }))
        }),
        row("GET /api/streams/browse", KNOWN, |kept| format!("/api/streams/browse?prefix={}", kept.name))
            .showing(Shows::Secret),
        fixed!("POST", "/api/streams/search", KNOWN)
            .sending(|r, kept, _| r.json(&json!({ "text": kept.secret })))
            .showing(Shows::Secret),
        fixed!("GET", "/api/streams/statistics", KNOWN).showing(Shows::Secret),
        fixed!("GET", "/api/streams/health", KNOWN),
        row("GET /api/streams/all/events", KNOWN, |_| {
            "/api/streams/all/events?direction=backwards&limit=1000".to_owned()
        })
        .showing(Shows::Secret),
        row("GET /api/streams/all/subscribe", KNOWN, |_| "/api/streams/all/subscribe?from=0".to_owned())
            .showing(Shows::Feed),
        of_stream!("DELETE", "/api/streams/{streamName}", OWNERS),
        of_stream!("PATCH", "/api/streams/{streamName}", OWNERS)
            .sending(|r, _, _| r.json(&json!({ "data": { "changed": true } })))
            .showing(Shows::Secret),
        of_stream!("GET", "/api/streams/{streamName}/details", READERS).showing(Shows::Secret),
        of_stream!("GET", "/api/streams/{streamName}/events", READERS).showing(Shows::Secret),
        of_stream!("POST", "/api/streams/{streamName}/events", WRITERS)
            .sending(|r, _, _| r.json(&json!({ "eventType": "Added", "eventData": {} }))),
        of_stream!("POST", "/api/streams/{streamName}/events/batch", WRITERS)
            .sending(|r, _, _| r.json(&json!({ "events": [{ "eventType": "Added", "eventData": {} }] }))),
        of_stream!("GET", "/api/streams/{streamName}/metadata", READERS).showing(Shows::Secret),
        of_stream!("PUT", "/api/streams/{streamName}/metadata", OWNERS)
            .sending(|r, _, _| r.json(&json!({ "$maxCount": 100 }))),
        row("GET /api/streams/{streamName}/subscribe", READERS, |kept| {
            format!("/api/streams/{}/subscribe?from=0", kept.name)
        })
        .showing(Shows::Feed),
        fixed!("GET", "/api/users", ADMINS),
        of_user!("GET", "/api/users/{userId}", FINDERS).showing(Shows::Secret),
        of_user!("DELETE", "/api/users/{userId}", OWNERS),
        of_user!("GET", "/api/users/{userId}/export", OWNERS).showing(Shows::Exported),
        of_user!("GET", "/api/users/{userId}/loans", KNOWN).showing(Shows::Secret),
        of_user!("GET", "/api/users/{userId}/loans/{loanId}", FINDERS).showing(Shows::Secret),
        of_user!("PUT", "/api/users/{userId}/loans/{loanId}", KEEPERS)
            .sending(|r, _, _| r.json(&json!({ "data": loan() }))),
        of_user!("PATCH", "/api/users/{userId}/loans/{loanId}", KEEPERS)
            .sending(|r, _, _| r.json(&json!({ "data": { "amount": 2, "status": "active" } }))),
        of_user!("DELETE", "/api/users/{userId}/loans/{loanId}", OWNERS),
        of_user!("GET", "/api/users/{userId}/loans/{loanId}/history", FINDERS).showing(Shows::Secret),
        of_user!("GET", "/api/users/{userId}/offers", KNOWN).showing(Shows::Secret),
        of_user!("GET", "/api/users/{userId}/offers/{offerId}", FINDERS).showing(Shows::Secret),
        of_user!("PUT", "/api/users/{userId}/offers/{offerId}", KEEPERS)
            .sending(|r, _, _| r.json(&json!({ "data": offer() }))),
        of_user!("PATCH", "/api/users/{userId}/offers/{offerId}", KEEPERS)
            .sending(|r, _, _| r.json(&json!({ "data": offer() }))),
        of_user!("DELETE", "/api/users/{userId}/offers/{offerId}", OWNERS),
        of_user!("GET", "/api/users/{userId}/offers/{offerId}/history", FINDERS).showing(Shows::Secret),
        of_user!("GET", "/api/users/{userId}/{type}", FINDERS).showing(Shows::Secret),
        of_user!("PUT", "/api/users/{userId}/{type}", KEEPERS)
            .sending(|r, _, _| r.json(&json!({ "data": { "kept": true } }))),
        of_user!("PATCH", "/api/users/{userId}/{type}", KEEPERS)
            .sending(|r, _, _| r.json(&json!({ "data": { "kept": true } }))),
        of_user!("GET", "/api/users/{userId}/{type}/history", FINDERS).showing(Shows::Secret),
        fixed!("GET", "/health", EVERYBODY),
        fixed!("GET", "/health/live", EVERYBODY),
        fixed!("GET", "/health/ready", EVERYBODY),
        fixed!("GET", "/health/kurrentdb", EVERYBODY),
        fixed!("GET", "/health/comprehensive", EVERYBODY),
        fixed!("GET", "/api/status", KNOWN),
        fixed!("POST", "/api/uptime/create-streams", ADMINS),
        fixed!("GET", "/api/uptime/test-kurrentdb", KNOWN),
        fixed!("POST", "/api/uptime/check", ADMINS),
        fixed!("GET", "/api/uptime/summary", KNOWN),
        row("GET /api/uptime/service/{serviceName}", KNOWN, |_| "/api/uptime/service/http".to_owned()),
        row("GET /api/uptime/timeline/{serviceName}", KNOWN, |_| "/api/uptime/timeline/http".to_owned()),
        fixed!("GET", "/api/uptime/status", KNOWN),
        fixed!("GET", "/api/uptime/stats", KNOWN),
        fixed!("GET", "/api/uptime/incidents", KNOWN),
        row("GET /api/uptime/badge/{file}", KNOWN, |_| "/api/uptime/badge/http.svg".to_owned()),
        row("GET /kurrentdb/{path}", READERS, |kept| format!("/kurrentdb/streams/{}/0", kept.name))
            .sending(|r, _, _| r.header("accept", "application/json"))
            .showing(Shows::Secret),
        row("POST /kurrentdb/{path}", [401, 405, 405, 405, 405, 405, 405], |kept| {
            format!("/kurrentdb/streams/{}", kept.name)
        }),
        // It takes a password and nothing else: see identity's own tests.
        fixed!("POST", "/api/auth/token", [401; 7]),
        fixed!("GET", "/api/auth/me", KNOWN),
        // The owner has a token of another issuer, and no account here; nor has the service itself.
        fixed!("PUT", "/api/auth/password", [401, 401, 404, 401, 401, 401, 404]).sending(|r, _, _| {
            r.json(&json!({ "currentPassword": "it was this", "newPassword": "it will be this" }))
        }),
        fixed!("GET", "/api/auth/keys", KNOWN),
        fixed!("POST", "/api/auth/keys", [401, 403, 403, 403, 403, 201, 404])
            .sending(|r, _, _| r.json(&json!({}))),
        row("DELETE /api/auth/keys/{keyId}", NO_KEY, |_| "/api/auth/keys/nothing".to_owned()),
        fixed!("GET", "/api/auth/accounts", ADMINS),
        fixed!("POST", "/api/auth/accounts", [401, 403, 403, 403, 403, 201, 201])
            .sending(|r, _, new| r.json(&json!({ "loginName": new }))),
        row("PATCH /api/auth/accounts/{loginName}", NO_ACCOUNT, |_| "/api/auth/accounts/nobody".to_owned())
            .sending(|r, _, _| r.json(&json!({ "disabled": true }))),
        row("DELETE /api/auth/accounts/{loginName}", NO_ACCOUNT, |_| "/api/auth/accounts/nobody".to_owned()),
        fixed!("GET", "/metrics", ADMINS),
        fixed!("GET", "/api/audit", ADMINS),
    ]
}

/// The operations that the documents name.
fn operations(document: &Value) -> BTreeSet<String> {
    let methods = |(path, item): (&String, &Value)| {
        let path = path.clone();
        let methods: Vec<_> = item.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect();
        methods.into_iter().map(move |method| format!("{method} {path}"))
    };
    document["paths"].as_object().unwrap().iter().flat_map(methods).collect()
}

#[tokio::test]
async fn every_operation_has_a_row() {
    let world = World::start().await;
    let documented = operations(&world.documents().await);
    let rows: BTreeSet<_> = matrix().iter().map(|row| row.operation.to_owned()).collect();
    assert_eq!(rows, documented, "what is on one side alone needs a row, or has one too many");
}

/// What is answered; of a feed, what comes up to the fence.
async fn answer(request: RequestBuilder, fence: Option<&str>) -> (u16, String) {
    let mut response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let Some(fence) = fence.filter(|_| status == 200) else {
        return (status, response.text().await.unwrap());
    };
    let mut text = String::new();
    while !text.contains(fence) {
        let chunk = response.chunk().await.unwrap().expect("a feed does not end");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    (status, text)
}

/// What one caller is answered wrongly; nothing if all is as it should be.
async fn faults(world: &World, row: &Row, who: Who, expected: u16) -> Vec<String> {
    let kept = world.keep().await;
    let fence = match (row.shows == Shows::Feed, row.operation.contains("/all/")) {
        (false, _) => None,
        (true, true) => Some(world.fence().await),
        (true, false) => Some(kept.secret.clone()),
    };
    let method = row.operation.split(' ').next().unwrap();
    let mut request = world.request(who, &kept.owner, method, &(row.path)(&kept));
    if who == Who::ReadKey {
        let key = world.authorization(who, &kept.owner, "ApiKey").await.unwrap();
        request = request.header("authorization", key);
    }
    let (status, text) = answer((row.ask)(request, &kept, world.name()), fence.as_deref()).await;
    let mut faults = Vec::new();
    if status != expected {
        faults.push(format!("{who:?}: {} is {status} and not {expected}: {text}", row.operation));
    }
    // Of any stream at all: those of the other rows are there too.
    if !who.reads() && text.contains("Hush") {
        faults.push(format!("{who:?}: {} tells: {text}", row.operation));
    }
    let is_told = match row.shows {
        Shows::Anything => false,
        Shows::Exported => expected == 200,
        Shows::Secret | Shows::Feed => expected == 200 && who.reads(),
    };
    if is_told && !text.contains(&kept.secret) {
        faults.push(format!("{who:?}: {} does not tell {}: {text}", row.operation, kept.secret));
    }
    faults
}

#[tokio::test]
async fn each_caller_is_answered_as_the_matrix_says() {
    hold_the_matrix(Backend::Embedded).await;
}

#[tokio::test]
async fn each_caller_is_answered_the_same_on_a_kurrentdb() {
    hold_the_matrix(Backend::Kurrentdb).await;
}

async fn hold_the_matrix(backend: Backend) {
    let world = World::start_on(backend).await;
    let mut found = Vec::new();
    for row in matrix() {
        for (who, expected) in Who::ALL.into_iter().zip(row.statuses) {
            found.extend(faults(&world, &row, who, expected).await);
        }
        let by_key = if row.statuses == EVERYBODY { 200 } else { row.by_key() };
        found.extend(faults(&world, &row, Who::ReadKey, by_key).await);
    }
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));
}

/// An answer without what is different each time.
fn like(status: u16, text: &str, names: &[&str]) -> (u16, String) {
    let mut body: Value = serde_json::from_str(text).unwrap();
    for varying in ["timestamp", "requestId"] {
        body.as_object_mut().unwrap().remove(varying);
    }
    let text = names.iter().fold(body.to_string(), |text, name| text.replace(name, "…"));
    (status, text)
}

#[tokio::test]
async fn a_users_stream_that_may_not_be_read_looks_as_one_that_is_not_there() {
    for backend in [Backend::Embedded, Backend::Kurrentdb] {
        look_the_same(backend).await;
    }
}

async fn look_the_same(backend: Backend) {
    let world = World::start_on(backend).await;
    let kept = world.keep().await;
    let there = format!("user-{}-loans-1", kept.owner);
    let missing = format!("user-{}-loans-2", kept.owner);
    let event = json!({ "eventType": "Added", "eventData": {} });
    for (method, end, body) in [
        ("GET", "/events", None),
        ("GET", "/details", None),
        ("GET", "/metadata", None),
        ("GET", "/subscribe?from=0", None),
        ("POST", "/events", Some(event.clone())),
        ("POST", "/events/batch", Some(json!({ "events": [event] }))),
        ("PATCH", "", Some(json!({ "tags": [] }))),
        ("PUT", "/metadata", Some(json!({ "$maxCount": 1 }))),
        ("DELETE", "", None),
        ("DELETE", "?mode=tombstone", None),
    ] {
        let mut answers = Vec::new();
        for name in [&there, &missing] {
            let request =
                world.request(Who::Other, &kept.owner, method, &format!("/api/streams/{name}{end}"));
            let request = body.iter().fold(request, |request, body| request.json(body));
            let (status, text) = answer(request, None).await;
            assert!(status == 403 || status == 404, "{method} {end}: {status} {text}");
            answers.push(like(status, &text, &[&there, &missing]));
        }
        assert_eq!(answers[0], answers[1], "{method} {end}");
    }
    let create = |name: &str| json!({ "streamName": name, "eventType": "Made", "eventData": {} });
    let mut answers = Vec::new();
    for name in [&there, &missing] {
        let request =
            world.request(Who::Other, &kept.owner, "POST", "/api/streams/create").json(&create(name));
        let (status, text) = answer(request, None).await;
        answers.push(like(status, &text, &[&there, &missing]));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].0, 403);
}
