//! What is followed over sockets stands in the trail as what is asked over HTTP does.

use crate::client::{Client, PATIENCE};
use serde_json::{Value, json};
use test_support::TestService;
use tokio::time::timeout;

/// The subscriptions in the trail, oldest first, once there are so many.
async fn subscriptions(service: &TestService, count: usize) -> Vec<Value> {
    let there = async {
        loop {
            let answer = service.get("/api/audit?action=subscribe").send().await.unwrap();
            let mut answer = answer.json::<Value>().await.unwrap();
            let mut records = answer["data"]["records"].as_array_mut().unwrap().split_off(0);
            if records.len() >= count {
                records.reverse();
                return records;
            }
        }
    };
    timeout(PATIENCE, there).await.expect("the records are written")
}

#[tokio::test]
async fn who_follows_is_written_down_by_address_and_handshake_also_where_nobody_says_who_they_are() {
    let service = TestService::builder().set("AUDIT", "true").set("RATE_LIMIT_MAX_REQUESTS", 0).start().await;
    let (http, apart) = (service.service.address(), service.service.sockets_address());
    let mut clients = vec![Client::websocket(http, "/ws/streams").await];
    clients.push(Client::polling(apart, "/ws/streams").await);
    // It begins with long polls, and asks when it has become another connection.
    clients.push(Client::polling(http, "/ws/streams").await.upgrade(http).await);
    for client in &mut clients {
        for request in [json!({ "streamName": "loans-1" }), json!({ "all": true })] {
            let answer = client.ask("subscribe", request).await;
            assert_eq!(answer["success"], true, "{answer}");
        }
    }
    let found = subscriptions(&service, 2 * clients.len()).await;
    let told = |r: &Value| ["caller", "outcome"].map(|name| r[name].as_str().unwrap().to_owned());
    for (record, stream) in found.iter().zip(["loans-1", "$all"].into_iter().cycle()) {
        assert_eq!(
            (told(record), &record["streams"]),
            (["system", "ok"].map(String::from), &json!([stream]))
        );
    }
    for pair in found.chunks(2) {
        assert!(pair.iter().all(|record| record["address"] == "127.0.0.1"), "{pair:?}");
        assert!(pair[0]["requestId"].is_string(), "{pair:?}");
        assert_eq!(pair[0]["requestId"], pair[1]["requestId"], "both were asked for over one connection");
    }
    assert_ne!(found[0]["requestId"], found[2]["requestId"]);
}
