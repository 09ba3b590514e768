//! Extractors that turn every rejection into the error body, and that document themselves.

use super::{
    ApiError, Detail,
    routes::{camel_case, refuses},
    strict::Strict,
};
use crate::security::{Caller, Credentials};
use aide::{OperationInput, generate::GenContext, openapi::Operation};
use axum::{
    Json,
    body::{Body, Bytes, HttpBody as _},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};
use event_store::ErrorCode;
use futures::StreamExt as _;
use garde::Validate;
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::{convert::Infallible, net::IpAddr, time::Duration};

/// The largest body that is taken, in bytes.
pub const BODY_LIMIT: usize = 16 << 20;

/// The deepest nesting of objects and arrays that is taken.
const DEPTH_LIMIT: usize = 128;

/// How much of a refused body is read and thrown away, so that its sender gets to read the answer.
const DISCARD_LIMIT: usize = 64 << 20;

/// A JSON body that kept all the rules of its type.
#[derive(Debug)]
pub struct ValidJson<T>(pub T);

impl<T: DeserializeOwned + Validate<Context = ()>, S: Send + Sync> FromRequest<S> for ValidJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            discard(&parts.headers, body);
            let message = "The content type must be application/json";
            return Err(ApiError::new(ErrorCode::UnsupportedMediaType, message));
        }
        let bytes = read(&parts.headers, body).await?;
        if nests_deeper(&bytes, DEPTH_LIMIT) {
            let message = format!("The body nests deeper than {DEPTH_LIMIT}");
            return Err(ApiError::new(ErrorCode::InvalidJson, message));
        }
        valid(parse(&bytes)?).map(Self)
    }
}

/// JSON that came by another way than a body, held to all the rules of its type.
///
/// # Errors
/// As [`ValidJson`] refuses a body.
pub fn valid_text<T: DeserializeOwned + Validate<Context = ()>>(text: &str) -> Result<T, ApiError> {
    valid(parse(text.as_bytes())?)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let refuse = |message: String| ApiError::new(ErrorCode::InvalidJson, message);
    let no_json = |e| refuse(format!("The body is not JSON: {e}"));
    let text = std::str::from_utf8(bytes).map_err(|e| refuse(format!("The body is not UTF-8: {e}")))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(Strict(&mut json));
    // What is wrong with one part hides what comes after it, and a text that is no JSON has no shape.
    if value.is_err() {
        serde_json::from_str::<IgnoredAny>(text).map_err(no_json)?;
    }
    if let Some(escape) = lone_surrogate(text) {
        return Err(refuse(format!("The body has '{escape}', which is half a character")));
    }
    let value =
        value.map_err(|e| ApiError::invalid(vec![fault(&e.path().to_string(), &e.inner().to_string())]))?;
    json.end().map_err(no_json)?;
    Ok(value)
}

/// The first escape in a text of JSON that is one half of a pair without the other. What is kept as it came is not
/// decoded here, and others could not decode it.
fn lone_surrogate(json: &str) -> Option<&str> {
    let half = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok().filter(|code| (0xD800..=0xDFFF).contains(code))
    };
    let mut from = 0;
    while let Some(found) = json.get(from..)?.find('\\') {
        let at = from + found;
        from = at + 2;
        if let Some(code) = half(at) {
            let pair = code < 0xDC00 && half(at + 6).is_some_and(|second| second >= 0xDC00);
            if !pair {
                return json.get(at..at + 6);
            }
            from = at + 12;
        }
    }
    None
}

/// A fault of shape. serde calls the whole `.` and a part that it does not know `?`, and names a missing or repeated
/// field in its sentence alone.
fn fault(path: &str, message: &str) -> Detail {
    Detail::new(faulty(path, message), message)
}

/// The path of a fault of shape, as clients know it.
pub(crate) fn faulty(path: &str, message: &str) -> String {
    let mut path = path.trim_end_matches('?').trim_end_matches('.').to_owned();
    let named = ["missing field `", "duplicate field `"].iter().find_map(|start| message.strip_prefix(start));
    if let Some((field, _)) = named.and_then(|rest| rest.split_once('`')) {
        let dot = if path.is_empty() { "" } else { "." };
        path = format!("{path}{dot}{field}");
    }
    path
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(|v| v.to_str()) else { return false };
    let media = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

/// The body, if it is not too large. One that says so itself is not read; another is read no further than the limit.
async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let too_large = || {
        let message = format!("The body is larger than {BODY_LIMIT} bytes");
        Err(ApiError::new(ErrorCode::PayloadTooLarge, message))
    };
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        discard(headers, body);
        return too_large();
    }
    // A sender that only says that much comes is not given the memory before it does.
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(1 << 16);
    let mut read = Vec::with_capacity(expected);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk
            .map_err(|e| ApiError::new(ErrorCode::InvalidJson, format!("The body could not be read: {e}")))?;
        if read.len() + chunk.len() > BODY_LIMIT {
            drop(read);
            discard(headers, Body::from_stream(chunks));
            return too_large();
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.into())
}

/// Reads what is left of a refused body and keeps none of it: a sender whose connection is cut in the middle of a body
/// often never sees the answer. One who waits to be asked for the body (`Expect`) is not asked.
pub(crate) fn discard(headers: &HeaderMap, body: Body) {
    if headers.contains_key(header::EXPECT) || body.is_end_stream() {
        return;
    }
    let mut chunks = body.into_data_stream();
    tokio::spawn(tokio::time::timeout(Duration::from_secs(10), async move {
        let mut left = DISCARD_LIMIT;
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    }));
}

