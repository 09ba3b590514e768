//! Entity tags: answers that a client may hold, and writes that hold only for what it has seen.

use super::{
    ApiError, Detail,
    answer::{self, Envelope},
    routes::refuses,
};
use aide::{
    OperationInput, OperationOutput,
    generate::GenContext,
    openapi::{
        HeaderStyle, Operation, Parameter, ParameterData, ParameterSchemaOrContent, ReferenceOr,
        Response as ApiResponse, SchemaObject, StatusCode as ApiStatus,
    },
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use event_store::ErrorCode;
use schemars::{JsonSchema, json_schema};
use serde::Serialize;

/// Entity tags that a client names: any, or some. A tag of this service is a revision in quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`.
    Any,
    /// These revisions.
    Of(Vec<u64>),
}

/// The headers `If-Match` and `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preconditions {
    /// Go on only for one of these.
    pub if_match: Option<Tags>,
    /// Go on only for none of these.
    pub if_none_match: Option<Tags>,
}

impl<S: Send + Sync> FromRequestParts<S> for Preconditions {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self {
            if_match: tags(&parts.headers, &header::IF_MATCH)?,
            if_none_match: tags(&parts.headers, &header::IF_NONE_MATCH)?,
        })
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    let mut revisions = None::<Vec<u64>>;
    for value in headers.get_all(name) {
        let text = value.to_str().unwrap_or("\u{fffd}").trim();
        if text == "*" {
            return Ok(Some(Tags::Any));
        }
        for tag in text.split(',').map(str::trim) {
            let digits = tag.strip_prefix("W/").unwrap_or(tag);
            let digits = digits.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let sound = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let Some(revision) = digits.filter(sound).and_then(|text| text.parse().ok()) else {
                let message = "must be `*`, or entity tags that the service gave out: \"7\"";
                return Err(ApiError::invalid(vec![Detail::new(title(name), message)]));
            };
            revisions.get_or_insert_default().push(revision);
        }
    }
    Ok(revisions.map(Tags::Of))
}

/// The header as people write it.
fn title(name: &HeaderName) -> &'static str {
    if name == header::IF_MATCH { "If-Match" } else { "If-None-Match" }
}

impl OperationInput for Preconditions {
    fn operation_input(_: &mut GenContext, op: &mut Operation) {
        for (name, about) in [
            (
                "If-Match",
                "Entity tags: a write goes on only if what is there has one of them (`*`: if anything is there).",
            ),
            (
                "If-None-Match",
                "Entity tags: a read answers 304 if what is there has one of them; a write takes `*` alone, and goes on only if nothing is there.",
            ),
        ] {
            let schema = json_schema!({ "type": "string", "examples": ["\"7\""] });
            let parameter_data = ParameterData {
                name: name.into(),
                description: Some(about.into()),
                required: false,
                deprecated: None,
                format: ParameterSchemaOrContent::Schema(SchemaObject {
                    json_schema: schema,
                    example: None,
                    external_docs: None,
                }),
                example: None,
                examples: Default::default(),
                explode: None,
                extensions: Default::default(),
            };
            op.parameters
                .push(ReferenceOr::Item(Parameter::Header { parameter_data, style: HeaderStyle::Simple }));
        }
        refuses(op, &[ErrorCode::ValidationFailed]);
    }
}

/// 200 with an `ETag`: `{success:true,data,timestamp}`.
#[derive(Debug)]
pub struct Tagged<T> {
    data: T,
    revision: u64,
}

impl<T> Tagged<T> {
    /// An answer whose tag is a revision.
    pub const fn new(data: T, revision: u64) -> Self {
        Self { data, revision }
    }

    /// The same for a client that may have it.
    #[must_use]
    pub fn unless(self, preconditions: &Preconditions) -> Held<T> {
        match &preconditions.if_none_match {
            Some(Tags::Any) => Held::Known(self.revision),
            Some(Tags::Of(revisions)) if revisions.contains(&self.revision) => Held::Known(self.revision),
            _ => Held::New(self),
        }
    }
}

/// [`Tagged`], or 304 without a body for a client that has it.
#[derive(Debug)]
pub enum Held<T> {
    /// The client does not have it.
    New(Tagged<T>),
    /// The client has this revision.
    Known(u64),
}

fn tag(mut response: Response, revision: u64) -> Response {
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        headers.insert(header::ETAG, tag);
    }
    // It is somebody's own: no cache between may keep it.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        tag(answer::envelope(StatusCode::OK, self.data), self.revision)
    }
}

impl<T: Serialize> IntoResponse for Held<T> {
    fn into_response(self) -> Response {
        match self {
            Self::New(tagged) => tagged.into_response(),
            Self::Known(revision) => tag(StatusCode::NOT_MODIFIED.into_response(), revision),
        }
    }
}

impl<T: JsonSchema> OperationOutput for Tagged<T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, op: &mut Operation) -> Option<ApiResponse> {
        answer::document::<Envelope<T>>(ctx, op, "Done; the header `ETag` has the revision in quotes")
    }

    fn inferred_responses(ctx: &mut GenContext, op: &mut Operation) -> Vec<(Option<ApiStatus>, ApiResponse)> {
        let response = Self::operation_response(ctx, op);
        response.map(|r| (Some(ApiStatus::Code(200)), r)).into_iter().collect()
    }
}

impl<T: JsonSchema> OperationOutput for Held<T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, op: &mut Operation) -> Option<ApiResponse> {
        Tagged::<T>::operation_response(ctx, op)
    }

    fn inferred_responses(ctx: &mut GenContext, op: &mut Operation) -> Vec<(Option<ApiStatus>, ApiResponse)> {
        let known = ApiResponse {
            description: "The client has what is there: `If-None-Match` names it".into(),
            ..ApiResponse::default()
        };
        let mut responses = Tagged::<T>::inferred_responses(ctx, op);
        responses.push((Some(ApiStatus::Code(304)), known));
        responses
    }
}
