//! What stands around every gRPC call.

use axum::{extract::Request, middleware::Next, response::Response};
use std::{convert::Infallible, time::Duration};
use tonic::Status;

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
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        request.extensions_mut().insert(Authority { host, port: port.unwrap_or(80) });
    }
    next.run(request).await
}

/// Ends a call that did not begin to answer within its `grpc-timeout`.
pub(crate) async fn deadline(request: Request, next: Next) -> Response {
    let value = request.headers().get("grpc-timeout").map(|v| v.as_bytes().to_vec());
    match value.as_deref().map(parse_timeout) {
        None => next.run(request).await,
        Some(None) => super::status::invalid("grpc-timeout cannot be read").into_http(),
        Some(Some(timeout)) => match tokio::time::timeout(timeout, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Status::deadline_exceeded("Deadline Exceeded").into_http(),
        },
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
    let path = request.uri().path();
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let what = match service {
        "event_store.client.projections.Projections" => "there is no projection engine here".to_owned(),
        _ => format!("nothing is served at {}", path.chars().take(200).collect::<String>()),
    };
    Ok(Status::unimplemented(what).into_http())
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
