//! What a call sends, on its way in.
//!
//! Messages that have come in part are counted with those that wait to be written, because a message is kept whole in memory
//! before anybody sees it, and many calls may each have begun a large one. And a call that is waited for has to go on: one
//! that is begun and never finished would be there for as long as its connection is.

use super::status;
use axum::{body::Body, extract::Request, extract::State, middleware::Next, response::Response};
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tonic::Status;

/// How long a call that is waited for may send nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// The part of a message that is not counted: most messages are smaller.
const FREE: usize = 64 << 10;
/// A flag and the message's length.
const HEADER: usize = 5;

/// Counts what a call sends, and ends one that sends nothing while it is waited for. `pending` has one permit a KiB.
pub(crate) async fn watched(State(pending): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let pause = Pause::of(request.uri().path());
    next.run(request.map(|body| Body::new(Upload::new(body, pending, pause)))).await
}

/// When a call may send nothing for as long as it likes. In the middle of a message none may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// Never: its answer waits for the end of what it sends.
    Never,
    /// After the first message, which says what it is about.
    AfterFirst,
    /// Between messages, and before them.
    Always,
}

impl Pause {
    fn of(path: &str) -> Self {
        match path {
            "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Read" => Self::AfterFirst,
            "/event_store.client.streams.Streams/BatchAppend" => Self::Always,
            _ => Self::Never,
        }
    }
}

