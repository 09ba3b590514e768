//! The feature: what it is made of, how it begins and ends.

use super::{
    board::{Board, Service, StatusChange},
    follow::Follower,
    history::{Sight, Word},
    lease::{LEASE_TIME, Lease, Role},
    recorder::Recorder,
    streams::{Streams, name, service_stream},
    target::{Kind, Target},
    watch::{
        Check, HttpCheck, KurrentDbCheck, Pace, Patience, Request, SocketIoCheck, StoreCheck, TcpCheck,
        Watcher, client, own_client,
    },
};
use crate::{
    config::Settings,
    security::{Caller, Gate, OwnPass},
    server::Tls,
};
use event_store::{Clock, IdSource};
use models::DateTime;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
};

/// The stream that the check of the store writes to; health's write check does too, and keeps it short.
const PROBE_STREAM: &str = "system-health-check";
/// How long the end waits for what was seen last to be written.
const END_WITHIN: Duration = Duration::from_secs(3);

/// What uptime is made of.
#[derive(Debug)]
pub struct Parts {
    /// The way to the store, which the service itself uses.
    pub gate: Gate,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn IdSource>,
    /// What is watched, and how.
    pub options: Options,
}

/// What is watched, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The services to be watched; see [`Target::own`].
    pub targets: Vec<Target>,
    /// How often they are checked, and how soon a change is believed.
    pub pace: Pace,
    /// Whether this process watches and records at all.
    pub watch: bool,
    /// How long events are kept.
    pub max_age: Duration,
    /// For how long the lease on recording is taken each time.
    pub lease_time: Duration,
    /// Whether the store can have no other user, so that the lease is this process's at once and for good.
    pub exclusive: bool,
}

impl Options {
    /// What the settings say. `exclusive` as in [`Options::exclusive`].
    #[must_use]
    pub fn from_settings(settings: &Settings, exclusive: bool) -> Self {
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let patience = Patience {
            failures: number(settings.uptime_failures.get()),
            successes: number(settings.uptime_successes.get()),
        };
        let mut targets = Target::own();
        targets.extend(settings.uptime_services.0.iter().cloned());
        Self {
            targets,
            pace: Pace {
                interval: settings.uptime_interval.get(),
                timeout: settings.uptime_timeout.get(),
                patience,
            },
            watch: settings.uptime_watch,
            max_age: Duration::from_secs(settings.uptime_max_age_days.get() * 86_400),
            lease_time: LEASE_TIME,
            exclusive,
        }
    }
}

/// Uptime of services: watched, recorded, told. It watches nothing until [`Uptime::start`].
#[derive(Debug)]
pub struct Uptime {
    pub(super) gate: Gate,
    pub(super) board: Arc<Board>,
    pub(super) streams: Streams,
    pub(super) recorder: Arc<Recorder>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) pace: Pace,
    watch: bool,
    pass: OwnPass,
    pub(super) store_check: Arc<StoreCheck>,
    /// The checks of this process's own listeners, by their services' names, once it listens.
    pub(super) own: OnceLock<HashMap<Arc<str>, Arc<dyn Check>>>,
    /// By the services' names, while they are watched.
    pub(super) requests: Mutex<HashMap<Arc<str>, mpsc::Sender<Request>>>,
    /// One check of everything at a time.
    pub(super) checking: tokio::sync::Mutex<()>,
    lease: Arc<Lease>,
    /// What watches; ends first.
    watchers: Mutex<JoinSet<()>>,
    /// What records and follows; ends when everything is written.
    keepers: Mutex<JoinSet<()>>,
}

impl Uptime {
    /// Puts it together.
    ///
    /// # Errors
    /// A sentence if a service's name makes no stream's name, or the system gives no random numbers.
    pub fn new(parts: Parts) -> Result<Self, String> {
        let Parts { gate, clock, ids, options } = parts;
        let store = gate.bind(&Caller::system());
        let say = |e: event_store::Error| e.to_string();
        let targets = options.targets.into_iter().map(|target| {
            let stream = service_stream(&target)?;
            Ok((target, stream))
        });
        let board = Arc::new(Board::new(targets.collect::<Result<_, _>>().map_err(say)?));
        let streams = Streams {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            ids: Arc::clone(&ids),
            max_age: options.max_age,
        };
        let lease = Lease::new(streams.clone(), options.lease_time, options.exclusive).map_err(say)?;
        let lease = Arc::new(lease);
        let recorder = Arc::new(Recorder::new(streams.clone(), Arc::clone(&board), Arc::clone(&lease)));
        let probe = name(PROBE_STREAM).map_err(say)?;
        let store_check = Arc::new(StoreCheck { store, stream: probe, ids: Arc::clone(&ids) });
        Ok(Self {
            gate,
            board,
            streams,
            recorder,
            clock,
            ids,
            pace: options.pace,
            watch: options.watch,
            pass: OwnPass::new()?,
            store_check,
            own: OnceLock::new(),
            requests: Mutex::default(),
            checking: tokio::sync::Mutex::default(),
            lease,
            watchers: Mutex::default(),
            keepers: Mutex::default(),
        })
    }

    /// What the checks of this process's own listeners show there.
    #[must_use]
    pub const fn pass(&self) -> &OwnPass {
        &self.pass
    }

