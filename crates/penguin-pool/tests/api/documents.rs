//! The documents, held against what is served.

use crate::support::Service;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use test_support::TestService;

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| -> Vec<_> {
        let item = item.as_object().unwrap().iter();
        item.map(|(method, operation)| (method.to_uppercase(), path.clone(), operation.clone())).collect()
    };
    paths.iter().flat_map(of).collect()
}

#[tokio::test]
async fn every_operation_that_is_documented_is_served_and_named_once() {
    let service = TestService::builder().set("RATE_LIMIT_MAX_REQUESTS", 100_000).start().await;
    let document: Value =
        service.get("/api/docs-json?version=3.1").send().await.unwrap().json().await.unwrap();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id.clone()), "{id} twice");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{id}");
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{id}");
        if path.starts_with("/kurrentdb/") {
            // What stands behind it is another server's to say.
            continue;
        }
        // A query and a body that no operation takes: it answers at once, and does nothing.
        let path = ["streamName", "userId", "loanId", "offerId"]
            .iter()
            .fold(path, |path, name| path.replace(&format!("{{{name}}}"), "no-such-stream"));
        let url = format!("{}{}?no-such-key=1", service.url, path.replace("{type}", "profile"));
        let request = service.client.request(method.parse().unwrap(), url);
        let answer = request.header("content-type", "application/json").body("{").send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        assert!(![404, 405].contains(&status) || body["type"] == "stream-not-found", "{id}: {status} {text}");
        // Whatever it answered is in its document.
        assert!(
            operation["responses"].as_object().unwrap().contains_key(&status.to_string()),
            "{id}: {status} {text}"
        );
    }
    assert!(ids.len() > 20, "{ids:?}");
    for path in ["/api/streams/create", "/health", "/api/status", "/metrics"] {
        assert!(document["paths"][path].is_object(), "{path} is served and not documented");
    }
}

#[tokio::test]
async fn answers_have_no_field_that_their_schema_lacks_and_lack_none_that_it_requires() {
    let service = Service::start().await;
    service.create("a").await;
    let document: Value = serde_json::from_slice(&service.documents.json).unwrap();
    for (path, operation) in [
        ("/api/streams/a/events", "/api/streams/{streamName}/events"),
        ("/api/streams/all/events", "/api/streams/all/events"),
        ("/api/streams/a/details", "/api/streams/{streamName}/details"),
        ("/api/streams/browse", "/api/streams/browse"),
        ("/api/streams/statistics", "/api/streams/statistics"),
        ("/api/streams/health", "/api/streams/health"),
    ] {
        let schema =
            &document["paths"][operation]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        held_to(&service.get(path).await.json(), schema, &document, path);
    }
    let failure = service.get("/api/streams/b/events").await.json();
    held_to(&failure, &document["components"]["schemas"]["ErrorBody"], &document, "failure");
}

/// Holds a value's keys against a schema, all the way down.
fn held_to(value: &Value, schema: &Value, document: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/components/schemas/")) {
        return held_to(value, &document["components"]["schemas"][name], document, place);
    }
    match value {
        Value::Object(object) => {
            let Some(properties) = schema["properties"].as_object() else { return };
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(object.contains_key(required.as_str().unwrap()), "{place} lacks {required}");
            }
            for (key, value) in object {
                let of = properties.get(key).unwrap_or_else(|| panic!("{place}.{key} is not documented"));
                held_to(value, of, document, &format!("{place}.{key}"));
            }
        }
        Value::Array(values) => values.iter().for_each(|v| held_to(v, &schema["items"], document, place)),
        _ => {}
    }
}

#[tokio::test]
async fn components_have_the_contracts_names_and_its_constraints_once() {
    let service = Service::start().await;
    let document: Value = serde_json::from_slice(&service.documents.json).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in [
        "Stream",
        "StreamMetadata",
        "StreamPermissions",
        "StreamCreateRequestDto",
        "StreamUpdateRequestDto",
        "StreamAppendEventDto",
        "Event",
        "NewStreamName",
        "ErrorBody",
        "ServiceStatusChanged",
        "StreamCreated",
        "UserDataUpdated",
    ] {
        assert!(schemas.contains_key(name), "{name} of {:?}", schemas.keys());
    }
    assert_eq!(schemas["NewStreamName"]["maxLength"], 200);
    assert_eq!(
        schemas["StreamCreateRequestDto"]["properties"]["streamName"]["$ref"],
        "#/components/schemas/NewStreamName"
    );
    let parameters =
        document["paths"]["/api/streams/{streamName}/events"]["get"]["parameters"].as_array().unwrap();
    let limit = parameters.iter().find(|p| p["name"] == "limit").unwrap();
    let expected = [("minimum", 1), ("maximum", 1000), ("default", 100)];
    assert!(expected.iter().all(|(key, value)| limit["schema"][*key] == *value), "{limit}");
}

#[tokio::test]
async fn both_versions_and_both_forms_say_the_same() {
    let service = Service::start().await;
    let documents = &service.documents;
    let yaml: Value = serde_yaml_ng::from_slice(&documents.yaml).unwrap();
    let json: Value = serde_json::from_slice(&documents.json).unwrap();
    assert_eq!(yaml, json);
    let older: Value = serde_json::from_slice(&documents.json_3_0).unwrap();
    assert_eq!(older["openapi"], "3.0.3");
    let paths = |document: &Value| -> Vec<String> {
        document["paths"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(paths(&older), paths(&json));
    no_newer_words(&older["components"]["schemas"], "schemas");

    let directory = tempfile::tempdir().unwrap();
    documents.write_to(&directory.path().join("openapi")).unwrap();
    let written = std::fs::read(directory.path().join("openapi/openapi-3.0.yaml")).unwrap();
    assert_eq!(written, documents.yaml_3_0);
}

/// OpenAPI 3.0.3 knows neither `const` nor lists of types.
fn no_newer_words(value: &Value, place: &str) {
    let each = |map: &Map<String, Value>| {
        for (key, value) in map {
            assert!(key != "const" && !(key == "type" && value.is_array()), "{place}.{key}");
            if key != "example" && key != "default" {
                no_newer_words(value, &format!("{place}.{key}"));
            }
        }
    };
    match value {
        Value::Object(map) => each(map),
        Value::Array(values) => values.iter().for_each(|v| no_newer_words(v, place)),
        _ => {}
    }
}