/// A call's body, and how much of its current message has come.
struct Upload {
    inner: Body,
    pending: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    header: [u8; HEADER],
    /// How many bytes of the header have come; all of them while the message comes.
    header_bytes: usize,
    come: usize,
    left: usize,
    pause: Pause,
    /// Whether a message has come whole.
    any: bool,
    /// Runs while more is waited for.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    fn new(inner: Body, pending: Arc<Semaphore>, pause: Pause) -> Self {
        Self {
            inner,
            pending,
            held: None,
            header: [0; HEADER],
            header_bytes: 0,
            come: 0,
            left: 0,
            pause,
            any: false,
            waiting: None,
        }
    }

    /// Whether it may send nothing now.
    fn may_pause(&self) -> bool {
        let between = self.header_bytes == 0;
        between
            && match self.pause {
                Pause::Never => false,
                Pause::AfterFirst => self.any,
                Pause::Always => true,
            }
    }

    /// Waits for more, if it is to come; ready when it did not come in time.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.may_pause() {
            return Poll::Pending;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        waiting.as_mut().poll(cx)
    }

    /// Follows the messages' bounds through what has come, and holds permits for the last one if it is not whole. Whether
    /// there were enough.
    fn follow(&mut self, mut data: Bytes) -> bool {
        while data.has_remaining() {
            if self.header_bytes < HEADER {
                self.header[self.header_bytes] = data.get_u8();
                self.header_bytes += 1;
                if self.header_bytes == HEADER {
                    let length =
                        u32::from_be_bytes([self.header[1], self.header[2], self.header[3], self.header[4]]);
                    (self.come, self.left) = (0, length as usize);
                }
            } else {
                let part = self.left.min(data.len());
                data.advance(part);
                self.come += part;
                self.left -= part;
            }
            if self.header_bytes == HEADER && self.left == 0 {
                self.header_bytes = 0;
                self.come = 0;
                self.held = None;
                self.any = true;
            }
        }
        self.hold()
    }

    fn hold(&mut self) -> bool {
        let wanted = self.come.saturating_sub(FREE).div_ceil(1 << 10);
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Ok(more) = u32::try_from(wanted.saturating_sub(held)) else { return false };
        if more == 0 {
            return true;
        }
        match Arc::clone(&self.pending).try_acquire_many_owned(more) {
            Ok(permit) => {
                match &mut self.held {
                    Some(held) => held.merge(permit),
                    held => *held = Some(permit),
                }
                true
            }
            Err(_) => false,
        }
    }
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {
                return self.poll_late(cx).map(|()| {
                    let late = Status::deadline_exceeded("the rest of the call did not come in time");
                    Some(Err(late.into()))
                });
            }
        };
        self.waiting = None;
        let fits = frame.data_ref().cloned().is_none_or(|data| self.follow(data));
        if !fits {
            let refusal = status::exhausted("too many bytes wait to be written: send it again later");
            return Poll::Ready(Some(Err(refusal.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend(u32::try_from(length).unwrap().to_be_bytes());
        message.extend(vec![7; length]);
        message
    }

    #[test]
    fn a_message_is_counted_while_it_is_not_whole() {
        let pending = Arc::new(Semaphore::new(1_000));
        let mut upload = Upload::new(Body::empty(), Arc::clone(&pending), Pause::Never);
        let mut bytes =
            Bytes::from([message(10), message(FREE + (100 << 10)), message(0), message(3)].concat());
        // A whole small one, and the next one's free part, however they are cut.
        for part in [3, 7, 9, HEADER + 10 + FREE + HEADER - 19] {
            assert!(upload.follow(bytes.split_to(part)));
            assert_eq!(pending.available_permits(), 1_000);
        }
        assert!(upload.follow(bytes.split_to(50 << 10)));
        assert_eq!(pending.available_permits(), 950);
        assert!(upload.follow(bytes.split_to((50 << 10) - 1)));
        assert_eq!(pending.available_permits(), 900);
        assert!(upload.follow(bytes), "the rest, and two more that are whole");
        assert_eq!((pending.available_permits(), upload.header_bytes), (1_000, 0));
    }

    #[test]
    fn what_is_too_much_is_refused_and_given_back() {
        let pending = Arc::new(Semaphore::new(10));
        let mut upload = Upload::new(Body::empty(), Arc::clone(&pending), Pause::Never);
        let bytes = Bytes::from(message(FREE + (20 << 10)));
        assert!(upload.follow(bytes.slice(..HEADER + FREE + (10 << 10))));
        assert!(!upload.follow(bytes.slice(HEADER + FREE + (10 << 10)..HEADER + FREE + (11 << 10))));
        drop(upload);
        assert_eq!(pending.available_permits(), 10);
    }

    /// A call of this kind that sends these parts and then nothing: how many frames come, and what then.
    async fn sent(pause: Pause, parts: &[Vec<u8>]) -> (usize, Result<(), Status>) {
        use futures::StreamExt as _;
        let parts: Vec<_> = parts.iter().map(|part| Ok::<_, Status>(Bytes::from(part.clone()))).collect();
        let silent = futures::stream::iter(parts).chain(futures::stream::pending());
        let mut upload = Upload::new(Body::from_stream(silent), Arc::new(Semaphore::new(1_000)), pause);
        let mut frames = 0;
        let ended = tokio::time::timeout(PATIENCE * 10, async {
            loop {
                let frame =
                    std::future::poll_fn(|cx| hyper::body::Body::poll_frame(Pin::new(&mut upload), cx));
                match frame.await {
                    Some(Ok(_)) => frames += 1,
                    Some(Err(error)) => return Err(Status::from_error(error)),
                    None => return Ok(()),
                }
            }
        });
        let ended = ended.await.unwrap_or(Ok(()));
        (frames, ended)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_waited_for_has_to_go_on() {
        let whole = message(10);
        let part = whole[..7].to_vec();
        for (pause, parts, late) in [
            (Pause::Never, vec![], true),
            (Pause::Never, vec![whole.clone()], true),
            (Pause::AfterFirst, vec![], true),
            (Pause::AfterFirst, vec![whole.clone()], false),
            (Pause::AfterFirst, vec![whole.clone(), part.clone()], true),
            (Pause::Always, vec![], false),
            (Pause::Always, vec![whole.clone()], false),
            (Pause::Always, vec![part], true),
        ] {
            let (frames, ended) = sent(pause, &parts).await;
            assert_eq!(frames, parts.len());
            let code = ended.err().map(|status| status.code());
            assert_eq!(code, late.then_some(tonic::Code::DeadlineExceeded), "{pause:?} {parts:?}");
        }
    }

    #[test]
    fn the_long_calls_are_known_by_their_paths() {
        assert_eq!(Pause::of("/event_store.client.streams.Streams/BatchAppend"), Pause::Always);
        let read = "/event_store.client.persistent_subscriptions.PersistentSubscriptions/Read";
        assert_eq!(Pause::of(read), Pause::AfterFirst);
        assert_eq!(Pause::of("/event_store.client.streams.Streams/Read"), Pause::Never);
    }
}
