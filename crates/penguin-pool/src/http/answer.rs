//! What success looks like.

use super::context;
use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{MediaType, Operation, Response as ApiResponse, SchemaObject, StatusCode as ApiStatus},
};
use axum::{
    Json,
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::Stream;
use models::DateTime;
use schemars::JsonSchema;
use serde::Serialize;
use std::marker::PhantomData;

/// The envelope of every successful answer of `/api/streams`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Answer")]
pub(super) struct Envelope<T> {
    #[schemars(extend("const" = true))]
    success: bool,
    data: T,
    /// When the answer was given.
    timestamp: DateTime,
}

pub(super) fn envelope<T: Serialize>(status: StatusCode, data: T) -> Response {
    (status, Json(Envelope { success: true, data, timestamp: context::now() })).into_response()
}

pub(super) fn document<T: JsonSchema>(
    ctx: &mut GenContext,
    op: &mut Operation,
    description: &str,
) -> Option<ApiResponse> {
    let mut response = <Json<T> as OperationOutput>::operation_response(ctx, op)?;
    response.description = description.into();
    Some(response)
}

macro_rules! answer {
    ($name:ident, $status:expr, $words:literal) => {
        impl<T: Serialize> IntoResponse for $name<T> {
            fn into_response(self) -> Response {
                envelope($status, self.0)
            }
        }

        impl<T: JsonSchema> OperationOutput for $name<T> {
            type Inner = T;

            fn operation_response(ctx: &mut GenContext, op: &mut Operation) -> Option<ApiResponse> {
                document::<Envelope<T>>(ctx, op, $words)
            }

            fn inferred_responses(
                ctx: &mut GenContext,
                op: &mut Operation,
            ) -> Vec<(Option<ApiStatus>, ApiResponse)> {
                let response = Self::operation_response(ctx, op);
                response.map(|r| (Some(ApiStatus::Code($status.as_u16())), r)).into_iter().collect()
            }
        }
    };
}

/// 200: `{success:true,data,timestamp}`.
#[derive(Debug)]
pub struct Success<T>(pub T);
answer!(Success, StatusCode::OK, "Done");

/// 201: `{success:true,data,timestamp}`.
#[derive(Debug)]
pub struct Created<T>(pub T);
answer!(Created, StatusCode::CREATED, "Written");

/// 200: a picture.
#[derive(Debug)]
pub struct Svg(pub String);

impl IntoResponse for Svg {
    fn into_response(self) -> Response {
        // Nobody is to keep it long: it shows how something is now. Opened by itself it may load and run nothing.
        let headers = [
            (header::CONTENT_TYPE, "image/svg+xml"),
            (header::CACHE_CONTROL, "no-cache, max-age=0"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
        ];
        (headers, self.0).into_response()
    }
}

impl OperationOutput for Svg {
    type Inner = Self;

    fn operation_response(_: &mut GenContext, _: &mut Operation) -> Option<ApiResponse> {
        let schema = schemars::json_schema!({ "type": "string" });
        let media = MediaType {
            schema: Some(SchemaObject { json_schema: schema, example: None, external_docs: None }),
            ..MediaType::default()
        };
        Some(ApiResponse {
            description: "A picture".into(),
            content: [("image/svg+xml".to_owned(), media)].into_iter().collect(),
            ..ApiResponse::default()
        })
    }

    fn inferred_responses(ctx: &mut GenContext, op: &mut Operation) -> Vec<(Option<ApiStatus>, ApiResponse)> {
        Self::operation_response(ctx, op).map(|r| (Some(ApiStatus::Code(200)), r)).into_iter().collect()
    }
}

/// 200: a JSON document without the envelope, to be kept as a file, written while it is read. `T` is what it is.
pub struct Download<T> {
    name: String,
    body: Body,
    document: PhantomData<fn() -> T>,
}

impl<T> Download<T> {
    /// A document of these pieces, and the name to keep it under. An error among them cuts the answer off.
    pub fn new(name: String, pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Self {
        Self { name, body: Body::from_stream(pieces), document: PhantomData }
    }
}

impl<T> std::fmt::Debug for Download<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T> IntoResponse for Download<T> {
    fn into_response(self) -> Response {
        // No character that needs quoting: whoever names a file keeps to letters, digits and `._-`.
        let name: String =
            self.name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
        let headers = [
            (header::CONTENT_TYPE, "application/json".to_owned()),
            (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
            (header::CACHE_CONTROL, "no-store".to_owned()),
        ];
        (headers, self.body).into_response()
    }
}

impl<T: JsonSchema> OperationOutput for Download<T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, op: &mut Operation) -> Option<ApiResponse> {
        document::<T>(ctx, op, "A document to be kept")
    }

    fn inferred_responses(ctx: &mut GenContext, op: &mut Operation) -> Vec<(Option<ApiStatus>, ApiResponse)> {
        Self::operation_response(ctx, op).map(|r| (Some(ApiStatus::Code(200)), r)).into_iter().collect()
    }
}

/// A finding without the envelope: 200 if all is well, else 503 with the same body.
#[derive(Debug)]
pub struct Checked<T> {
    /// Whether all is well.
    pub ok: bool,
    /// What was found.
    pub body: T,
}

impl<T: Serialize> IntoResponse for Checked<T> {
    fn into_response(self) -> Response {
        let status = if self.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(self.body)).into_response()
    }
}

impl<T: JsonSchema> OperationOutput for Checked<T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, op: &mut Operation) -> Option<ApiResponse> {
        document::<T>(ctx, op, "All is well")
    }

    fn inferred_responses(ctx: &mut GenContext, op: &mut Operation) -> Vec<(Option<ApiStatus>, ApiResponse)> {
        let ill = document::<T>(ctx, op, "Something is wrong; the body says what");
        let well = Self::operation_response(ctx, op);
        [(200, well), (503, ill)]
            .into_iter()
            .filter_map(|(status, response)| Some((Some(ApiStatus::Code(status)), response?)))
            .collect()
    }
}
