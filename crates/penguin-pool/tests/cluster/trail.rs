//! The trail of who did what, on a KurrentDB: written whole whatever the wire does, and verified there.

use crate::support::{Node, PATIENCE, event, get, post};
use event_store::{
    EventStore, ExpectedState, IdSource as _, NewEvent, RandomIds, StreamMetadata, StreamName,
};
use event_store_kurrentdb::{KurrentDb, Options};
use std::path::Path;
use test_support::{Proxy, TestService};

fn trail() -> StreamName {
    StreamName::new("system-audit").unwrap()
}

/// `penguin-pool audit verify`: whether it found the trail sound, and what it said.
async fn verify(directory: &Path, node: &Node) -> (bool, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_penguin-pool"));
    command.args(["audit", "verify"]).env_clear().current_dir(directory).kill_on_drop(true);
    let url = format!("http://{}", node.address);
    command.envs([("NODE_ENV", "test"), ("EVENT_STORE", "kurrentdb"), ("KURRENTDB_URL", &url)]);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("an end").unwrap();
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.success(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_whole_whatever_the_wire_does_and_what_is_done_to_it_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(directory.path()).await;
    let wire = Proxy::to(node.address).await.unwrap();
    let service = TestService::builder()
        .set("EVENT_STORE", "kurrentdb")
        .set("KURRENTDB_URL", format!("http://{}", wire.address()))
        .set("RATE_LIMIT_MAX_REQUESTS", 0)
        .set("AUDIT", "true")
        .start()
        .await;
    let mut acknowledged = 0;
    for n in 0..40 {
        let (status, body) = post(&service, "/api/streams/loan-1/events", event(n)).await;
        assert!(matches!(status, 201 | 503 | 504), "{status} {body}");
        acknowledged += usize::from(status == 201);
        if n % 8 == 0 {
            wire.cut();
        }
    }
    assert!(acknowledged > 20, "{acknowledged}");
    let told = async {
        loop {
            let (status, body) = get(&service, "/api/audit?stream=loan-1&action=append&limit=1000").await;
            if status == 200 {
                let records = body["data"]["records"].as_array().unwrap();
                let done = records.iter().filter(|record| record["outcome"] == "ok").count();
                assert!(done <= acknowledged, "{records:?}");
                if done == acknowledged {
                    return;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("every append that was done is in the trail");
    service.stop().await;
    let (sound, said) = verify(directory.path(), &node).await;
    assert!(sound && said.contains("no fault"), "{said}");

    let store = KurrentDb::new(Options::connect(&format!("kurrentdb://{}?tls=false", node.address)).unwrap());
    let store = store.unwrap();
    let forged = NewEvent::json(RandomIds.next_id(), "AuditRecorded", r#"{"hash":"00","record":{}}"#);
    let forged = store.append(&trail(), ExpectedState::StreamExists, vec![forged]).await.unwrap();
    let (sound, said) = verify(directory.path(), &node).await;
    let place = format!("number {}: it was changed", forged.last_revision.unwrap());
    assert!(!sound && said.contains(&place) && said.lines().count() == 1, "{said}");
    let hidden = StreamMetadata { truncate_before: Some(3), ..StreamMetadata::default() };
    store.set_metadata(&trail(), ExpectedState::Any, &hidden, RandomIds.next_id()).await.unwrap();
    let (sound, said) = verify(directory.path(), &node).await;
    assert!(!sound && said.contains("the events from number 0 on, up to this one, are missing"), "{said}");
}
