//! The trail of who did what: what a request leaves in it, and that it is sound.

use serde_json::{Value, json};
use std::{process::Command, time::Duration};
use test_support::TestService;

async fn audit(service: &TestService, query: &str) -> Value {
    let answer = service.get(&format!("/api/audit?{query}")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    answer.json::<Value>().await.unwrap()["data"].take()
}

/// The records of a query, once there are so many.
async fn records(service: &TestService, query: &str, count: usize) -> Vec<Value> {
    let there = async {
        loop {
            let records = audit(service, query).await["records"].as_array().unwrap().clone();
            if records.len() >= count {
                return records;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), there).await.expect("the records are written")
}

#[tokio::test]
async fn what_a_request_does_is_in_the_trail_with_its_id_and_address_and_without_what_it_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let service = TestService::builder()
        .set("AUDIT", "true")
        .set("RATE_LIMIT_MAX_REQUESTS", 0)
        .set("DATA_DIR", data.display())
        .start()
        .await;
    let put =
        service.client.put(format!("{}/api/users/bob/profile", service.url)).header("x-request-id", "r-1");
    let put = put.json(&json!({ "data": { "bio": "xylophone" } })).send().await.unwrap();
    assert_eq!(put.status().as_u16(), 200);
    let missing = service.get("/api/streams/none/events").header("x-request-id", "r-2").send().await.unwrap();
    assert_eq!(missing.status().as_u16(), 404);
    let export = service.get("/api/users/bob/export").header("x-request-id", "r-4").send().await.unwrap();
    assert_eq!((export.status().as_u16(), export.text().await.unwrap().contains("xylophone")), (200, true));
    service.client.delete(format!("{}/api/users/bob", service.url)).send().await.unwrap();

    let found = records(&service, "stream=user-bob-profile&action=append", 1).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let record = &found[0];
    assert_eq!(
        (&record["caller"], &record["outcome"], &record["requestId"], &record["address"]),
        (&json!("system"), &json!("ok"), &json!("r-1"), &json!("127.0.0.1"))
    );
    let refused = records(&service, "stream=none", 1).await;
    assert_eq!(
        (&refused[0]["outcome"], &refused[0]["requestId"]),
        (&json!("stream-not-found"), &json!("r-2"))
    );
    // What goes on beside the request is its deed all the same.
    let exported = async {
        let is = |record: &Value| record["requestId"] == "r-4" && record["address"] == "127.0.0.1";
        while !records(&service, "stream=user-bob-profile&action=read", 1).await.iter().any(is) {}
    };
    tokio::time::timeout(Duration::from_secs(30), exported).await.expect("what an export reads is written");
    let erased = records(&service, "action=erase", 1).await;
    assert_eq!((&erased[0]["streams"], &erased[0]["outcome"]), (&json!(["user-bob"]), &json!("ok")));
    service.get("/api/streams/browse").header("x-request-id", "r-3").send().await.unwrap();
    let asked = records(&service, "action=browse", 1).await;
    assert_eq!((&asked[0]["outcome"], &asked[0]["requestId"]), (&json!("ok"), &json!("r-3")));
    assert!(!audit(&service, "limit=1000").await.to_string().contains("xylophone"));
    // That the trail was read stands in it, and what the service does by itself does not.
    records(&service, "stream=system-audit&action=read", 1).await;
    assert!(audit(&service, "stream=connection-test").await["records"].as_array().unwrap().is_empty());
    let refused = service.get("/api/audit?actoin=read").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 400);
    service.stop().await;

    let verify = Command::new(env!("CARGO_BIN_EXE_penguin-pool"))
        .args(["audit", "verify"])
        .env_clear()
        .envs([("NODE_ENV", "test"), ("DATA_DIR", data.to_str().unwrap())])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8(verify.stdout).unwrap() + &String::from_utf8(verify.stderr).unwrap();
    assert!(verify.status.success() && said.contains("no fault"), "{said}");
}

#[tokio::test]
async fn where_no_trail_is_kept_that_is_said() {
    let service = TestService::start().await;
    let answer = service.get("/api/audit").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 501);
}
