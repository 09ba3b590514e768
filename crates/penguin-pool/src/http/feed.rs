//! Server-Sent Events.

use super::{ApiError, Detail, routes::refuses};
use aide::{
    OperationInput, OperationOutput,
    generate::GenContext,
    openapi::{
        HeaderStyle, MediaType, Operation, Parameter, ParameterData, ParameterSchemaOrContent, ReferenceOr,
        Response as ApiResponse, SchemaObject, StatusCode as ApiStatus,
    },
};
use axum::{
    body::{Body, Bytes},
    extract::FromRequestParts,
    http::{header, request::Parts},
    response::{IntoResponse, Response},
};
use event_store::ErrorCode;
use futures::{Stream, StreamExt as _, stream};
use schemars::json_schema;
use std::{convert::Infallible, fmt::Write as _, marker::PhantomData, pin::Pin, time::Duration};

/// How long a feed may be silent before a comment keeps it alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A frame of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SseFrame {
    /// What to resume after.
    pub id: Option<String>,
    /// The frame's kind; nothing for a plain message.
    pub event: Option<&'static str>,
    /// The message; nothing for a frame that only moves the id.
    pub data: Option<String>,
}

impl SseFrame {
    /// The frame as it is sent.
    #[must_use]
    pub fn text(&self) -> Bytes {
        let mut text = String::new();
        if let Some(event) = self.event {
            let _ = writeln!(text, "event: {event}");
        }
        if let Some(id) = &self.id {
            let _ = writeln!(text, "id: {id}");
        }
        // Each of the three line ends of the format ends a line: JSON can have them between its tokens.
        for line in self.data.iter().flat_map(|data| data.split(['\n', '\r'])) {
            let _ = writeln!(text, "data: {line}");
        }
        text.push('\n');
        text.into()
    }
}

/// An answer that goes on for as long as its frames come, kept alive by comments. `T` is what its messages are.
pub struct Sse<T> {
    frames: Pin<Box<dyn Stream<Item = SseFrame> + Send>>,
    messages: PhantomData<fn() -> T>,
}

impl<T> Sse<T> {
    /// An answer of these frames.
    pub fn new(frames: impl Stream<Item = SseFrame> + Send + 'static) -> Self {
        Self { frames: Box::pin(frames), messages: PhantomData }
    }
}

impl<T> std::fmt::Debug for Sse<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sse").finish_non_exhaustive()
    }
}

impl<T> IntoResponse for Sse<T> {
    fn into_response(self) -> Response {
        let frames = stream::unfold(self.frames, |mut frames| async move {
            let text = match tokio::time::timeout(KEEP_ALIVE, frames.next()).await {
                Ok(frame) => frame?.text(),
                Err(_) => Bytes::from_static(b": still here\n\n"),
            };
            Some((Ok::<_, Infallible>(text), frames))
        });
        // A first comment at once: some proxies hold the headers back until there is a body.
        let hello = stream::once(async { Ok(Bytes::from_static(b": here\n\n")) });
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-cache, no-transform"),
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        (headers, Body::from_stream(hello.chain(frames))).into_response()
    }
}

impl<T: schemars::JsonSchema> OperationOutput for Sse<T> {
    type Inner = T;

    fn inferred_responses(ctx: &mut GenContext, _: &mut Operation) -> Vec<(Option<ApiStatus>, ApiResponse)> {
        let message = ctx.schema.subschema_for::<T>();
        let schema = json_schema!({
            "type": "string",
            "description": "Server-Sent Events. The data of a message is JSON; see `x-message`.",
            "x-message": message,
        });
        let media = MediaType {
            schema: Some(SchemaObject { json_schema: schema, example: None, external_docs: None }),
            ..MediaType::default()
        };
        let response = ApiResponse {
            description: "A feed that goes on until either side ends it".into(),
            content: [("text/event-stream".to_owned(), media)].into_iter().collect(),
            ..ApiResponse::default()
        };
        vec![(Some(ApiStatus::Code(200)), response)]
    }
}

/// The header `Last-Event-ID`: what a feed is to go on after. `-1` is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastEventId(pub Option<Option<u64>>);

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get("last-event-id") else { return Ok(Self(None)) };
        match value.to_str().unwrap_or_default() {
            "" => Ok(Self(None)),
            "-1" => Ok(Self(Some(None))),
            text => match text.parse::<u64>() {
                Ok(id) if i64::try_from(id).is_ok() => Ok(Self(Some(Some(id)))),
                _ => Err(ApiError::invalid(vec![Detail::new(
                    "Last-Event-ID",
                    "must be an id that a feed gave out",
                )])),
            },
        }
    }
}

impl OperationInput for LastEventId {
    fn operation_input(_: &mut GenContext, op: &mut Operation) {
        let schema = json_schema!({ "type": "string", "pattern": "^(-1|[0-9]{1,19})?$" });
        let parameter_data = ParameterData {
            name: "Last-Event-ID".into(),
            description: Some(
                "The id of the last frame seen: the feed goes on after it. It outweighs `from`.".into(),
            ),
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
        refuses(op, &[ErrorCode::ValidationFailed]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_stands_in_lines_whatever_its_data_is_broken_by() {
        let frame = SseFrame { id: Some("7".into()), event: None, data: Some("{\n\"a\":\r1}".into()) };
        assert_eq!(frame.text(), "id: 7\ndata: {\ndata: \"a\":\ndata: 1}\n\n");
        let mark = SseFrame { id: Some("8".into()), ..SseFrame::default() };
        assert_eq!(mark.text(), "id: 8\n\n");
    }
}
