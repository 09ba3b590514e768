//! The documents: OpenAPI 3.1 and 3.0.3, as JSON and YAML, made once from what is served.

use super::{ApiError, Routes, ValidQuery, finish, query, routes::Collected};
use aide::{
    openapi::{Info, License, OpenApi, Server, Tag},
    swagger::Swagger,
};
use axum::{
    Router,
    extract::State,
    http::header,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use event_store::ErrorCode;
use garde::Validate;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use std::{any::Any, path::Path, sync::OnceLock};
use tower_http::catch_panic::CatchPanicLayer;

/// The documents of the API. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Documents {
    /// OpenAPI 3.1, JSON.
    pub json: Bytes,
    /// OpenAPI 3.1, YAML.
    pub yaml: Bytes,
    /// OpenAPI 3.0.3, JSON.
    pub json_3_0: Bytes,
    /// OpenAPI 3.0.3, YAML.
    pub yaml_3_0: Bytes,
    /// Further files that describe the API in other ways: their names, and what is in them.
    pub others: Vec<(&'static str, Bytes)>,
}

impl Documents {
    fn of(api: &OpenApi, components: &[String]) -> Result<Self, Box<dyn std::error::Error>> {
        let document = finish::finish(serde_json::to_value(api)?, components);
        let older = finish::as_3_0(document.clone());
        let json =
            |v| -> Result<Bytes, serde_json::Error> { Ok((serde_json::to_string_pretty(v)? + "\n").into()) };
        Ok(Self {
            json: json(&document)?,
            yaml: serde_yaml_ng::to_string(&document)?.into(),
            json_3_0: json(&older)?,
            yaml_3_0: serde_yaml_ng::to_string(&older)?.into(),
            others: Vec::new(),
        })
    }

    /// Writes `openapi.json`, `openapi.yaml`, `openapi-3.0.json`, `openapi-3.0.yaml` and the others into a directory, which is made
    /// if need be.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn write_to(&self, directory: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(directory)?;
        self.files().into_iter().try_for_each(|(name, text)| std::fs::write(directory.join(name), text))
    }

    /// The name of each file, and what is in it.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, &Bytes)> {
        let own = [
            ("openapi.json", &self.json),
            ("openapi.yaml", &self.yaml),
            ("openapi-3.0.json", &self.json_3_0),
            ("openapi-3.0.yaml", &self.yaml_3_0),
        ];
        own.into_iter().chain(self.others.iter().map(|(name, text)| (*name, text))).collect()
    }
}

/// Makes of all routes the router that is served, with the documents at `/api/docs`, an error body for unknown routes,
/// wrong methods and panics, and the documents themselves.
///
/// The routes are made inside, by the closure: the generator of schemas is set up before the first of them.
///
/// # Errors
/// A sentence if the documents cannot be generated: a mistake in a model, not in what runs.
pub fn build(routes: impl FnOnce() -> Routes) -> Result<(Router, Documents), String> {
    aide::generate::in_context(|ctx| {
        ctx.schema = SchemaSettings::draft2020_12()
            .with(|settings| {
                settings.definitions_path = "#/components/schemas/".into();
                settings.meta_schema = None;
            })
            .into_generator();
    });
    let Collected { router, tags, components } = routes().into_parts();
    let mut api = skeleton(tags);
    let router = router.finish_api(&mut api);
    let documents =
        Documents::of(&api, &components).map_err(|e| format!("the API's documents cannot be made: {e}"))?;
    let described = serde_json::to_value(&api).map_err(|e| e.to_string())?;
    let without_query = query::without_query(&described);
    let router = router.layer(middleware::from_fn_with_state(without_query, query::refuse));
    let router = router.merge(documents_router(documents.clone()));
    Ok((answered(router), documents))
}

/// A router without routes: every path is answered with the error body.
pub fn nothing() -> Router {
    answered(Router::new())
}

/// The same, with an error body for unknown routes, wrong methods and panics.
fn answered(router: Router) -> Router {
    router
        .fallback(async || ApiError::new(ErrorCode::RouteNotFound, "There is nothing at this path"))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                ErrorCode::MethodNotAllowed,
                "This path does not take this method; see the header Allow",
            )
        })
        .layer(CatchPanicLayer::custom(panicked))
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&t| t.to_owned()));
    ApiError::new(ErrorCode::InternalError, format!("panic: {}", text.unwrap_or_default())).into_response()
}

fn skeleton(tags: Vec<(&'static str, &'static str)>) -> OpenApi {
    let license = License {
        name: "MIT OR Apache-2.0".into(),
        identifier: Some("MIT OR Apache-2.0".into()),
        ..License::default()
    };
    let info = Info {
        title: "Penguin Pool".into(),
        description: Some("The backend of the Penguin Pool lending app: event streams over HTTP.".into()),
        version: env!("CARGO_PKG_VERSION").into(),
        license: Some(license),
        ..Info::default()
    };
    let tag = |(name, about): (&str, &str)| Tag {
        name: name.into(),
        description: Some(about.into()),
        ..Tag::default()
    };
    OpenApi {
        info,
        servers: vec![Server { url: "/".into(), ..Server::default() }],
        tags: tags.into_iter().map(tag).collect(),
        ..OpenApi::default()
    }
}

/// Which OpenAPI to give.
#[derive(Debug, Clone, Copy, Default, Deserialize, Validate)]
enum Version {
    #[default]
    #[serde(rename = "3.0", alias = "3.0.3")]
    V3_0,
    #[serde(rename = "3.1", alias = "3.1.0")]
    V3_1,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct DocumentQuery {
    #[serde(default)]
    #[garde(skip)]
    version: Version,
}

/// The page loads nothing from elsewhere, and a browser is told to hold it to that.
const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                                img-src 'self' data:; font-src data:; connect-src 'self'; base-uri 'none'; \
                                form-action 'none'; frame-ancestors 'none'";

fn documents_router(documents: Documents) -> Router {
    Router::new()
        .route("/api/docs", get(page))
        .route("/api/docs/", get(page))
        .route("/api/docs-json", get(json))
        .route("/api/docs-yaml", get(yaml))
        .with_state(documents)
}

async fn page() -> Response {
    static PAGE: OnceLock<Bytes> = OnceLock::new();
    let page = PAGE.get_or_init(|| {
        let page = Swagger::new("/api/docs-json").with_title("Penguin Pool API").html();
        // Swagger UI asks an outside validator about the document unless told not to.
        page.replacen("url: '", "validatorUrl: null,\n        url: '", 1).into()
    });
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY),
    ];
    (headers, page.clone()).into_response()
}

async fn json(State(documents): State<Documents>, ValidQuery(query): ValidQuery<DocumentQuery>) -> Response {
    let text = match query.version {
        Version::V3_0 => documents.json_3_0,
        Version::V3_1 => documents.json,
    };
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn yaml(State(documents): State<Documents>, ValidQuery(query): ValidQuery<DocumentQuery>) -> Response {
    let text = match query.version {
        Version::V3_0 => documents.yaml_3_0,
        Version::V3_1 => documents.yaml,
    };
    ([(header::CONTENT_TYPE, "application/yaml")], text).into_response()
}
