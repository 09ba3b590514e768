//! What hyper answers by itself gets the body that every error has.
//!
//! A request whose head cannot be read (it is no HTTP, its URI or its headers are too large) never comes to the router:
//! hyper answers 400, 414 or 431 with no body, closes the connection, and lets nobody take part in that. So the answer is
//! recognised on its way out. It is one write, the first of the answer's, that is a head and nothing else, and it lacks the
//! request id that every answer of the router has.

use crate::http::{ApiError, Context, outside};
use event_store::ErrorCode;
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{self, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The statuses that hyper answers by itself, as the first line of an answer has them.
const OWN: [(&[u8], ErrorCode, &str); 3] = [
    (b"HTTP/1.1 400 ", ErrorCode::ValidationFailed, "This is not an HTTP request that can be read"),
    (b"HTTP/1.1 414 ", ErrorCode::UriTooLong, "The URI is longer than 65534 bytes"),
    (
        b"HTTP/1.1 431 ",
        ErrorCode::HeadersTooLarge,
        "The request has more than 100 headers, or too large ones",
    ),
];

/// The longest head that is looked at: hyper's own have three short headers.
const LONGEST: usize = 512;

/// A connection that fills in the body of what hyper refuses.
#[derive(Debug)]
pub(super) struct Refused<T> {
    connection: T,
    context: Context,
    /// What stands in for a write, how much of it is written, and how long the write was.
    instead: Option<(Vec<u8>, usize, usize)>,
}

impl<T: AsyncWrite + Unpin> Refused<T> {
    pub(super) const fn new(connection: T, context: Context) -> Self {
        Self { connection, context, instead: None }
    }

    /// Writes what stands in for the write under way, if something does.
    fn poll_instead(&mut self, context: &mut task::Context<'_>) -> Poll<Option<io::Result<usize>>> {
        let Some((text, written, stands_for)) = &mut self.instead else { return Poll::Ready(None) };
        while *written < text.len() {
            match ready!(Pin::new(&mut self.connection).poll_write(context, &text[*written..])) {
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                Ok(more) => *written += more,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let stands_for = *stands_for;
        self.instead = None;
        Poll::Ready(Some(Ok(stands_for)))
    }

    fn look_at(&mut self, bytes: &[u8]) {
        if self.instead.is_none()
            && let Some(text) = self.filled_in(bytes)
        {
            self.instead = Some((text, 0, bytes.len()));
        }
    }

    fn filled_in(&self, head: &[u8]) -> Option<Vec<u8>> {
        let (_, code, message) = OWN.into_iter().find(|(start, ..)| head.starts_with(start))?;
        let text = std::str::from_utf8(head.get(..LONGEST.min(head.len()))?).ok()?;
        let lines = text.strip_suffix("\r\n\r\n").filter(|lines| !lines.contains("\r\n\r\n"))?;
        if lines.contains("x-request-id:") || !lines.contains("content-length: 0") {
            return None;
        }
        let kept = lines.split("\r\n").filter(|line| !line.starts_with("content-length:"));
        let kept: String = kept.flat_map(|line| [line, "\r\n"]).collect();
        Some(with_body(&kept, &self.context, code, message))
    }
}

/// What is said in plain to whoever speaks in plain where TLS is on.
pub(super) fn not_in_plain(context: &Context) -> Vec<u8> {
    let message = "This port speaks TLS: use https:// or wss://";
    with_body(
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n",
        context,
        ErrorCode::ValidationFailed,
        message,
    )
}

/// An answer with the body that every error has. `head` is its first lines, each with its end.
fn with_body(head: &str, context: &Context, code: ErrorCode, message: &str) -> Vec<u8> {
    let (id, body) = outside(context, |id| {
        let body = serde_json::to_string(&ApiError::new(code, message).body());
        (id.as_str().to_owned(), body.unwrap_or_default())
    });
    let length = body.len();
    format!(
        "{head}content-type: application/json\r\ncontent-length: {length}\r\n\
         x-content-type-options: nosniff\r\nx-request-id: {id}\r\n\r\n{body}"
    )
    .into()
}

impl<T: AsyncRead + Unpin> AsyncRead for Refused<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Refused<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.look_at(bytes);
        match ready!(self.poll_instead(context)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.connection).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // What hyper answers by itself has no body: its head stands alone.
        let mut filled = parts.iter().filter(|part| !part.is_empty());
        if let (Some(head), None) = (filled.next(), filled.next()) {
            self.look_at(head);
        }
        match ready!(self.poll_instead(context)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.connection).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use test_support::{MockClock, SeededIds};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn through(bytes: &[u8]) -> String {
        let context = Context { clock: Arc::new(MockClock::new()), ids: Arc::new(SeededIds::new(1)) };
        // Narrow, so that one write takes many.
        let (ours, mut theirs) = tokio::io::duplex(7);
        let bytes = bytes.to_vec();
        let writing = tokio::spawn(async move {
            let mut ours = Refused::new(ours, context);
            ours.write_all(&bytes).await.unwrap();
            ours.shutdown().await.unwrap();
        });
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        writing.await.unwrap();
        text
    }

    #[tokio::test]
    async fn what_hyper_refuses_gets_the_error_body() {
        let head = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        let text = through(head).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(
            "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ndate: now\r\n"
        ));
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["type"], &body["statusCode"]), (&"headers-too-large".into(), &431.into()));
        assert!(head.contains(body["requestId"].as_str().unwrap()), "{head}");
        assert_eq!(body["timestamp"], "2024-01-15T10:30:00.000Z");
    }

    #[tokio::test]
    async fn everything_else_goes_through_as_it_is() {
        for text in [
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nx-request-id: 1\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "{\"x\":1}",
        ] {
            assert_eq!(through(text.as_bytes()).await, text);
        }
    }
}
