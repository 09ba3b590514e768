//! Messages that have come in part: their bytes are counted with those that wait to be written, because a message is kept
//! whole in memory before anybody sees it, and many calls may each have begun a large one.

use super::status;
use axum::{body::Body, extract::Request, extract::State, middleware::Next, response::Response};
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The part of a message that is not counted: most messages are smaller.
const FREE: usize = 64 << 10;
/// A flag and the message's length.
const HEADER: usize = 5;

/// Counts what a call sends. `pending` has one permit a KiB.
pub(crate) async fn counted(State(pending): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    next.run(request.map(|body| Body::new(Upload::new(body, pending)))).await
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
}

impl Upload {
    fn new(inner: Body, pending: Arc<Semaphore>) -> Self {
        Self { inner, pending, held: None, header: [0; HEADER], header_bytes: 0, come: 0, left: 0 }
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
            Poll::Pending => return Poll::Pending,
        };
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
        let mut upload = Upload::new(Body::empty(), Arc::clone(&pending));
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
        let mut upload = Upload::new(Body::empty(), Arc::clone(&pending));
        let bytes = Bytes::from(message(FREE + (20 << 10)));
        assert!(upload.follow(bytes.slice(..HEADER + FREE + (10 << 10))));
        assert!(!upload.follow(bytes.slice(HEADER + FREE + (10 << 10)..HEADER + FREE + (11 << 10))));
        drop(upload);
        assert_eq!(pending.available_permits(), 10);
    }
}
