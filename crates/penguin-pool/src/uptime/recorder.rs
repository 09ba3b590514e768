//! Recording: words become events, in order, once, and only while this instance holds the lease.
//!
//! A word is shown at once and written as soon as it can be. While the store is away words wait; an unchanged state that
//! is said again only lengthens the word before, so that what waits grows with changes and not with time.
//!
//! Each append expects the revision that this instance knows to be the last. So even a holder that was stopped in the
//! middle, and does not know that its lease is gone, cannot write over another's record: it is refused, asks for the
//! lease again, and steps down if another has it.

use super::{
    board::{Board, GRACE, Service},
    history::Word,
    lease::{Lease, Role},
    streams::Streams,
    words,
};
use event_store::{Error, ExpectedState, NewEvent, Revision};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// How many words wait at most. They are changes, so this is a service that changes its state every minute for days.
const WAITING: usize = 4_096;
/// How many words are written in one append at most.
const BATCH: usize = 100;
/// How long to wait before writing again after the store failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long one append may take before it counts as failed. It is sent again with the same ids, so nothing doubles.
const APPEND_WITHIN: Duration = Duration::from_secs(10);

/// Writes words as events.
#[derive(Debug)]
pub(super) struct Recorder {
    streams: Streams,
    board: Arc<Board>,
    lease: Arc<Lease>,
    waiting: Mutex<VecDeque<Waiting>>,
    changed: Notify,
    /// Counts how often what is known must be read anew: words were shown here that will never be written.
    generation: watch::Sender<u64>,
    /// The last revision of each service's stream, as far as it is known.
    heads: tokio::sync::Mutex<HashMap<Arc<str>, Option<Revision>>>,
}

/// A word that is to be written.
#[derive(Debug, Clone)]
struct Waiting {
    service: Arc<Service>,
    word: Word,
    /// For a change: how long the state that ended had lasted, in milliseconds.
    duration: Option<u64>,
    /// It is being written as it stands: nothing may be added to it.
    sent: bool,
}

/// What became of a batch.
enum Written {
    Done,
    /// Another holds the lease.
    Lost,
    /// The service's stream cannot be written ever again.
    Never,
    Later(Error),
}

impl Recorder {
    pub(super) fn new(streams: Streams, board: Arc<Board>, lease: Arc<Lease>) -> Self {
        Self {
            streams,
            board,
            lease,
            waiting: Mutex::default(),
            changed: Notify::new(),
            generation: watch::Sender::new(0),
            heads: tokio::sync::Mutex::default(),
        }
    }

    /// Each time that what is known must be read anew.
    pub(super) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a word at once, and has it written. Answers the id of the event that will say it.
    pub(super) fn say(&self, service: &Arc<Service>, word: Word, duration: Option<u64>) -> uuid::Uuid {
        let mut waiting = self.waiting();
        let before = waiting.iter_mut().rev().find(|w| Arc::ptr_eq(&w.service, service));
        let lengthens = before.filter(|w| {
            let silence = word.since.saturating_sub(w.word.seen);
            let in_time = (0..=i64::try_from(GRACE.as_millis()).unwrap_or(i64::MAX)).contains(&silence);
            let same = w.word.status.is_some() && w.word.status == word.status;
            same && in_time && duration.is_none() && !w.sent
        });
        if let Some(before) = lengthens {
            before.word.seen = before.word.seen.max(word.seen);
            service.say(&word, Some(before.word.id));
            return before.word.id;
        }
        service.say(&word, None);
        let id = word.id;
        waiting.push_back(Waiting { service: Arc::clone(service), word, duration, sent: false });
        if waiting.len() > WAITING
            && let Some(dropped) = waiting.pop_front()
        {
            dropped.service.unsay(dropped.word.id);
        }
        drop(waiting);
        self.changed.notify_waiters();
        id
    }