/// Whether objects and arrays nest deeper than `limit`. Only the brackets outside of strings are looked at; whether the
/// text is JSON at all is the parser's to say.
fn nests_deeper(text: &[u8], limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

impl<T: JsonSchema> OperationInput for ValidJson<T> {
    fn operation_input(ctx: &mut GenContext, op: &mut Operation) {
        Json::<T>::operation_input(ctx, op);
        refuses(
            op,
            &[
                ErrorCode::ValidationFailed,
                ErrorCode::InvalidJson,
                ErrorCode::PayloadTooLarge,
                ErrorCode::UnsupportedMediaType,
            ],
        );
    }
}

/// Path parameters that kept all the rules of their type.
#[derive(Debug)]
pub struct ValidPath<T>(pub T);

impl<T, S> FromRequestParts<S> for ValidPath<T>
where
    T: DeserializeOwned + Validate<Context = ()> + Send,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let refuse = |message: String| ApiError::invalid(vec![Detail::new("path", message)]);
        well_encoded(parts.uri.path()).map_err(|e| refuse(e.to_owned()))?;
        let Path(value) =
            Path::<T>::from_request_parts(parts, state).await.map_err(|e| refuse(e.body_text()))?;
        valid(value).map(Self)
    }
}

impl<T: JsonSchema> OperationInput for ValidPath<T> {
    fn operation_input(ctx: &mut GenContext, op: &mut Operation) {
        Path::<T>::operation_input(ctx, op);
        refuses(op, &[ErrorCode::ValidationFailed]);
    }
}

/// A query that kept all the rules of its type.
#[derive(Debug)]
pub struct ValidQuery<T>(pub T);

impl<T, S> FromRequestParts<S> for ValidQuery<T>
where
    T: DeserializeOwned + Validate<Context = ()> + Send,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        well_encoded(query).map_err(|e| ApiError::invalid(vec![Detail::new("query", e)]))?;
        let pairs = form_urlencoded::parse(query.as_bytes());
        let value: T = serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
            .map_err(|e| ApiError::invalid(vec![fault(&e.path().to_string(), &e.inner().to_string())]))?;
        valid(value).map(Self)
    }
}

impl<T: JsonSchema> OperationInput for ValidQuery<T> {
    fn operation_input(ctx: &mut GenContext, op: &mut Operation) {
        Query::<T>::operation_input(ctx, op);
        refuses(op, &[ErrorCode::ValidationFailed]);
    }
}

/// Whether each `%` is followed by two hexadecimal digits, and the whole is UTF-8 once decoded. The decoders below
/// replace what is broken instead of refusing it.
fn well_encoded(text: &str) -> Result<(), &'static str> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("a '%' must be followed by two hexadecimal digits");
        };
        decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    std::str::from_utf8(&decoded)
        .map(|_| ())
        .map_err(|_| "it is not UTF-8 once its percent-encoding is decoded")
}

/// The value, if it keeps its rules; else every rule that it breaks, by the names that clients know.
fn valid<T: Validate<Context = ()>>(value: T) -> Result<T, ApiError> {
    value.validate().map_err(|report| {
        let details = report.iter().map(|(path, e)| Detail::new(named(&path.to_string()), e.message()));
        ApiError::invalid(details.collect())
    })?;
    Ok(value)
}

/// A path in the names that clients know: `r#where[0].event_type` as `where[0].eventType`.
fn named(path: &str) -> String {
    camel_case(&path.replace("r#", ""))
}

/// Who calls: what the authenticating layer found. Where it stands not around a route, nobody is known.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::anonymous))
    }
}

impl OperationInput for Caller {}

/// The credentials of a request as they came, for an operation that judges them itself, and where it came from.
#[derive(Debug)]
pub struct Presented {
    /// The credentials.
    pub credentials: Credentials,
    /// The address, if it is known.
    pub from: Option<IpAddr>,
}

/// The address that a request came from, as the layers found it.
#[derive(Debug, Clone, Copy)]
pub struct CameFrom(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Presented {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let from = parts.extensions.get::<CameFrom>().and_then(|came| came.0);
        Ok(Self { credentials: credentials(&parts.headers), from })
    }
}

impl OperationInput for Presented {}

/// The header that carries an API key.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The credentials in a request's headers.
#[must_use]
pub fn credentials(headers: &HeaderMap) -> Credentials {
    let values = |name| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    Credentials::from_headers(values(header::AUTHORIZATION), values(X_API_KEY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert!(!nests_deeper(br#"{"a":"[[[[\"[[","b":[]}"#, 2));
        assert!(nests_deeper(br#"{"a":[[]]}"#, 2));
    }

    #[test]
    fn half_a_character_is_told_from_a_whole_one() {
        for whole in
            [r#""\ud83d\ude00""#, r#""\\ud83d""#, r#""\u00e9 é \n""#, "{}", r#""\ud83d\ude00\ud83d\ude00""#]
        {
            assert_eq!(lone_surrogate(whole), None, "{whole}");
        }
        for (half, found) in [
            (r#""\ud83d""#, r"\ud83d"),
            (r#""\uD83Dx""#, r"\uD83D"),
            (r#""\ude00\ud83d""#, r"\ude00"),
            (r#""é\\\ud83d\ud83d""#, r"\ud83d"),
            (r#"{"\udead":1}"#, r"\udead"),
        ] {
            assert_eq!(lone_surrogate(half), Some(found), "{half}");
        }
    }

    #[test]
    fn broken_encodings_are_told_from_good_ones() {
        assert!(well_encoded("a%20b=%C3%A9").is_ok());
        for bad in ["%", "%4", "%zz", "%ff", "a%C3"] {
            assert!(well_encoded(bad).is_err(), "{bad}");
        }
    }
}
