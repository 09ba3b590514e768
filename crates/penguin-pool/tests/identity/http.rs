//! HTTP: what credentials are good for, and how they are refused.

use crate::bed::{Bed, PASSWORD, ask, read, refused};
use penguin_pool::security::{Refused, accounts::Scope};
use serde_json::json;
use std::time::Duration;
use test_support::TestService;

#[tokio::test]
async fn who_says_nothing_is_asked_and_told_how() {
    let bed = Bed::start_on(super::BACKEND).await;
    for path in [
        "/api/streams/browse",
        "/api/streams/all/subscribe",
        "/api/status",
        "/metrics",
        "/kurrentdb/info",
        "/nothing",
    ] {
        let response = bed.service.get(path).send().await.unwrap();
        let challenges: Vec<_> = response
            .headers()
            .get_all("www-authenticate")
            .iter()
            .map(|v| v.to_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            challenges,
            [
                r#"Bearer realm="penguin-pool""#,
                r#"Basic realm="penguin-pool", charset="UTF-8""#,
                r#"ApiKey realm="penguin-pool""#
            ],
            "{path}"
        );
        assert!(response.headers().contains_key("x-request-id"));
        refused(401, "authentication-failed", &read(response).await);
    }
}

#[tokio::test]
async fn health_and_documents_ask_nobody_and_look_at_no_credentials() {
    let bed = Bed::start_on(super::BACKEND).await;
    for path in ["/health", "/health/live", "/health/ready", "/health/kurrentdb", "/api/docs-json"] {
        let plain = bed.service.get(path).send().await.unwrap();
        assert_eq!(plain.status(), 200, "{path}");
        let wrong = bed.service.get(path).basic_auth("ada", Some("wrong")).send().await.unwrap();
        assert_eq!(wrong.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_password_a_token_and_a_key_are_good() {
    let bed = Bed::start_on(super::BACKEND).await;
    assert_eq!(ask(bed.browse().basic_auth("bob", Some(PASSWORD))).await.0, 200);
    let token = bed.token("bob").await;
    assert_eq!(ask(bed.browse().bearer_auth(&token)).await.0, 200);
    let (_, key) = bed.key("bob", Scope::Read, None).await;
    assert_eq!(ask(bed.browse().header("x-api-key", &key)).await.0, 200);
    assert_eq!(ask(bed.browse().header("authorization", format!("ApiKey {key}"))).await.0, 200);
}

#[tokio::test]
async fn bad_credentials_are_never_nobodys_and_say_no_more_than_that() {
    let bed = Bed::start_on(super::BACKEND).await;
    bed.service.service.identity().accounts().set_enabled("bob", false, "ada").await.unwrap();
    let wrong = ask(bed.browse().basic_auth("ada", Some("wrong"))).await;
    let unknown = ask(bed.browse().basic_auth("eve", Some(PASSWORD))).await;
    let disabled = ask(bed.browse().basic_auth("bob", Some(PASSWORD))).await;
    let message = refused(401, "authentication-failed", &wrong);
    assert_eq!(message, refused(401, "authentication-failed", &unknown));
    assert_eq!(message, refused(401, "authentication-failed", &disabled));
    let (id, key) = bed.key("ada", Scope::Read, None).await;
    for request in [
        bed.browse().header("authorization", "Digest x"),
        bed.browse().header("authorization", "Bearer"),
        bed.browse().bearer_auth("a.b.c"),
        bed.browse().header("x-api-key", format!("pp_{id}_wrong")),
        bed.browse().header("x-api-key", key.to_uppercase()),
        bed.browse().basic_auth("ada", Some(PASSWORD)).header("x-api-key", &key),
        // A feed and a handshake are refused as anything else is.
        bed.service.get("/api/streams/all/subscribe").bearer_auth("a.b.c"),
        bed.service.get("/socket.io/?EIO=4&transport=polling").bearer_auth("a.b.c"),
        bed.service.get("/ws/health").bearer_auth("a.b.c"),
    ] {
        refused(401, "authentication-failed", &ask(request).await);
    }
}

#[tokio::test]
async fn keys_end_when_they_are_revoked_expired_or_their_account_is_gone() {
    let bed = Bed::start_on(super::BACKEND).await;
    let accounts = bed.service.service.identity().accounts();
    let hour = Duration::from_secs(3600);
    let (revoked, first) = bed.key("bob", Scope::Read, None).await;
    let (_, second) = bed.key("bob", Scope::Read, Some(hour)).await;
    let (_, third) = bed.key("bob", Scope::Read, None).await;
    let good = async |key: &str| ask(bed.browse().header("x-api-key", key)).await.0 == 200;
    assert!(good(&first).await && good(&second).await && good(&third).await);
    accounts.revoke_key(&revoked, "ada").await.unwrap();
    assert!(!good(&first).await);
    bed.clock.advance(hour - Duration::from_millis(1));
    assert!(good(&second).await);
    bed.clock.advance(Duration::from_millis(1));
    assert!(!good(&second).await && good(&third).await);
    accounts.set_enabled("bob", false, "ada").await.unwrap();
    assert!(!good(&third).await);
    accounts.set_enabled("bob", true, "ada").await.unwrap();
    assert!(good(&third).await);
    accounts.delete("bob", "ada").await.unwrap();
    bed.add("bob", &[]).await;
    assert!(!good(&third).await, "the new bob is not the old one");
}

#[tokio::test]
async fn who_guesses_is_locked_out_and_who_knows_is_not() {
    let bed = Bed::start_on(super::BACKEND).await;
    assert_eq!(ask(bed.browse().basic_auth("ada", Some(PASSWORD))).await.0, 200);
    for _ in 0..5 {
        refused(401, "authentication-failed", &ask(bed.browse().basic_auth("bob", Some("wrong"))).await);
    }
    let locked = bed.browse().basic_auth("bob", Some(PASSWORD)).send().await.unwrap();
    assert_eq!(locked.headers()["retry-after"], "1");
    refused(429, "rate-limited", &read(locked).await);
    refused(
        429,
        "rate-limited",
        &ask(bed.service.post("/api/auth/token").basic_auth("bob", Some(PASSWORD))).await,
    );
    assert_eq!(ask(bed.browse().basic_auth("ada", Some(PASSWORD))).await.0, 200);
    bed.clock.advance(Duration::from_secs(1));
    assert_eq!(ask(bed.browse().basic_auth("bob", Some(PASSWORD))).await.0, 200);
}

#[tokio::test]
async fn many_calls_at_once_with_the_right_password_are_all_let_in() {
    let bed = Bed::start_on(super::BACKEND).await;
    let calls = (0..12).map(|_| ask(bed.browse().basic_auth("bob", Some(PASSWORD))));
    for (status, body) in futures::future::join_all(calls).await {
        assert_eq!(status, 200, "{body}");
    }
}

#[tokio::test]
async fn a_guess_from_elsewhere_is_held_to_the_limits_also_when_it_is_right() {
    let bed = Bed::start_on(super::BACKEND).await;
    let identity = bed.service.service.identity();
    let log_in = async |password: &str, last: u8| {
        identity.log_in("bob", &password.into(), Some([203, 0, 113, last].into())).await
    };
    log_in(PASSWORD, 1).await.unwrap();
    for _ in 0..5 {
        log_in("wrong", 2).await.unwrap_err();
    }
    assert!(matches!(log_in(PASSWORD, 2).await, Err(Refused::Locked(_))));
    log_in(PASSWORD, 1).await.unwrap();
}

#[tokio::test]
async fn a_password_that_was_right_is_wrong_once_it_is_another() {
    let bed = Bed::start_on(super::BACKEND).await;
    let identity = bed.service.service.identity();
    let token = bed.token("bob").await;
    assert_eq!(ask(bed.browse().basic_auth("bob", Some(PASSWORD))).await.0, 200);
    let hash = identity.passwords().hash("battery staple".into()).await.unwrap();
    identity.accounts().set_password("bob", hash, "ada").await.unwrap();
    refused(401, "authentication-failed", &ask(bed.browse().basic_auth("bob", Some(PASSWORD))).await);
    refused(401, "authentication-failed", &ask(bed.browse().bearer_auth(&token)).await);
    assert_eq!(ask(bed.browse().basic_auth("bob", Some("battery staple"))).await.0, 200);
}

#[tokio::test]
async fn accounts_outlive_the_service() {
    let store = Bed::store(super::BACKEND).await;
    let bed = Bed::on(&[], Some(store.clone())).await;
    bed.add("ada", &["admin"]).await;
    let (_, key) = bed.key("ada", Scope::Admin, None).await;
    let other = Bed::on(&[], Some(store)).await;
    assert_eq!(ask(other.browse().basic_auth("ada", Some(PASSWORD))).await.0, 200);
    assert_eq!(ask(other.browse().header("x-api-key", key)).await.0, 200);
    assert!(other.service.service.identity().first_admin().await.unwrap().is_none());
}

#[tokio::test]
async fn the_token_route_takes_a_password_and_nothing_else() {
    let bed = Bed::start_on(super::BACKEND).await;
    let route = || bed.service.post("/api/auth/token");
    let response = route().basic_auth("bob", Some(PASSWORD)).send().await.unwrap();
    let (status, body) = read(response).await;
    assert_eq!((status, &body["success"]), (200, &json!(true)), "{body}");
    assert_eq!((&body["data"]["tokenType"], &body["data"]["expiresIn"]), (&json!("Bearer"), &json!(3600)));
    let (_, key) = bed.key("bob", Scope::Read, None).await;
    let token = bed.token("bob").await;
    for request in [
        route(),
        route().bearer_auth(token),
        route().header("x-api-key", key),
        route().basic_auth("bob", Some("wrong")),
    ] {
        refused(401, "authentication-failed", &ask(request).await);
    }
    bed.clock.advance(Duration::from_secs(3600 + 29));
    let token = body["data"]["accessToken"].as_str().unwrap();
    assert_eq!(ask(bed.browse().bearer_auth(token)).await.0, 200, "clocks may be off by a little");
    bed.clock.advance(Duration::from_secs(1));
    refused(401, "authentication-failed", &ask(bed.browse().bearer_auth(token)).await);
}

#[tokio::test]
async fn a_scraper_needs_a_role_and_no_more_than_a_key_for_reading() {
    let bed = Bed::with(super::BACKEND, &[("AUDIT", "true")]).await;
    bed.add("ada", &["admin"]).await;
    bed.add("bob", &[]).await;
    bed.add("scraper", &["metrics"]).await;
    let (_, adas) = bed.key("ada", Scope::Admin, None).await;
    let (_, bobs) = bed.key("bob", Scope::Write, None).await;
    let (_, scrapers) = bed.key("scraper", Scope::Read, None).await;
    let metrics = |key: &str| bed.service.get("/metrics").header("x-api-key", key);
    for key in [&adas, &scrapers] {
        let answer = metrics(key).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.unwrap().contains("http_requests_total"));
    }
    let message = refused(403, "permission-denied", &ask(metrics(&bobs)).await);
    assert!(message.contains("the role metrics"), "{message}");
    for path in ["/api/uptime/check", "/api/uptime/create-streams"] {
        let asked = bed.service.post(path).header("x-api-key", &scrapers);
        refused(403, "permission-denied", &ask(asked).await);
    }
    let (_, reading) = bed.key("ada", Scope::Read, None).await;
    let asked = bed.service.post("/api/uptime/check").header("x-api-key", reading);
    refused(403, "permission-denied", &ask(asked).await);
    let denied = crate::trail::records(&bed.service, &adas, "outcome=permission-denied", 4).await;
    let denied: Vec<_> = denied.iter().map(|r| [&r["caller"], &r["action"]]).collect();
    assert_eq!(
        denied,
        [
            ["bob", "see-metrics"],
            ["scraper", "check-services"],
            ["scraper", "make-streams"],
            ["ada", "check-services"]
        ]
    );
}

#[tokio::test]
async fn where_nobody_is_asked_everybody_is_the_service_itself() {
    let service = TestService::start().await;
    for request in
        [service.get("/api/streams/browse"), service.get("/api/streams/browse").basic_auth("eve", Some("x"))]
    {
        assert_eq!(ask(request).await.0, 200);
    }
}

#[tokio::test]
async fn how_much_others_write_is_not_counted_for_who_may_not_read_it() {
    let bed = Bed::start_on(super::BACKEND).await;
    for user in ["bob", "carol", "carol"] {
        let put = bed.service.client.put(format!("{}/api/users/{user}/preferences", bed.service.url));
        let put = put.basic_auth("ada", Some(PASSWORD)).json(&json!({ "data": { "language": "eo" } }));
        let (status, body) = ask(put).await;
        assert!(status < 300, "{body}");
    }
    // What is counted is what is shown; the service itself may write between the one and the other.
    let counted = async |login: &str, query: &str| loop {
        let page = bed.service.get(&format!("/api/streams/all/events?limit=1000{query}"));
        let (_, body) = ask(page.basic_auth(login, Some(PASSWORD))).await;
        let shown = body["data"]["events"].as_array().unwrap().iter();
        let shown: Vec<_> = shown.filter_map(|event| event["streamId"].as_str()).collect();
        if body["data"]["total"] == shown.iter().filter(|stream| !stream.starts_with('$')).count() {
            return shown.iter().filter(|stream| **stream == "user-carol-preferences").count();
        }
    };
    let within = |counted| tokio::time::timeout(Duration::from_secs(30), counted);
    // The stream's creation, and two updates.
    assert_eq!(within(counted("ada", "")).await.expect("what an administrator is told is right"), 3);
    for query in ["", "&system=true"] {
        assert_eq!(within(counted("bob", query)).await.expect("others' events are counted"), 0);
    }
}
