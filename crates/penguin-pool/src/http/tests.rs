//! The kit alone, on routes made for the test.

use super::*;
use crate::security::Caller;
use axum::{Router, body::Body, extract::State, http::Request};
use event_store::ErrorCode;
use garde::Validate;
use http_body_util::BodyExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use test_support::{MockClock, SeededIds};
use tower::ServiceExt as _;

/// A penguin to be.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PenguinDto {
    /// Its name.
    #[garde(length(chars, min = 1, max = 5))]
    first_name: String,
    #[garde(range(min = 1, max = 9))]
    weight_kg: u32,
}

/// A penguin.
#[derive(Debug, Serialize, JsonSchema)]
struct Penguin {
    id: String,
    caller: String,
}

#[derive(Debug, Deserialize, JsonSchema, Validate)]
struct PenguinPath {
    #[garde(length(chars, max = 3))]
    id: String,
}

#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
struct PenguinQuery {
    #[serde(default)]
    #[garde(range(max = 10))]
    limit: u32,
}

crate::endpoint! {
    /// Takes a penguin in.
    ///
    /// It is weighed first.
    [StreamAlreadyExists]
    async fn take_in(State(prefix): State<&'static str>, caller: Caller, ValidJson(dto): ValidJson<PenguinDto>) -> Result<Created<Penguin>, ApiError> {
        if dto.weight_kg == 9 {
            return Err(ApiError::new(ErrorCode::InternalError, "the scales broke, and nobody should know"));
        }
        Ok(Created(Penguin { id: format!("{prefix}{}", dto.first_name), caller: caller.id().to_owned() }))
    }
}

crate::endpoint! {
    /// Shows a penguin.
    [UserNotFound]
    async fn show(ValidPath(path): ValidPath<PenguinPath>, ValidQuery(query): ValidQuery<PenguinQuery>) -> Result<Success<Penguin>, ApiError> {
        assert!(query.limit != 7, "unlucky");
        Ok(Success(Penguin { id: path.id, caller: String::new() }))
    }
}

fn kit() -> (Router, Documents) {
    let (router, documents) = build(|| {
        Routes::new("penguins", "Penguins")
            .post("/penguins", take_in, take_in::DOC)
            .get("/penguins/{id}", show, show::DOC)
            .with_state("p-")
    })
    .unwrap();
    let clock = Arc::new(MockClock::new());
    let context_of = Context { clock, ids: Arc::new(SeededIds::new(1)) };
    let router = router.layer(axum::Extension(Caller::system()));
    (router.layer(axum::middleware::from_fn_with_state(context_of, context)), documents)
}

async fn ask(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (u16, Value, axum::http::HeaderMap) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = kit().0.oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null), parts.headers)
}

const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

async fn post(body: impl Into<Body>) -> (u16, Value) {
    let (status, body, _) = ask("POST", "/penguins", &[JSON], body).await;
    (status, body)
}

