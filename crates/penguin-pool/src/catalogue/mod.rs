//! The stream catalogue: the read model behind browse, details, statistics and search.
//!
//! It is derived from `$all` and nothing else: a SQLite file that can be deleted at any time and is then made again, by
//! the same code on every engine. The file says whose events it holds and how far it has come, in the same transaction
//! as the rows.
//!
//! Where to start reading: [`Catalogue`], then `schema` (the tables), then the way of an event, `follower` → `writer` →
//! `apply`, and of a question, `browse` (with `blocks`) or `search`.

mod apply;
mod audience;
mod blocks;
mod browse;
mod condition;
mod content;
mod counts;
mod database;
mod error;
mod follower;
mod left_out;
mod pattern;
mod schema;
mod search;
mod state;
mod statistics;
mod types;
mod writer;

pub use audience::View;
pub use database::Place;
pub use error::{CatalogueError, Result};
pub use types::{
    BrowseFilter, BrowsePage, CatalogueStream, Condition, Freshness, Hit, Lag, MAX_PAGE, Operator, Progress,
    SearchFilter, SearchPage, Statistics, UserList,
};

use database::Database;
use event_store::{Clock, EventStore, Position, StreamName};
use follower::{Follower, Reached};
use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle as Task};
use writer::Writer;

/// How a catalogue is kept.
#[derive(Clone)]
pub struct Options {
    /// Where.
    pub place: Place,
    /// How long a browse may take before it is given up.
    pub browse_time: Duration,
    /// How long anything else may take before it is given up.
    pub query_time: Duration,
    /// How many queries run at once; others wait.
    pub readers: usize,
    /// Whether a stream's events are found by what is in them. Encrypted streams must not be.
    pub indexed: Arc<dyn Fn(&StreamName) -> bool + Send + Sync>,
}

impl Options {
    /// Kept at a place, with half a second for a browse, two for a search, and every stream found by content.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self {
            place,
            browse_time: Duration::from_millis(500),
            query_time: Duration::from_secs(2),
            readers: 4,
            indexed: Arc::new(|_| true),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("place", &self.place).finish_non_exhaustive()
    }
}

/// A running catalogue. Cloning is cheap, and all clones are the same one.
#[derive(Debug, Clone)]
pub struct Catalogue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    database: Arc<Database>,
    reached: watch::Receiver<Reached>,
    stop: watch::Sender<bool>,
    running: Mutex<Option<(Task<()>, JoinHandle<()>)>>,
    browse_time: Duration,
    query_time: Duration,
}

impl Catalogue {
    /// Opens the catalogue of a store and begins to follow it. What is missing is taken in behind: see
    /// [`Catalogue::lag`] and [`Catalogue::wait_for`]. A damaged file is begun anew.
    ///
    /// # Errors
    /// [`CatalogueError::Database`] if the file cannot be made or opened.
    pub async fn open(options: Options, store: Arc<dyn EventStore>, clock: Arc<dyn Clock>) -> Result<Self> {
        let database = Arc::new(Database::new(options.place, options.readers, Arc::clone(&clock)));
        let (opened, following) = (Arc::clone(&database), Arc::clone(&store));
        let runtime = tokio::runtime::Handle::current();
        let (writer, thread) =
            tokio::task::spawn_blocking(move || Writer::start(opened, following, options.indexed, runtime))
                .await
                .map_err(|e| CatalogueError::Database(e.to_string()))??;
        let (reached, has_reached) = watch::channel(Reached::default());
        let (stop, stopped) = watch::channel(false);
        let follower = Follower {
            store: Arc::clone(&store),
            database: Arc::clone(&database),
            writer,
            reached,
            stop: stopped,
        };
        let task = tokio::spawn(follower.run());
        Ok(Self(Arc::new(Inner {
            store,
            clock,
            database,
            reached: has_reached,
            stop,
            running: Mutex::new(Some((task, thread))),
            browse_time: options.browse_time,
            query_time: options.query_time,
        })))
    }

    /// Throws what is at the place away and makes it again from the store, telling how it goes.
    ///
    /// # Errors
    /// [`CatalogueError::Store`] if the store does not give its events, [`CatalogueError::Database`] if the file cannot be
    /// written.
    pub async fn rebuild(
        options: Options,
        store: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        mut tell: impl FnMut(Progress),
    ) -> Result<Progress> {
        Database::new(options.place.clone(), 1, Arc::clone(&clock)).discard()?;
        let Some(end) = left_out::newest(&*store).await? else { return Ok(Progress { events: 0, of: 0 }) };
        let of = store.statistics().await?.events;
        let catalogue = Self::open(options, store, clock).await?;
        let mut reached = catalogue.0.reached.clone();
        let progress = loop {
            let now = *reached.borrow_and_update();
            let progress = Progress { events: now.events, of };
            tell(progress);
            if now.position.is_some_and(|position| position >= end) {
                break progress;
            }
            reached.changed().await.map_err(|_| CatalogueError::Stopped)?;
        };
        catalogue.stop().await;
        Ok(progress)
    }

