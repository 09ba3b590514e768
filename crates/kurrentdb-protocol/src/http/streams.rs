//! Reading streams: parses the path, reads a page, hands it to [`super::atom`].

use super::{
    StoreOf,
    atom::{self, AllPoint, Base, Embed, Feed},
};
use axum::{
    body::Body,
    extract::{Path, RawQuery},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use event_store::{
    ContentType, Direction, Error, ErrorCode, EventStore, ReadAll, ReadFrom, ReadStream, ResolvedEvent,
    StreamName,
};
use serde_json::Value;

/// How many events a page has that asks for no number, and how many it has at the most.
const PAGE: u64 = 20;
const LARGEST_PAGE: u64 = 4096;

/// The stream of everything, which is not one to the port.
const ALL: &str = "$all";

/// An error as a node answers it: the status says everything.
pub(super) fn status(error: &Error) -> StatusCode {
    let code = error.code();
    if code == ErrorCode::InternalError {
        tracing::error!(%error, "a read for the node's HTTP interface failed");
    }
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

type Answer = Result<Response, StatusCode>;

/// What every read of a stream asks for beside its path.
struct Asked {
    base: Base,
    embed: Embed,
    resolve_links: bool,
    if_none_match: Option<String>,
    /// Whether the caller takes an event's own JSON alone, and not the Atom entry around it.
    plain: bool,
}

impl Asked {
    fn of(headers: &HeaderMap, query: Option<&str>) -> Result<Self, StatusCode> {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let accept = text("accept").unwrap_or("*/*").to_ascii_lowercase();
        let atom = accept.contains("atom+json");
        if !atom && !accept.contains("json") && !accept.contains("*/*") && !accept.contains("application/*") {
            return Err(StatusCode::NOT_ACCEPTABLE);
        }
        let embed = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("embed="));
        let links = text("kurrent-resolvelinktos").or_else(|| text("es-resolvelinktos"));
        Ok(Self {
            base: Base::of(headers),
            embed: Embed::parse(embed.unwrap_or_default()),
            resolve_links: !links.is_some_and(|v| v.eq_ignore_ascii_case("false")),
            if_none_match: text("if-none-match").map(|tag| tag.trim().trim_matches('"').to_owned()),
            plain: !atom && accept.contains("application/json"),
        })
    }

    /// The page, or 304 where the caller has it already.
    fn answer(&self, feed: &Feed) -> Response {
        let etag = feed.etag();
        if self.if_none_match.is_some() && self.if_none_match == etag {
            return StatusCode::NOT_MODIFIED.into_response();
        }
        let mut response = json(atom::MEDIA_TYPE, &feed.to_json(&self.base, self.embed));
        if let Some(etag) = etag.and_then(|e| HeaderValue::from_str(&format!("\"{e}\"")).ok()) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        // The newest page changes; a full page of older events never does, but a truncation can empty it.
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=0, no-cache, must-revalidate"));
        response
    }
}

fn json(media_type: &'static str, value: &Value) -> Response {
    ([(header::CONTENT_TYPE, media_type)], value.to_string()).into_response()
}

fn name(text: &str) -> Result<StreamName, StatusCode> {
    StreamName::new(text).map_err(|_| StatusCode::NOT_FOUND)
}

fn direction(text: &str) -> Result<Direction, StatusCode> {
    match text {
        "forward" => Ok(Direction::Forwards),
        "backward" => Ok(Direction::Backwards),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

fn count(text: &str) -> Result<u64, StatusCode> {
    let count: u64 = text.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    if count == 0 { Err(StatusCode::BAD_REQUEST) } else { Ok(count.min(LARGEST_PAGE)) }
}

/// `/streams/{stream}`: the newest page.
pub(super) async fn newest(
    StoreOf(store): StoreOf,
    Path(stream): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    let asked = Asked::of(&headers, query.as_deref())?;
    read(&*store, &stream, "head", Direction::Backwards, PAGE, &asked).await
}

/// `/streams/{stream}/{from}/{count}`: backwards.
pub(super) async fn backwards(
    StoreOf(store): StoreOf,
    Path((stream, from, number)): Path<(String, String, String)>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    let asked = Asked::of(&headers, query.as_deref())?;
    read(&*store, &stream, &from, Direction::Backwards, count(&number)?, &asked).await
}

/// `/streams/{stream}/{from}/{direction}/{count}`.
pub(super) async fn page(
    StoreOf(store): StoreOf,
    Path((stream, from, way, number)): Path<(String, String, String, String)>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    let asked = Asked::of(&headers, query.as_deref())?;
    read(&*store, &stream, &from, direction(&way)?, count(&number)?, &asked).await
}

async fn read(
    store: &dyn EventStore,
    stream: &str,
    from: &str,
    direction: Direction,
    count: u64,
    asked: &Asked,
) -> Answer {
    let limit = usize::try_from(count).unwrap_or(usize::MAX);
    let feed = if stream == ALL {
        read_all(store, from, direction, limit, asked.resolve_links).await?
    } else {
        read_stream(store, &name(stream)?, from, direction, limit, asked.resolve_links).await?
    };
    Ok(asked.answer(&feed))
}

async fn read_stream(
    store: &dyn EventStore,
    stream: &StreamName,
    from: &str,
    direction: Direction,
    limit: usize,
    resolve_links: bool,
) -> Result<Feed, StatusCode> {
    let at: Option<u64> = match from {
        "head" => None,
        number => Some(number.parse().map_err(|_| StatusCode::BAD_REQUEST)?),
    };
    let from = at.map_or(ReadFrom::End, ReadFrom::At);
    let options = ReadStream { from, direction, resolve_links, ..ReadStream::forwards(limit) };
    let page = store.read_stream(stream, options).await.map_err(|e| status(&e))?;
    let first = at.unwrap_or(match direction {
        Direction::Backwards => page.last_revision,
        Direction::Forwards => page.last_revision.saturating_add(1),
    });
    Ok(Feed::of_stream(stream, direction, first, at.is_none(), limit as u64, page))
}

async fn read_all(
    store: &dyn EventStore,
    from: &str,
    direction: Direction,
    limit: usize,
    resolve_links: bool,
) -> Result<Feed, StatusCode> {
    let point = match from {
        "head" => None,
        text => Some(AllPoint::parse(text).ok_or(StatusCode::BAD_REQUEST)?),
    };
    let from = point.map_or(ReadFrom::End, |point| point.read_from(direction));
    let options = ReadAll { from, direction, resolve_links, ..ReadAll::forwards(limit) };
    let page = store.read_all(options).await.map_err(|e| status(&e))?;
    Ok(Feed::of_all(direction, point.is_none(), point == Some(AllPoint::START), limit as u64, page))
}

/// `/streams/{stream}/{event}`: one event, by its number, or the newest (`head`).
pub(super) async fn event(
    StoreOf(store): StoreOf,
    Path((stream, number)): Path<(String, String)>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    let asked = Asked::of(&headers, query.as_deref())?;
    let stream = name(&stream)?;
    let options = match number.as_str() {
        "head" => ReadStream::backwards(1),
        number => {
            let revision = number.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
            ReadStream::forwards(1).from(ReadFrom::At(revision))
        }
    };
    let options = ReadStream { resolve_links: asked.resolve_links, ..options };
    let page = store.read_stream(&stream, options).await.map_err(|e| status(&e))?;
    let found = page.events.into_iter().next().filter(|event| is_at(event, &number));
    let found = found.ok_or(StatusCode::NOT_FOUND)?;
    if !asked.plain {
        let entry = atom::entry_with_content(&found, &asked.base).ok_or(StatusCode::NOT_FOUND)?;
        return Ok(json(atom::MEDIA_TYPE, &entry));
    }
    let event = found.event.ok_or(StatusCode::NOT_FOUND)?;
    let media_type = match event.content_type {
        ContentType::Json => "application/json; charset=utf-8",
        ContentType::Binary => "application/octet-stream",
    };
    Ok(([(header::CONTENT_TYPE, media_type)], Body::from(event.data)).into_response())
}

/// A read from a truncated event leads on to the next that is there; that is not the one that was asked for.
fn is_at(event: &ResolvedEvent, number: &str) -> bool {
    number == "head" || event.original().is_some_and(|e| e.revision.to_string() == number)
}

/// `/streams/{stream}/metadata`.
pub(super) async fn metadata(StoreOf(store): StoreOf, Path(stream): Path<String>) -> Answer {
    let found = store.metadata(&name(&stream)?).await.map_err(|e| status(&e))?;
    Ok(json("application/json; charset=utf-8", &Value::Object(found.metadata.to_map())))
}