#[tokio::test]
async fn success_and_failure_carry_the_clocks_time_and_the_requests_id() {
    let (status, body) = post(r#"{"firstName":"pip","weightKg":3}"#).await;
    let expected = json!({"success": true, "data": {"id": "p-pip", "caller": "system"}, "timestamp": "2024-01-15T10:30:00.000Z"});
    assert_eq!((status, body), (201, expected));

    let (status, body, headers) = ask("GET", "/nowhere", &[("x-request-id", "mine-1")], "").await;
    let expected = json!({
        "success": false, "error": "RouteNotFoundError", "type": "route-not-found",
        "message": "There is nothing at this path", "statusCode": 404,
        "timestamp": "2024-01-15T10:30:00.000Z", "requestId": "mine-1",
    });
    assert_eq!((status, body), (404, expected));
    assert_eq!(headers["x-request-id"], "mine-1");

    let (_, body, headers) = ask("GET", "/nowhere", &[("x-request-id", "two words")], "").await;
    assert_eq!(headers["x-request-id"], "00000000-0000-0001-0000-000000000001");
    assert_eq!(body["requestId"], "00000000-0000-0001-0000-000000000001");
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let (status, body, headers) = ask("DELETE", "/penguins", &[], "").await;
    assert_eq!(
        (status, &body["type"], &headers["allow"]),
        (405, &json!("method-not-allowed"), &"POST".parse().unwrap())
    );
}

#[tokio::test]
async fn every_broken_constraint_is_named_at_once_by_the_clients_names() {
    let (status, body) = post(r#"{"firstName":"","weightKg":10}"#).await;
    assert_eq!((status, &body["type"]), (400, &json!("validation-failed")));
    let paths: Vec<_> =
        body["details"].as_array().unwrap().iter().map(|d| d["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["firstName", "weightKg"]);
}

#[tokio::test]
async fn faults_of_shape_name_their_path() {
    for (body, path) in [
        (r#"{"firstName":1,"weightKg":3}"#, "firstName"),
        (r#"{"firstName":"a","weightKg":3,"x":1}"#, "x"),
        (r#"{"firstName":"a"}"#, "weightKg"),
        (r#"{"firstName":"a","firstName":"b","weightKg":3}"#, "firstName"),
        ("[]", ""),
        (r#"["a",3]"#, ""),
    ] {
        let (status, answer) = post(body).await;
        assert_eq!((status, &answer["type"]), (400, &json!("validation-failed")), "{body}");
        assert_eq!(answer["details"][0]["path"], path, "{body} {answer}");
    }
}

#[tokio::test]
async fn what_is_no_json_too_deep_too_large_or_of_another_type_is_refused() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    for body in ["", "{", "{} x", "\u{0}", &deep(129)] {
        let (status, answer) = post(body.to_owned()).await;
        assert_eq!((status, &answer["type"]), (400, &json!("invalid-json")), "{body}");
    }
    let (status, answer) = post(deep(128)).await;
    assert_eq!((status, &answer["type"]), (400, &json!("validation-failed")), "{answer}");

    let (status, answer) = post("x".repeat(BODY_LIMIT + 1)).await;
    assert_eq!((status, &answer["type"]), (413, &json!("payload-too-large")));
    let chunks = futures::stream::iter((0..=16).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])));
    let (status, answer) = post(Body::from_stream(chunks)).await;
    assert_eq!((status, &answer["type"]), (413, &json!("payload-too-large")));

    for header in [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/jsonp")]] {
        let (status, answer, _) = ask("POST", "/penguins", header, "{}").await;
        assert_eq!((status, &answer["type"]), (415, &json!("unsupported-media-type")));
    }
}

#[tokio::test]
async fn an_operation_without_a_query_takes_none() {
    let (status, answer, _) =
        ask("POST", "/penguins?x=1", &[JSON], r#"{"firstName":"a","weightKg":3}"#).await;
    assert_eq!((status, &answer["details"][0]["path"]), (400, &json!("x")), "{answer}");
    let (status, ..) = ask("POST", "/penguins?", &[JSON], r#"{"firstName":"a","weightKg":3}"#).await;
    assert_eq!(status, 201);
}

#[tokio::test]
async fn bad_paths_and_queries_are_refused() {
    for path in [
        "/penguins/%ff",
        "/penguins/%zz",
        "/penguins/long",
        "/penguins/a?limit=1&limit=2",
        "/penguins/a?x=1",
        "/penguins/a?limit=11",
        "/penguins/a?limit=",
        "/penguins/a?limit=%",
        "/penguins/a?limit=-1",
    ] {
        let (status, answer, _) = ask("GET", path, &[], "").await;
        assert_eq!((status, &answer["type"]), (400, &json!("validation-failed")), "{path}");
        assert_ne!(answer["details"], json!(null), "{path}");
    }
}

#[tokio::test]
async fn panics_and_internal_errors_keep_their_detail_to_the_log() {
    for (method, path, body) in
        [("GET", "/penguins/a?limit=7", ""), ("POST", "/penguins", r#"{"firstName":"a","weightKg":9}"#)]
    {
        let (status, answer, _) = ask(method, path, &[JSON], body).await;
        assert_eq!((status, &answer["error"]), (500, &json!("InternalError")));
        assert!(!answer.to_string().contains("unlucky") && !answer.to_string().contains("scales"));
    }
}

#[tokio::test]
async fn an_operation_documents_its_words_and_exactly_its_errors() {
    let document: Value = serde_json::from_slice(&kit().1.json).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let operation = &document["paths"]["/penguins"]["post"];
    assert_eq!(operation["operationId"], "takeIn");
    assert_eq!(operation["summary"], "Takes a penguin in");
    assert_eq!(operation["description"], "It is weighed first.");
    let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().collect();
    assert_eq!(statuses, ["201", "400", "401", "409", "413", "415", "429", "500", "503", "504"]);
    assert_eq!(operation["x-refusals"], Value::Null);
    let parameters = &document["paths"]["/penguins/{id}"]["get"]["parameters"];
    assert_eq!(parameters[1]["schema"]["maximum"], 10);
    let dto = &document["components"]["schemas"]["PenguinDto"];
    assert_eq!(dto["properties"]["firstName"]["maxLength"], 5);
    assert_eq!(dto["additionalProperties"], false);
    assert_eq!(document["components"]["schemas"]["PenguinPath"], Value::Null);
}

#[tokio::test]
async fn the_documents_are_served_and_their_page_loads_nothing_from_elsewhere() {
    let router = kit().0;
    for (path, media, starts) in [
        ("/api/docs", "text/html; charset=utf-8", "<!DOCTYPE html>"),
        ("/api/docs/", "text/html; charset=utf-8", "<!DOCTYPE html>"),
        ("/api/docs-json", "application/json", "{\n  \"openapi\": \"3.0.3\""),
        ("/api/docs-json?version=3.1", "application/json", "{\n  \"openapi\": \"3.1.0\""),
        ("/api/docs-yaml", "application/yaml", "openapi: 3.0.3"),
        ("/api/docs-yaml?version=3.1", "application/yaml", "openapi: 3.1.0"),
    ] {
        let response = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], media, "{path}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.starts_with(starts), "{path}: {}", &text[..60]);
        for outside in ["<script src", "<link", "@import", "url(http"] {
            assert!(!text.contains(outside), "{path} has {outside}");
        }
        assert!(!path.ends_with("docs") || text.contains("validatorUrl: null"));
    }
}
