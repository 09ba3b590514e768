//! The connection: a client that is replaced when it is of no use any more.
//!
//! The official client ends for good when it fails to connect, and once it has chosen a node of a cluster it stays with
//! it, also when that one is gone. So after a loss a new one is made: at once, then with growing pauses, until it reaches
//! its server. Whoever asks meanwhile waits for the first attempt, and is refused while more of them fail.

use crate::{Options, errors};
use event_store::{Error, Result, StoreState};
use kurrentdb::Client;
use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::watch;

/// How long a server may take to say what it is.
const GREETING: Duration = Duration::from_secs(10);
/// How often a call is sent again when it met a follower; the client goes over to the leader that it was told of.
const REDIRECTS: u32 = 5;
const REDIRECTED_AFTER: Duration = Duration::from_millis(100);

/// A client that reached its server.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) client: Client,
    /// Counts the clients, so that one loss that many notice is one loss.
    pub(crate) generation: u64,
}

#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one in a connection")]
enum Line {
    /// Nobody has asked for anything yet.
    Unused,
    /// It is being made for the first time, or after the loss for this reason.
    Making(Option<String>),
    Up(Live),
    /// The newest attempt failed for this reason, and the next comes by itself.
    Away(String),
}

pub(crate) struct Connection {
    options: Options,
    line: watch::Sender<Line>,
    closed: watch::Sender<bool>,
    /// The client that was made to see that one can be, until it is used.
    spare: Mutex<Option<Client>>,
    itself: Weak<Self>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects to nobody yet.
    pub(crate) fn new(options: Options) -> Result<Arc<Self>> {
        let client =
            Client::new(options.settings.clone()).map_err(|e| Error::InvalidArgument(e.to_string()))?;
        Ok(Arc::new_cyclic(|itself| Self {
            options,
            line: watch::Sender::new(Line::Unused),
            closed: watch::Sender::new(false),
            spare: Mutex::new(Some(client)),
            itself: itself.clone(),
        }))
    }

    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Ends when the store is closed.
    pub(crate) async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        // The sender is in here.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    pub(crate) fn state(&self) -> StoreState {
        if *self.closed.borrow() {
            return StoreState::Closed;
        }
        match &*self.line.borrow() {
            Line::Unused | Line::Making(None) => StoreState::Connecting,
            Line::Making(Some(reason)) | Line::Away(reason) => StoreState::Reconnecting(reason.clone()),
            Line::Up(_) => StoreState::Ready,
        }
    }

    /// The client, when it is known whether there is a server.
    async fn client(&self) -> Result<Live> {
        let mut line = self.line.subscribe();
        loop {
            let now = line.borrow_and_update().clone();
            match now {
                Line::Up(live) => return Ok(live),
                Line::Away(reason) => return Err(Error::Unavailable(reason)),
                Line::Unused => self.begin(|line| matches!(line, Line::Unused), None),
                Line::Making(_) => {}
            }
            line.changed().await.map_err(|_| Error::Closed)?;
        }
    }

    /// Counts the connections that were made.
    pub(crate) async fn generation(&self) -> Result<u64> {
        let time = self.options.call_time;
        let live = tokio::select! {
            () = self.closed() => return Err(Error::Closed),
            live = tokio::time::timeout(time, self.client()) => live,
        };
        let late = || Error::Timeout(format!("no connection within {} ms", time.as_millis()));
        live.map_err(|_| late())?.map(|live| live.generation)
    }

    /// The client, however long it takes until there is a server.
    pub(crate) async fn reached(&self) -> Result<Live> {
        let mut line = self.line.subscribe();
        loop {
            let now = line.borrow_and_update().clone();
            match now {
                Line::Up(live) => return Ok(live),
                Line::Unused => self.begin(|line| matches!(line, Line::Unused), None),
                Line::Making(_) | Line::Away(_) => {}
            }
            line.changed().await.map_err(|_| Error::Closed)?;
        }
    }

    /// Ends when another client took the place of the one of this generation.
    pub(crate) async fn superseded(&self, generation: u64) {
        let newer = |line: &Line| matches!(line, Line::Up(live) if live.generation > generation);
        // The sender is in here.
        let _ = self.line.subscribe().wait_for(newer).await;
    }

    /// That the client of this generation lost its server.
    pub(crate) fn lost(&self, generation: u64, reason: &str) {
        let is_it = |line: &Line| matches!(line, Line::Up(live) if live.generation == generation);
        self.begin(is_it, Some((generation, reason)));
    }

    fn begin(&self, if_so: impl Fn(&Line) -> bool, lost: Option<(u64, &str)>) {
        let begun = self.line.send_if_modified(|line| {
            let begins = if_so(line);
            if begins {
                *line = Line::Making(lost.map(|(_, reason)| reason.to_owned()));
            }
            begins
        });
        if begun {
            if let Some((_, reason)) = lost {
                tracing::warn!(reason, "the connection to the event store was lost and is made again");
            }
            let generation = lost.map_or(0, |(generation, _)| generation + 1);
            tokio::spawn(make(self.itself.clone(), generation));
        }
    }

    async fn attempt(&self) -> Result<Client> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        let client = match spare {
            Some(client) => client,
            None => {
                let (handle, settings) = (tokio::runtime::Handle::current(), self.options.settings.clone());
                // It reads the system's certificates.
                tokio::task::spawn_blocking(move || Client::with_runtime_handle(handle, settings))
                    .await
                    .map_err(|e| Error::Internal(e.to_string()))?
                    .map_err(|e| Error::Unavailable(e.to_string()))?
            }
        };
        match tokio::time::timeout(GREETING, client.server_info()).await {
            Ok(Ok(info)) => {
                tracing::info!(version = %info.version(), "connected to the event store");
                Ok(client)
            }
            Ok(Err(error)) => Err(Error::Unavailable(error.to_string())),
            Err(_) => Err(Error::Unavailable(format!("no greeting within {} s", GREETING.as_secs()))),
        }
    }

    /// How long to wait after so many failures: it doubles, up to the longest, and is spread over its half so that many
    /// clients do not come back together.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let (first, longest) = self.options.backoff;
        let pause =
            first.saturating_mul(1_u32.checked_shl(failures.min(20)).unwrap_or(u32::MAX)).min(longest);
        let (spread, _) = self.options.ids.next_id().as_u64_pair();
        let half = pause / 2;
        half + half.mul_f64(f64::from(u32::try_from(spread >> 40).unwrap_or(0)) / f64::from(1_u32 << 24))
    }

    /// Asks the server, for `time` at the most. What the store's closing overtakes ends with `Closed`.
    pub(crate) async fn ask<T, F>(&self, time: Duration, asking: impl Fn(Client) -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
        T: Send,
    {
        let mut redirects = 0;
        let mut asked = None;
        let answer = async {
            loop {
                let live = self.client().await?;
                asked = Some(live.generation);
                match asking(live.client).await {
                    Err(error) if errors::is_redirect(&error) && redirects < REDIRECTS => {
                        redirects += 1;
                        tokio::time::sleep(REDIRECTED_AFTER).await;
                    }
                    answer => return answer,
                }
            }
        };
        let answer = tokio::select! {
            biased;
            () = self.closed() => return Err(Error::Closed),
            answer = tokio::time::timeout(time, answer) => answer.unwrap_or_else(|_| {
                Err(Error::Timeout(format!("no answer within {} ms", time.as_millis())))
            }),
        };
        if let (Err(error), Some(generation)) = (&answer, asked)
            && errors::is_lost(error)
        {
            self.lost(generation, &error.to_string());
        }
        answer
    }
}

/// Makes clients until one reaches its server, or nobody wants it any more.
async fn make(connection: Weak<Connection>, generation: u64) {
    let mut failures = 0;
    loop {
        let Some(this) = connection.upgrade() else { return };
        let attempt = tokio::select! {
            () = this.closed() => return,
            attempt = this.attempt() => attempt,
        };
        let error = match attempt {
            Ok(client) => {
                this.line.send_replace(Line::Up(Live { client, generation }));
                return;
            }
            Err(Error::Unavailable(reason)) => reason,
            Err(error) => error.to_string(),
        };
        let pause = this.pause(failures);
        tracing::warn!(error, failures, pause_ms = pause.as_millis(), "the event store cannot be reached");
        this.line.send_replace(Line::Away(error));
        failures = failures.saturating_add(1);
        tokio::select! {
            () = this.closed() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
