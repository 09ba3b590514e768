//! How much a connection was given and has not taken yet.
//!
//! Socket.IO's server queues what is emitted and has no way to wait for the reader. So what is emitted to a connection
//! is counted here, and what its transport took is taken off again: by the WebSocket's own flushes
//! ([`super::transport`]), or by the answers to long polls. Whoever emits much waits for room first.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// How many packets may wait in a connection. The queue itself holds more, so that answers, pings and farewells always find
/// a place.
pub(super) const MAX_PACKETS: usize = 64;

/// How many bytes may wait in a connection. One packet is always let in, whatever its size.
const MAX_BYTES: usize = 256 << 10;

/// What a connection was given and has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Flow {
    waiting: Mutex<Waiting>,
    taken: Notify,
}

/// The sizes of the packets that wait, oldest first.
#[derive(Debug, Default)]
struct Waiting {
    packets: VecDeque<usize>,
    bytes: usize,
}

/// Why a packet was not taken by the connection's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is full. There will be room when the transport took something.
    Full,
    /// The connection is gone.
    Gone,
}

/// Why a packet was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The reader took nothing for too long.
    Stalled,
    /// The connection is gone.
    Gone,
}

impl Flow {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for a packet of this size, and gives it to the queue. `give` must not wait.
    ///
    /// # Errors
    /// [`Unsent::Stalled`] if the reader takes nothing at all for `patience`.
    pub(super) async fn send(
        &self,
        size: usize,
        patience: Duration,
        mut give: impl FnMut() -> Result<(), Refused>,
    ) -> Result<(), Unsent> {
        loop {
            let taken = self.taken.notified();
            tokio::pin!(taken);
            // From here on no notification is missed.
            taken.as_mut().enable();
            match self.try_send(size, &mut give) {
                Ok(()) => return Ok(()),
                Err(Refused::Gone) => return Err(Unsent::Gone),
                Err(Refused::Full) => timeout(patience, taken).await.map_err(|_| Unsent::Stalled)?,
            }
        }
    }

    fn try_send(&self, size: usize, give: impl FnOnce() -> Result<(), Refused>) -> Result<(), Refused> {
        let mut waiting = self.waiting();
        if !waiting.has_room(size) {
            return Err(Refused::Full);
        }
        // Counted before anybody can say that it was taken: the lock is held.
        give()?;
        waiting.push(size);
        Ok(())
    }

    /// Counts a packet that is sent whether there is room or not.
    pub(super) fn sent(&self, size: usize) {
        self.waiting().push(size);
    }

    /// The transport took everything.
    pub(super) fn took_all(&self) {
        let mut waiting = self.waiting();
        waiting.packets.clear();
        waiting.bytes = 0;
        drop(waiting);
        self.taken.notify_waiters();
    }

    /// The transport took so many packets, the oldest first.
    pub(super) fn took(&self, packets: usize) {
        let mut waiting = self.waiting();
        for _ in 0..packets {
            let Some(size) = waiting.packets.pop_front() else { break };
            waiting.bytes -= size;
        }
        drop(waiting);
        self.taken.notify_waiters();
    }

    /// Waits until everything was taken.
    pub(super) async fn empty(&self) {
        loop {
            let taken = self.taken.notified();
            tokio::pin!(taken);
            taken.as_mut().enable();
            if self.waiting().packets.is_empty() {
                return;
            }
            taken.await;
        }
    }
}

impl Waiting {
    fn has_room(&self, size: usize) -> bool {
        let fits = self.packets.len() < MAX_PACKETS && self.bytes + size <= MAX_BYTES;
        fits || self.packets.is_empty()
    }

    fn push(&mut self, size: usize) {
        self.packets.push_back(size);
        self.bytes += size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn send_now(flow: &Flow, size: usize) -> bool {
        flow.send(size, PATIENCE, || Ok(())).now_or_never() == Some(Ok(()))
    }

    #[tokio::test]
    async fn what_was_not_taken_is_bounded_in_packets_and_in_bytes_and_one_packet_always_fits() {
        let flow = Flow::default();
        for _ in 0..MAX_PACKETS {
            assert!(send_now(&flow, 1));
        }
        assert!(!send_now(&flow, 1), "too many packets");
        flow.took_all();
        assert!(send_now(&flow, 10 * MAX_BYTES), "alone it fits");
        assert!(!send_now(&flow, 1), "too many bytes");
        flow.took(1);
        assert!(send_now(&flow, MAX_BYTES - 1) && send_now(&flow, 1));
        assert!(!send_now(&flow, 1), "too many bytes again");
        flow.took(1);
        assert!(send_now(&flow, MAX_BYTES - 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_woken_by_what_is_taken_and_told_when_nothing_is() {
        let flow = Flow::default();
        flow.sent(2 * MAX_BYTES);
        let waiting = flow.send(1, PATIENCE, || Ok(()));
        tokio::pin!(waiting);
        assert_eq!(waiting.as_mut().now_or_never(), None);
        flow.took_all();
        assert_eq!(waiting.await, Ok(()));
        assert_eq!(flow.empty().now_or_never(), None);
        flow.took(7);
        flow.empty().await;
        flow.sent(2 * MAX_BYTES);
        assert_eq!(flow.send(1, PATIENCE, || Ok(())).await, Err(Unsent::Stalled));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_others_filled_is_tried_again_when_something_was_taken() {
        let flow = Flow::default();
        let full = std::cell::Cell::new(true);
        let waiting = flow.send(1, PATIENCE, || if full.get() { Err(Refused::Full) } else { Ok(()) });
        tokio::pin!(waiting);
        assert_eq!(waiting.as_mut().now_or_never(), None);
        full.set(false);
        flow.took(0);
        assert_eq!(waiting.await, Ok(()));
        assert_eq!(flow.send(1, PATIENCE, || Err(Refused::Gone)).await, Err(Unsent::Gone));
    }
}
