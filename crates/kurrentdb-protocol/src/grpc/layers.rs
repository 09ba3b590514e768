//! What stands around every gRPC call.

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, Uri, header::HeaderValue},
    middleware::Next,
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Sleep;
use tonic::{Code, Status};

/// The host and port by which a client reached this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Lets a call know its [`Authority`], which gRPC itself hides from it.
pub(crate) async fn authority(mut request: Request, next: Next) -> Response {
    let named = request.uri().authority().map(|a| (a.host().to_owned(), a.port_u16()));
    if let Some((host, port)) = named {
        // An authority without a port came by the scheme's own.
        let own = if request.uri().scheme_str() == Some("https") { 443 } else { 80 };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        request.extensions_mut().insert(Authority { host, port: port.unwrap_or(own) });
    }
    next.run(request).await
}

/// Ends a call that is not answered to its end within its `grpc-timeout`, however long the answer goes on.
pub(crate) async fn deadline(request: Request, next: Next) -> Response {
    let value = request.headers().get("grpc-timeout").map(HeaderValue::as_bytes);
    let Some(timeout) = value.map(parse_timeout) else { return next.run(request).await };
    let Some(timeout) = timeout else {
        return super::status::invalid("grpc-timeout cannot be read").into_http();
    };
    let mut over = Box::pin(tokio::time::sleep(timeout));
    tokio::select! {
        response = next.run(request) => response.map(|inner| Body::new(Timed { inner, over: Some(over) })),
        () = &mut over => exceeded().into_http(),
    }
}

fn exceeded() -> Status {
    Status::deadline_exceeded("Deadline Exceeded")
}

/// An answer that is broken off when its time is over.
struct Timed {
    inner: Body,
    /// Nothing once it was.
    over: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(over) = &mut self.over else { return Poll::Ready(None) };
        if over.as_mut().poll(cx).is_pending() {
            return Pin::new(&mut self.inner).poll_frame(cx);
        }
        // What the call holds is let go of now. Its head is gone already, so the status stands at the end.
        self.over = None;
        self.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        Poll::Ready(exceeded().add_header(&mut trailers).is_ok().then(|| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// One to eight digits and a unit.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Says of a call that nobody serves, that nobody serves it.
pub(crate) async fn not_served(request: Request) -> Result<Response, Infallible> {
    Ok(unserved(request.uri()).into_http())
}

/// Says the same of a method that a service does not have, of which tonic gives the code alone.
pub(crate) async fn explained(request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    let response = next.run(request).await;
    let headers = response.headers();
    let unimplemented = HeaderValue::from(Code::Unimplemented as i32);
    let unexplained =
        headers.get("grpc-status") == Some(&unimplemented) && !headers.contains_key("grpc-message");
    if unexplained { unserved(&uri).into_http() } else { response }
}

fn unserved(uri: &Uri) -> Status {
    let path = uri.path();
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let what = match service {
        "event_store.client.projections.Projections" => "there is no projection engine here".to_owned(),
        _ => format!("nothing is served at {}", path.chars().take(200).collect::<String>()),
    };
    Status::unimplemented(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit_and_refused_when_malformed() {
        let read = |text: &str| parse_timeout(text.as_bytes());
        assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(read("10000000u"), Some(Duration::from_secs(10)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for bad in ["", "S", "10", "-1S", "123456789S", "1x", "1 S"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