    /// Writes what waits, for ever; drop it to end it.
    pub(super) async fn run(&self) {
        let mut role = self.lease.role();
        let mut complained = false;
        loop {
            let now = *role.borrow_and_update();
            if now == Role::Following {
                self.give_up();
            }
            if now != Role::Recording || self.waiting().is_empty() {
                let changed = self.changed.notified();
                // What came between looking and waiting must not be waited for.
                if now == Role::Recording && !self.waiting().is_empty() {
                    continue;
                }
                tokio::select! {
                    () = changed => {}
                    end = role.changed() => if end.is_err() { return },
                }
                continue;
            }
            let Some(batch) = self.next_batch() else { continue };
            match self.write(&batch).await {
                Written::Done => {
                    complained = false;
                    self.settle(&batch);
                }
                Written::Never => {
                    batch.iter().for_each(|w| w.service.unsay(w.word.id));
                    self.settle(&batch);
                }
                Written::Lost => self.give_up(),
                Written::Later(error) => {
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!(%error, "what was seen of services cannot be written now; it waits");
                    }
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// The oldest words of one service. What was sent before and may be written is sent again as it was, and alone: only
    /// then do the ids say that it is the same.
    fn next_batch(&self) -> Option<Vec<Waiting>> {
        let mut waiting = self.waiting();
        let (service, again) = waiting.front().map(|first| (Arc::clone(&first.service), first.sent))?;
        let of_it = waiting.iter_mut().filter(|w| Arc::ptr_eq(&w.service, &service));
        let batch = of_it.take_while(|w| w.sent == again).take(BATCH).map(|w| {
            w.sent = true;
            w.clone()
        });
        Some(batch.collect())
    }

    fn settle(&self, batch: &[Waiting]) {
        self.waiting().retain(|w| !batch.iter().any(|b| b.word.id == w.word.id));
        self.changed.notify_waiters();
    }

    /// Another keeps the record: what waits here is not part of it, nor is what was shown of it.
    fn give_up(&self) {
        let dropped = std::mem::take(&mut *self.waiting());
        if dropped.is_empty() {
            return;
        }
        self.board.services().iter().for_each(|service| service.forget_own());
        self.generation.send_modify(|generation| *generation += 1);
        self.changed.notify_waiters();
    }

    async fn write(&self, batch: &[Waiting]) -> Written {
        let Some(first) = batch.first() else { return Written::Done };
        let service = &first.service;
        let events: Vec<NewEvent> =
            batch.iter().map(|w| words::write(service.name(), &w.word, w.duration)).collect();
        let append = tokio::time::timeout(APPEND_WITHIN, self.append(service, events));
        match append.await {
            Ok(Ok(true)) => Written::Done,
            Ok(Ok(false)) => Written::Lost,
            Ok(Err(Error::StreamDeleted(_))) => Written::Never,
            Ok(Err(error)) => Written::Later(error),
            Err(_) => Written::Later(Error::Timeout("an append took too long".to_owned())),
        }
    }

    /// Appends to a service's stream; false if another instance holds the lease.
    async fn append(&self, service: &Service, events: Vec<NewEvent>) -> Result<bool, Error> {
        let mut heads = self.heads.lock().await;
        for _ in 0..3 {
            if !self.lease.may_write().await && self.lease.attempt().await != Role::Recording {
                return Ok(false);
            }
            let head = match heads.get(service.name()) {
                Some(head) => *head,
                None => self.streams.service(service.name(), &service.stream).await?,
            };
            let expected = head.map_or(ExpectedState::NoStream, ExpectedState::Exact);
            match self.streams.store.append(&service.stream, expected, events.clone()).await {
                Ok(appended) => {
                    heads.insert(Arc::clone(service.name()), appended.last_revision);
                    return Ok(true);
                }
                Err(Error::WrongExpectedRevision { actual, .. }) => {
                    // Somebody else wrote there. If the lease is still ours it was no recorder, and we go on after it.
                    if self.lease.attempt().await != Role::Recording {
                        heads.clear();
                        return Ok(false);
                    }
                    heads.insert(Arc::clone(service.name()), actual);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable(format!("others keep writing to '{}'", service.stream)))
    }

    /// Makes a service's stream where it is missing.
    pub(super) async fn make_stream(&self, service: &Service) -> Result<(), Error> {
        let mut heads = self.heads.lock().await;
        let head = self.streams.service(service.name(), &service.stream).await?;
        heads.insert(Arc::clone(service.name()), head);
        Ok(())
    }

    /// Waits until nothing waits any more, and says whether that came to be in time.
    pub(super) async fn written(&self, patience: Duration) -> bool {
        let all = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.waiting().is_empty() {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, all).await.is_ok()
    }
}
