//! What a group keeps in its own streams. One write or read of its own is under way at a time.

use super::{Actor, MOST_HELD, RETRY};
use crate::persistent::{GroupError, Place, records};
use event_store::{Error, ExpectedState, ReadFrom, ReadStream, Revision, StreamPage};
use futures::future::BoxFuture;
use std::sync::Arc;

/// How many messages are parked by one write at most.
const PARK_AT_ONCE: usize = 200;

/// What a write or read of the group's own came to.
pub(super) enum Done {
    Parked(Vec<u64>, Result<Option<Revision>, Error>),
    Checkpoint(Result<(), Error>),
    Truncated(Revision, Result<(), Error>),
    Replay(Result<StreamPage, Error>),
}

impl Actor {
    pub(super) fn begin_io(&mut self) {
        if self.io.is_some() || self.shared.clock.monotonic() < self.not_before {
            return;
        }
        if !self.to_park.is_empty() {
            self.io = Some(self.write_parked());
        } else if let Some(place) = self.to_checkpoint.take() {
            self.io = Some(self.write_checkpoint(place));
        } else if let Some(before) = self.parked.to_truncate(self.machine.first_replayed()) {
            self.io = Some(self.write_truncation(before));
        } else if let Some((from, limit)) = self.parked.to_read(self.machine.room_for_replay()) {
            self.io = Some(self.read_parked(from, limit));
        }
    }

    pub(super) fn write_parked(&mut self) -> BoxFuture<'static, Done> {
        let several = self.to_park.len().min(PARK_AT_ONCE);
        let (numbers, events) = self.to_park.drain(..several).unzip();
        let (store, stream) = (Arc::clone(&self.shared.store), self.streams.parked.clone());
        Box::pin(async move {
            let appended = store.append(&stream, ExpectedState::Any, events).await;
            Done::Parked(numbers, appended.map(|a| a.last_revision))
        })
    }

    pub(super) fn write_checkpoint(&self, place: Place) -> BoxFuture<'static, Done> {
        let (store, stream) = (Arc::clone(&self.shared.store), self.streams.checkpoints.clone());
        let (id, metadata_id) = (self.shared.ids.next_id(), self.shared.ids.next_id());
        let configured = self.configured;
        Box::pin(async move {
            let written = async {
                if !configured {
                    let metadata = records::checkpoints_metadata();
                    store.set_metadata(&stream, ExpectedState::Any, &metadata, metadata_id).await?;
                }
                let event = records::checkpoint(id, place, store.id().await?);
                store.append(&stream, ExpectedState::Any, vec![event]).await
            };
            Done::Checkpoint(written.await.map(drop))
        })
    }

    fn write_truncation(&self, before: Revision) -> BoxFuture<'static, Done> {
        let (store, stream) = (Arc::clone(&self.shared.store), self.streams.parked.clone());
        let id = self.shared.ids.next_id();
        Box::pin(async move {
            let metadata = records::parked_metadata(before);
            let written = store.set_metadata(&stream, ExpectedState::Any, &metadata, id).await;
            Done::Truncated(before, written.map(drop))
        })
    }

    fn read_parked(&self, from: Revision, limit: usize) -> BoxFuture<'static, Done> {
        let (store, stream) = (Arc::clone(&self.shared.store), self.streams.parked.clone());
        let read = ReadStream::forwards(limit).from(ReadFrom::At(from));
        let read = ReadStream { resolve_links: true, max_bytes: MOST_HELD, ..read };
        Box::pin(async move { Done::Replay(store.read_stream(&stream, read).await) })
    }

    pub(super) fn done(&mut self, done: Done) {
        let failed = match done {
            Done::Parked(numbers, Ok(last)) => {
                if let Some(last) = last {
                    self.parked.written(last, numbers.len() as u64);
                }
                for number in numbers {
                    self.machine.parked(number);
                }
                None
            }
            Done::Parked(numbers, Err(error)) => {
                for number in numbers {
                    self.machine.not_parked(number);
                }
                Some(error)
            }
            Done::Checkpoint(result) => {
                self.configured |= result.is_ok();
                self.machine.wrote_checkpoint(result.is_ok());
                result.err()
            }
            Done::Truncated(before, result) => {
                self.parked.truncated(before, result.clone().map_err(GroupError::Store));
                result.err()
            }
            Done::Replay(Ok(page)) => {
                let end = self.parked.replay_end();
                let next = page.next;
                for event in page.events {
                    let Some(revision) = event.original().map(|e| e.revision) else { continue };
                    // What a message pointed to may be gone; then there is nothing to send.
                    if revision < end && event.event.is_some() {
                        self.machine.replayed(event, revision);
                    }
                }
                self.parked.read(next);
                None
            }
            // It was deleted by hand: there is nothing to replay.
            Done::Replay(Err(Error::StreamNotFound(_) | Error::StreamDeleted(_))) => {
                self.parked.read(None);
                None
            }
            Done::Replay(Err(error)) => Some(error),
        };
        if let Some(error) = failed {
            tracing::warn!(%error, group = %self.key, "a persistent subscription could not keep its state: it is tried again");
            self.not_before = self.shared.clock.monotonic() + RETRY;
        }
    }
}
