//! Whatever is sent, the answer is JSON in the one form, and never the service's fault.

use crate::support::{Answer, Service};
use proptest::{prelude::*, test_runner::Config};

const ROUTES: [(&str, &str); 12] = [
    ("POST", "/api/streams/create"),
    ("POST", "/api/streams/append"),
    ("POST", "/api/streams/a/events"),
    ("POST", "/api/streams/a/events/batch"),
    ("PATCH", "/api/streams/a"),
    ("PUT", "/api/streams/a/metadata"),
    ("GET", "/api/streams/a/events"),
    ("GET", "/api/streams/all/events"),
    ("GET", "/api/streams/a/metadata"),
    ("DELETE", "/api/streams/a"),
    ("GET", "/api/docs-json"),
    ("OPTIONS", "/api/streams/a/events"),
];

/// JSON that comes close to what is asked for, and JSON that does not.
fn json() -> impl Strategy<Value = String> {
    let keys = [
        "streamName",
        "eventType",
        "eventData",
        "metadata",
        "eventId",
        "streamState",
        "events",
        "streams",
        "tags",
        "data",
        "permissions",
        "status",
        "read",
        "$maxCount",
        "$acl",
        "$tb",
        "x",
    ];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        Just("1e999".to_owned()),
        Just("\"a\"".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        any::<String>().prop_map(|s| serde_json::Value::from(s).to_string()),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(","))),
            proptest::collection::vec((proptest::sample::select(keys.to_vec()), inner), 0..5).prop_map(
                |pairs| {
                    let pairs: Vec<_> = pairs.into_iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                    format!("{{{}}}", pairs.join(","))
                }
            ),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => json().prop_map(String::into_bytes), 1 => any::<Vec<u8>>()]
}

fn query() -> impl Strategy<Value = String> {
    let keys =
        ["limit", "from", "offset", "direction", "mode", "expectedRevision", "system", "version", "%zz", "x"];
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        Just(String::new()),
        Just("%".to_owned()),
        Just("%ff".to_owned()),
        Just("backwards".to_owned()),
        "[a-z%&=+;,0-9]{0,12}",
    ];
    proptest::collection::vec((proptest::sample::select(keys.to_vec()), value), 0..4)
        .prop_map(|pairs| pairs.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&"))
}

fn is_in_form(answer: &Answer) -> bool {
    let media = answer.headers.get("content-type").and_then(|v| v.to_str().ok());
    let json = answer.json();
    answer.status < 500
        && media == Some("application/json")
        && if answer.status < 400 {
            !json.is_null()
        } else {
            json["success"] == false && json["type"].is_string()
        }
}

#[test]
fn any_body_and_any_query_get_an_answer_in_the_one_form() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let service = runtime.block_on(Service::start());
    let sent = (proptest::sample::select(ROUTES.to_vec()), query(), body());
    proptest!(Config::with_cases(512), |(((method, path), query, body) in sent)| {
        let request = service.request(method, &format!("{path}?{query}")).header("content-type", "application/json");
        let answer = runtime.block_on(service.send(request.body(body)));
        prop_assert!(is_in_form(&answer), "{method} {path}?{query}: {answer:?}");
    });
}

#[test]
fn any_path_gets_an_answer_in_the_one_form() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let service = runtime.block_on(Service::start());
    let part = prop_oneof![
        Just("streams".to_owned()),
        Just("events".to_owned()),
        Just("metadata".to_owned()),
        Just("all".to_owned()),
        "[a-z%$0-9.~]{0,6}",
    ];
    let parts = proptest::collection::vec(part, 0..5);
    proptest!(Config::with_cases(256), |(parts in parts, method in proptest::sample::select(vec!["GET", "POST", "DELETE"]))| {
        let path = format!("/api/{}", parts.join("/"));
        let answer = runtime.block_on(service.send(service.request(method, &path)));
        prop_assert!(is_in_form(&answer), "{method} {path}: {answer:?}");
    });
}
