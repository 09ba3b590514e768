//! Limits: how often somebody may ask, by who they are and else by where they are, and how often they may log in.

use crate::bed::{Bed, PASSWORD, ask, read, refused};
use penguin_pool::security::accounts::Scope;
use std::time::Duration;

async fn start(variables: &[(&str, &str)]) -> Bed {
    let bed = Bed::on(variables, None).await;
    bed.add("ada", &["admin"]).await;
    bed.add("bob", &[]).await;
    bed
}

#[tokio::test]
async fn an_address_may_try_to_log_in_only_so_often() {
    let bed = start(&[("RATE_LIMIT_MAX_LOGINS", "3"), ("RATE_LIMIT_WINDOW_MS", "60000")]).await;
    let log_in = |login: &str, password: &str| {
        bed.service.post("/api/auth/token").basic_auth(login, Some(password.to_owned()))
    };
    assert_eq!(ask(bed.browse().basic_auth("ada", Some(PASSWORD))).await.0, 200);
    refused(401, "authentication-failed", &ask(log_in("bob", "wrong")).await);
    assert_eq!(ask(log_in("ada", PASSWORD)).await.0, 200);
    for login in ["ada", "bob", "eve"] {
        let answer = log_in(login, PASSWORD).send().await.unwrap();
        assert_eq!(answer.headers()["retry-after"], "20", "{login}");
        refused(429, "rate-limited", &read(answer).await);
    }
    refused(429, "rate-limited", &ask(bed.browse().basic_auth("bob", Some(PASSWORD))).await);
    assert_eq!(ask(bed.browse().basic_auth("ada", Some(PASSWORD))).await.0, 200, "it is remembered");
    bed.clock.advance(Duration::from_secs(20));
    assert_eq!(ask(log_in("bob", PASSWORD)).await.0, 200);
    refused(429, "rate-limited", &ask(log_in("bob", PASSWORD)).await);
}

#[tokio::test]
async fn whoever_is_known_has_an_allowance_of_their_own() {
    let bed = start(&[("RATE_LIMIT_MAX_REQUESTS", "4")]).await;
    let (_, adas) = bed.key("ada", Scope::Read, None).await;
    let (_, bobs) = bed.key("bob", Scope::Read, None).await;
    let (_, bobs_other) = bed.key("bob", Scope::Read, None).await;
    for (key, left) in [(&bobs, "3"), (&bobs_other, "2"), (&bobs, "1"), (&bobs, "0")] {
        let answer = bed.browse().header("x-api-key", key).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-ratelimit-remaining"]),
            (200, &left.parse().unwrap())
        );
    }
    let over = bed.browse().header("x-api-key", &bobs_other).send().await.unwrap();
    assert!(over.headers().contains_key("retry-after"));
    refused(429, "rate-limited", &read(over).await);
    assert_eq!(ask(bed.browse().header("x-api-key", &adas)).await.0, 200, "bob's is not ada's");
}

#[tokio::test]
async fn what_is_not_proved_buys_no_allowance() {
    let bed = start(&[("RATE_LIMIT_MAX_REQUESTS", "4")]).await;
    let (id, good) = bed.key("ada", Scope::Admin, None).await;
    let bad = [
        bed.browse().bearer_auth("a.b.c"),
        bed.browse().header("x-api-key", format!("pp_{id}_wrong")),
        bed.service.get("/metrics").header("x-api-key", "pp_1_2"),
        bed.browse(),
    ];
    for request in bad {
        refused(401, "authentication-failed", &ask(request).await);
    }
    for request in [
        bed.browse().bearer_auth("d.e.f"),
        bed.browse().header("x-api-key", "pp_3_4"),
        bed.service.get("/metrics").header("x-api-key", "pp_5_6"),
        bed.browse(),
        // Whether this one is good is not looked at.
        bed.browse().header("x-api-key", &good),
    ] {
        refused(429, "rate-limited", &ask(request).await);
    }
    assert_eq!(bed.service.get("/health").send().await.unwrap().status(), 200);
    bed.clock.advance(Duration::from_secs(15));
    for _ in 0..4 {
        assert_eq!(ask(bed.browse().header("x-api-key", &good)).await.0, 200);
    }
    for _ in 0..9 {
        let metrics = bed.service.get("/metrics").header("x-api-key", &good).send().await.unwrap();
        assert_eq!(metrics.status(), 200, "who may see the metrics is not limited");
        assert!(!metrics.headers().contains_key("x-ratelimit-limit"));
    }
}
