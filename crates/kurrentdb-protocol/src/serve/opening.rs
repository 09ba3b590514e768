//! A connection that says nothing ends: as long as nobody knows which protocol it speaks, nobody else watches it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// By so many bytes the protocols are told apart: HTTP/2 begins with 24 of its own, and no request that HTTP/1.1 takes is
/// shorter.
const ENOUGH: usize = 24;

/// A connection whose reads fail with `TimedOut` where the first bytes do not come in time.
#[derive(Debug)]
pub(super) struct Opening<T> {
    connection: T,
    missing: usize,
    /// Nothing once enough has come, or something was answered.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<T> Opening<T> {
    pub(super) fn new(connection: T, patience: Duration) -> Self {
        Self { connection, missing: ENOUGH, deadline: Some(Box::pin(sleep(patience))) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Opening<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.connection).poll_read(context, buffer);
        let Some(deadline) = &mut self.deadline else { return read };
        if read.is_pending() {
            return deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        self.missing = self.missing.saturating_sub(buffer.filled().len() - before);
        if self.missing == 0 {
            self.deadline = None;
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Opening<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.deadline = None;
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.deadline = None;
        Pin::new(&mut self.connection).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_too_little_is_let_go() {
        for said in [&b""[..], b"PRI * HTTP/2"] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            theirs.write_all(said).await.unwrap();
            let error = Opening::new(ours, PATIENCE).read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_said_enough_or_was_answered_may_be_silent() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut connection = Opening::new(ours, PATIENCE);
        theirs.write_all(&[b'a'; ENOUGH]).await.unwrap();
        connection.read_exact(&mut [0; ENOUGH]).await.unwrap();
        assert!(tokio::time::timeout(PATIENCE * 2, connection.read_u8()).await.is_err());
        let (ours, _theirs) = tokio::io::duplex(64);
        let mut connection = Opening::new(ours, PATIENCE);
        connection.write_all(b"hello").await.unwrap();
        assert!(tokio::time::timeout(PATIENCE * 2, connection.read_u8()).await.is_err());
    }
}
