//! A WebSocket's bytes on their way out: says when all were taken, and gives up on a reader that takes none.

use super::session::{Session, Sessions};
use std::{
    io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::{Sleep, sleep},
};

/// How long a write may wait for the reader before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A byte stream that tells its connection's [`super::flow::Flow`] of every flush that came through.
///
/// A WebSocket is flushed when the queue before it is empty, and a flush comes through only when the peer's side has
/// taken the bytes. A peer that takes nothing for [`PATIENCE`] fails the write: without that, a connection that was
/// closed while its peer did not read would wait forever, and keep its buffers.
#[derive(Debug)]
pub(super) struct Transport<T> {
    io: T,
    whose: Whose,
    stuck: Option<Pin<Box<Sleep>>>,
    given_up: bool,
    /// Dropped with it.
    _end: Option<oneshot::Sender<()>>,
}

/// Whose bytes these are.
#[derive(Debug)]
pub(super) enum Whose {
    /// This connection's.
    Known(Arc<Session>),
    /// The one's with this id, which began with long polls.
    Later(Sessions, String),
    /// That one's, found.
    Found(Weak<Session>),
}

impl<T> Transport<T> {
    pub(super) fn new(io: T, whose: Whose) -> Self {
        Self { io, whose, stuck: None, given_up: false, _end: None }
    }

    /// The same, and what is done when it is dropped.
    pub(super) fn watched(io: T, whose: Whose) -> (Self, impl Future<Output = ()> + use<T>) {
        let (end, ended) = oneshot::channel::<()>();
        let ended = async move {
            // Nothing is ever sent.
            let _ = ended.await;
        };
        (Self { _end: Some(end), ..Self::new(io, whose) }, ended)
    }

    fn took_all(&mut self) {
        match &self.whose {
            Whose::Known(session) => session.flow.took_all(),
            Whose::Found(session) => {
                if let Some(session) = session.upgrade() {
                    session.flow.took_all();
                }
            }
            Whose::Later(sessions, id) => {
                if let Some(session) = sessions.find(id) {
                    session.flow.took_all();
                    self.whose = Whose::Found(Arc::downgrade(&session));
                }
            }
        }
    }

    /// Lets a result through; one that has been pending for too long becomes an error.
    fn watch<R>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.stuck = None;
            return result;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        if !self.given_up && stuck.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.given_up = true;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Transport<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Transport<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        if matches!(result, Poll::Ready(Ok(()))) {
            self.took_all();
        }
        self.watch(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(cx, result)
    }
}
