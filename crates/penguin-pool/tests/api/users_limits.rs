//! What a user may ask of the users' API however they ask: in bounded time and memory, and to its end.

use serde_json::{Value, json};
use test_support::TestService;

async fn ask(service: &TestService, method: &str, path: &str, body: Value) -> (u16, Value) {
    let request = service.client.request(method.parse().unwrap(), format!("{}{path}", service.url));
    let answer = request.json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn get(service: &TestService, path: &str) -> (u16, Value) {
    let answer = service.get(path).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_patch_of_many_members_is_done_at_once_and_one_that_is_too_large_is_refused() {
    let service = TestService::builder().start().await;
    let path = "/api/users/ed/profile";
    assert_eq!(ask(&service, "PUT", path, json!({ "data": {} })).await.0, 200);
    let members = |count: u32, value: u32| -> Value {
        let members = (0..count).map(|n| (n.to_string(), json!(value)));
        json!({ "data": Value::Object(members.collect()) })
    };
    // Through all members for each of them it would be longer than a request may take.
    for value in [1, 2] {
        let (status, answer) = ask(&service, "PATCH", path, members(80_000, value)).await;
        assert_eq!((status, &answer["data"]["data"]["79999"]), (200, &json!(value)));
    }
    let (status, answer) = ask(&service, "PATCH", path, members(300_000, 1)).await;
    assert_eq!((status, &answer["type"]), (413, &json!("event-too-large")), "{answer}");
}

#[tokio::test]
async fn a_page_of_large_things_ends_early_and_goes_on() {
    let service = TestService::builder().start().await;
    let note = "x".repeat(600_000);
    for id in 0..40 {
        let data = json!({ "amount": id, "currency": "EUR", "status": "active", "note": note });
        let (status, answer) =
            ask(&service, "PUT", &format!("/api/users/ed/loans/{id}"), json!({ "data": data })).await;
        assert_eq!(status, 200, "{answer}");
    }
    let amounts = |page: &Value| -> Vec<u64> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["data"]["amount"].as_u64().unwrap()).collect()
    };
    let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (_, page) = get(&service, &format!("/api/users/ed/loans?limit=1000{cursor}")).await;
        let page = &page["data"];
        let here = amounts(page);
        assert!(here.len() <= 16 && page["total"] == 40, "{} of {}", here.len(), page["total"]);
        found.extend(here);
        pages += 1;
        if page["hasMore"] == json!(false) {
            break;
        }
        cursor = format!("&cursor={}", page["nextCursor"].as_str().unwrap());
    }
    found.sort_unstable();
    assert_eq!((found, pages), ((0..40).collect(), 3));
    let (_, overview) = get(&service, "/api/users/ed").await;
    let loans = &overview["data"]["loans"];
    assert!(amounts(loans).len() <= 16 && loans["hasMore"] == json!(true) && loans["total"] == json!(40));
}

#[tokio::test]
async fn what_is_no_number_is_no_filter() {
    let service = TestService::builder().start().await;
    for bad in ["NaN", "inf", "-infinity", "1e999"] {
        let (status, answer) = get(&service, &format!("/api/users/ed/loans?minAmount={bad}")).await;
        assert_eq!((status, &answer["type"]), (400, &json!("validation-failed")), "{bad}: {answer}");
    }
}