    /// Begins to follow, to record and to watch. `http` and `sockets` are where this process listens, and `tls` is what is
    /// spoken there.
    ///
    /// # Errors
    /// A sentence if no HTTP client can be made.
    pub fn start(&self, http: SocketAddr, sockets: SocketAddr, tls: Option<&Tls>) -> Result<(), String> {
        let own = Own { http: reachable(http), sockets: reachable(sockets), tls };
        let checks: Result<Vec<_>, _> =
            self.board.services().iter().map(|s| self.check_of(&s.target.kind, &own)).collect();
        let checks = checks?;
        let services = self.board.services().iter().zip(&checks);
        let listeners = services.filter(|(s, _)| matches!(s.target.kind, Kind::OwnHttp | Kind::OwnWebsocket));
        let named = listeners.map(|(s, check)| (Arc::clone(s.name()), Arc::clone(check)));
        self.own.get_or_init(|| named.collect());
        self.start_with(checks);
        Ok(())
    }

    /// Begins with these checks, one for each service.
    pub(super) fn start_with(&self, checks: Vec<Arc<dyn Check>>) {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for (service, check) in self.board.services().iter().zip(checks) {
            let follower = Follower {
                streams: self.streams.clone(),
                service: Arc::clone(service),
                generation: self.recorder.generation(),
                role: self.lease.role(),
            };
            keepers.spawn(follower.run());
            let (sender, receiver) = mpsc::channel(1);
            requests.insert(Arc::clone(service.name()), sender);
            let watcher = Watcher {
                service: Arc::clone(service),
                check,
                pace: self.pace,
                recorder: Arc::clone(&self.recorder),
                role: self.lease.role(),
                requests: receiver,
                clock: Arc::clone(&self.clock),
                ids: Arc::clone(&self.ids),
            };
            let board = Arc::clone(&self.board);
            watchers.spawn(async move {
                // What the service was known to be before is what a first failure is held against.
                board.loaded(Duration::from_secs(5)).await;
                watcher.run().await;
            });
        }
        let (lease, recorder) = (Arc::clone(&self.lease), Arc::clone(&self.recorder));
        if self.watch {
            watchers.spawn(async move { lease.keep().await });
        } else {
            lease.stand_aside();
        }
        keepers.spawn(async move { recorder.run().await });
    }

    fn check_of(&self, kind: &Kind, own: &Own<'_>) -> Result<Arc<dyn Check>, String> {
        Ok(match kind {
            Kind::OwnHttp => {
                let scheme = if own.tls.is_some() { "https" } else { "http" };
                let url = format!("{scheme}://{}/health", own.http);
                Arc::new(HttpCheck { client: own_client(own.tls)?, url, status: Some(200) })
            }
            Kind::OwnWebsocket => Arc::new(SocketIoCheck::new(own.sockets, own.tls, self.pass.clone())?),
            Kind::Store => Arc::<StoreCheck>::clone(&self.store_check),
            Kind::Http { url, status } => {
                Arc::new(HttpCheck { client: client(true)?, url: url.clone(), status: *status })
            }
            Kind::Tcp(address) => Arc::new(TcpCheck(address.clone())),
            Kind::KurrentDb { url, verify, .. } => Arc::new(KurrentDbCheck::new(url, *verify)?),
        })
    }

    /// Ends: watching first, so that the end of what is watched is no outage; then what was seen is written, and that
    /// the watching stopped; then the lease is given back. To be called before the listener or the store closes.
    pub async fn stop(&self) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let watchers = std::mem::take(&mut *self.watchers.lock().unwrap_or_else(PoisonError::into_inner));
        let watched = !watchers.is_empty();
        end(watchers).await;
        if watched && *self.lease.role().borrow() == Role::Recording {
            let now = self.clock.now().millis();
            for service in self.board.services() {
                let stopped = Word {
                    id: self.ids.next_id(),
                    status: None,
                    since: now,
                    seen: now,
                    sight: Sight::default(),
                };
                self.recorder.say(service, stopped, None);
            }
            if !self.recorder.written(END_WITHIN).await {
                tracing::warn!("not all that was seen of services could be written before the end");
            }
            if tokio::time::timeout(END_WITHIN, self.lease.release()).await.is_err() {
                tracing::warn!("the lease on uptime could not be given back in time; it runs out by itself");
            }
        }
        let keepers = std::mem::take(&mut *self.keepers.lock().unwrap_or_else(PoisonError::into_inner));
        end(keepers).await;
    }

    /// What this instance does, and each change of it.
    #[must_use]
    pub fn role(&self) -> watch::Receiver<Role> {
        self.lease.role()
    }

    /// Every change of a service's state from now on, whichever instance recorded it.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<StatusChange> {
        self.board.changes()
    }

    /// Every service with its history.
    #[must_use]
    pub fn services(&self) -> &[Arc<Service>] {
        self.board.services()
    }

    pub(super) fn now(&self) -> DateTime {
        DateTime::from_millis(self.clock.now().millis())
    }
}

/// Where this process listens, and what is spoken there.
struct Own<'a> {
    http: SocketAddr,
    sockets: SocketAddr,
    tls: Option<&'a Tls>,
}

async fn end(mut tasks: JoinSet<()>) {
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
}

/// A listener on every address is reached by this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