    /// Stops following and closes the database; what was asked before is answered. Safe to repeat.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((task, thread)) = running else { return };
        if let Err(error) = task.await {
            tracing::error!(%error, "the stream catalogue's follower failed");
        }
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the stream catalogue's writer failed");
        }
        self.0.database.close();
    }

    /// Up to where it has come; nothing before the first event.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.0.reached.borrow().position
    }

    /// How many of the events that it has taken in are the system's, by their stream (`$…`) or by their type.
    #[must_use]
    pub fn system_events(&self) -> u64 {
        self.0.reached.borrow().system_events
    }

    /// How many events it has taken in.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.0.reached.borrow().events
    }

    /// How far it is behind the store. One that does not count its events is behind by one, whatever it is behind by.
    ///
    /// # Errors
    /// [`CatalogueError::Store`] if the store does not say how much it holds.
    pub async fn lag(&self) -> Result<Lag> {
        let store = &*self.0.store;
        let events = if store.capabilities().counts && left_out::filter(store)?.is_none() {
            store.statistics().await?.events.saturating_sub(self.0.reached.borrow().events)
        } else {
            let newest = left_out::newest(store).await?;
            u64::from(self.0.reached.borrow().position < newest)
        };
        let reached = *self.0.reached.borrow();
        metrics::gauge!("catalogue_lag_events").set(events as f64);
        Ok(Lag { events, position: reached.position })
    }

    /// Waits until it has come to a position, but not longer than `max_wait`.
    pub async fn wait_for(&self, position: Position, max_wait: Duration) -> Freshness {
        let mut reached = self.0.reached.clone();
        let there = reached.wait_for(|reached| reached.position.is_some_and(|at| at >= position));
        match tokio::time::timeout(max_wait, there).await {
            Ok(Ok(_)) => Freshness::Fresh,
            Ok(Err(_)) | Err(_) => Freshness::Stale,
        }
    }

    /// Waits until it has come to the newest of the store's events that it takes in, but not longer than `max_wait`. The
    /// store is this catalogue's own, as whoever asks sees it.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn catch_up(
        &self,
        store: &dyn EventStore,
        max_wait: Duration,
    ) -> event_store::Result<Freshness> {
        let newest = match left_out::filter(store)? {
            None => store.last_position().await?,
            // What may be read of it says nothing of how far it has come.
            Some(_) => left_out::newest(&*self.0.store).await?,
        };
        match newest {
            Some(newest) => Ok(self.wait_for(newest, max_wait).await),
            None => Ok(Freshness::Fresh),
        }
    }

    /// Lists the streams that `view` may see.
    ///
    /// # Errors
    /// [`CatalogueError::Invalid`] naming what makes no sense, [`CatalogueError::TooSlow`] after
    /// [`Options::browse_time`].
    pub async fn browse(&self, view: &View, filter: BrowseFilter) -> Result<BrowsePage> {
        let plan = browse::plan(view, &filter)?;
        let now = self.0.clock.now();
        let query = move |db: &_, deadline: &_| browse::run(&plan, db, deadline, now);
        self.0.database.read(self.0.browse_time, browse::ADVICE, query).await
    }

    /// A stream, system or not, deleted or not; nothing if it was never written to. Whether the caller may know of it is for
    /// the caller's store to say.
    ///
    /// # Errors
    /// [`CatalogueError::Database`] alone.
    pub async fn stream(&self, name: &StreamName) -> Result<Option<CatalogueStream>> {
        self.stream_as_seen(&View::everything(), name).await
    }

    /// The same, and what is told of its events is of those that `view` may see.
    ///
    /// # Errors
    /// As [`Catalogue::stream`].
    pub async fn stream_as_seen(&self, view: &View, name: &StreamName) -> Result<Option<CatalogueStream>> {
        let (view, name, now) = (view.clone(), name.clone(), self.0.clock.now());
        let query = move |db: &rusqlite::Connection, _: &_| {
            let stream = state::Stream::by_name(db, name.as_str())?;
            let audiences = view.audiences(db)?;
            let shown = stream.filter(|stream| stream.exists());
            shown.map(|stream| stream.show(db, audiences.as_deref(), now)).transpose()
        };
        self.0.database.read(self.0.query_time, "try again", query).await
    }

    /// Finds events of the streams that `view` may see.
    ///
    /// # Errors
    /// [`CatalogueError::Invalid`] naming what makes no sense, [`CatalogueError::TooSlow`] if no page was found within
    /// [`Options::query_time`].
    pub async fn search(&self, view: &View, filter: SearchFilter) -> Result<SearchPage> {
        let plan = search::plan(view, &filter)?;
        let now = self.0.clock.now();
        let query = move |db: &_, deadline: &_| search::run(&plan, db, deadline, now);
        self.0.database.search(self.0.query_time, search::ADVICE, query).await
    }

    /// A part of the list of users who have a stream: those whose ids begin with `prefix` and come after `after`.
    ///
    /// # Errors
    /// [`CatalogueError::Database`] alone.
    pub async fn users(&self, prefix: String, after: Option<String>, limit: usize) -> Result<UserList> {
        let query = move |db: &_, _: &_| statistics::users(db, &prefix, after.as_deref(), limit);
        self.0.database.read(self.0.query_time, "try again", query).await
    }

    /// How much there is in the streams that `view` may see.
    ///
    /// # Errors
    /// [`CatalogueError::Store`] if the store does not say how much it holds.
    pub async fn statistics(&self, view: &View) -> Result<Statistics> {
        let (seen, now) = (view.clone(), self.0.clock.now());
        let query = move |db: &_, _: &_| statistics::statistics(db, &seen, now);
        let mut statistics = self.0.database.read(self.0.query_time, "try again", query).await?;
        if *view != View::everything() || !self.0.store.capabilities().counts {
            return Ok(statistics);
        }
        match self.0.store.statistics().await?.bytes_on_disk {
            0 => {}
            on_disk => statistics.storage_used = on_disk,
        }
        Ok(statistics)
    }
}
