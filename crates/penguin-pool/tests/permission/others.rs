//! What is done in others' names: the export of a user's data where not all of it is theirs to read, and streams.

use crate::world::{Who, World};
use serde_json::{Value, json};

#[tokio::test]
async fn a_stream_that_its_user_gave_away_is_left_out_and_the_export_is_whole() {
    let world = World::start().await;
    let kept = world.keep().await;
    let given = json!(["rita"]);
    let body = json!({
        "streamName": format!("user-{}-profile", kept.owner),
        "eventType": "Made",
        "eventData": {},
        "permissions": { "read": given, "write": given, "admin": given },
    });
    let made = world.request(Who::Owner, &kept.owner, "POST", "/api/streams/create").json(&body);
    assert_eq!(made.send().await.unwrap().status(), 201);
    let path = format!("/api/users/{}/export", kept.owner);
    for (who, streams) in [(Who::Owner, 3), (Who::Admin, 4)] {
        let answer = world.request(who, &kept.owner, "GET", &path).send().await.unwrap();
        let document: Value = answer.json().await.unwrap();
        assert_eq!(document["streams"].as_array().unwrap().len(), streams, "{who:?}: {document}");
    }
}

#[tokio::test]
async fn streams_are_made_in_others_names_by_administrators_alone() {
    let world = World::start().await;
    for (who, status) in [(Who::Other, 400), (Who::Admin, 201)] {
        let body = json!({
            "streamName": world.name(), "eventType": "Made", "eventData": {}, "owner": "rita",
        });
        let answer = world.request(who, "", "POST", "/api/streams/create").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), status, "{who:?}");
    }
}
