//! The process: begins the service, waits for a signal, ends in order.

use crate::{
    app::{Parts, Service},
    cli::{Failure, FailureCode},
    config::{AuthMode, Config, DataDir, EventStoreKind, Host, Origins, Proxies},
    key_store,
    kurrentdb::{self, Listening, Wanted},
    ops::{Phase, logging, metrics::Metrics},
    security::{Gate, Identity, accounts::AccountError},
    server::{self, End, Listeners, Tls},
    status::SERVICE,
    store::{self, Unopened},
};
use event_store::{Clock, Error, IdSource, RandomIds, SystemClock};
use event_store_embedded::OpenError;
use secrecy::ExposeSecret as _;
use std::{
    io::{self, Write as _},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long calls may take to finish when the protocol served alone stops.
const ALONE_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the service until it is told to stop.
///
/// # Errors
/// Why it cannot begin, or could not end cleanly.
pub async fn serve(config: Config) -> Result<(), Failure> {
    let clock = Arc::new(SystemClock);
    let began = clock.monotonic();
    logging::init(&config.settings.log_level, config.settings.log_format);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let _ = Metrics::begin(clock.clone());
    // From here on a signal no longer kills the process at once, so that no store is left half open.
    let mut signals = Signals::listen()?;
    let tls = Tls::open(&config.settings, clock.clone())
        .await
        .map_err(|message| Failure { code: FailureCode::Settings, message })?;
    let host = config.settings.host.clone();
    let listeners = Listeners::bind(&config.settings)
        .await
        .map_err(|(name, port, error)| unbindable(name, &host, port, &error))?
        .with_tls(tls);
    let face = match kurrentdb::wanted(&config) {
        Wanted::At(host, port) => {
            Some(server::bind(&host, port).await.map_err(|e| unbindable_face(&host, port, &e))?)
        }
        Wanted::Off => None,
    };
    // Before the store: a wrong key changes nothing.
    let keys = key_store::open(&config.settings).await.map_err(|e| no_keys(&config.settings.data_dir, e))?;
    let data = config.settings.data_dir.clone();
    let ids: Arc<dyn IdSource> = Arc::new(RandomIds);
    // The embedded store keeps others out of its directory by itself.
    let elsewhere = config.settings.event_store == EventStoreKind::Kurrentdb;
    let held = if elsewhere { store::hold(&data).map_err(|e| unopenable(&data, e.into()))? } else { None };
    let store = if elsewhere { config.kurrentdb().shown().to_owned() } else { "embedded".to_owned() };
    let open = config.settings.auth_mode == AuthMode::Off;
    let signs_for_others = config.settings.jwt_signing_secret.is_some();
    let reached = face.as_ref().and_then(|f| f.local_addr().ok()).filter(|a| open && !a.ip().is_loopback());
    if let Some(address) = reached {
        tracing::warn!(%address, "KurrentDB's protocol lets in whoever reaches it, and it is not on this machine alone");
    }
    let environment = config.environment.as_str();
    let beginning = async {
        tracing::debug!(store, data = data_shown(&data), "opening the store");
        let store =
            store::open(&config, clock.clone(), Arc::clone(&ids)).await.map_err(|e| unopenable(&data, e))?;
        let keys =
            key_store::settle(keys, &config.settings, &store, &ids).await.map_err(|e| no_keys(&data, e))?;
        let parts = Parts { config, store, keys, clock: clock.clone(), ids };
        Service::start(listeners, parts).await.map_err(failed)
    };
    let mut service = tokio::select! {
        biased;
        name = signals.next() => {
            // Opening cannot be told to stop, and may take long. It answered nobody yet, and any of its steps may be the
            // last: the next start begins where this one was.
            tracing::warn!(signal = name, "ended at once: the service had not begun yet");
            std::process::exit(signals.exit_code());
        }
        begun = beginning => begun?,
    };
    let face = face.map(|listener| service.serve_kurrentdb(listener)).transpose().map_err(failed)?;
    if open {
        tracing::warn!(
            "AUTH_MODE=off: whoever reaches this service may do everything, as the service itself"
        );
    } else if !signs_for_others {
        tracing::warn!(
            "JWT_SIGNING_SECRET is not set: the tokens that this process gives end with it, and no other instance takes them"
        );
    }
    if !open {
        tokio::spawn(first_admin(service.identity().clone()));
    }
    let tls = service.speaks_tls();
    let url = format!("{}://{}", if tls { "https" } else { "http" }, service.address());
    tracing::info!(
        %url,
        docs = format!("{url}/api/docs"),
        sockets = %service.sockets_address(),
        kurrentdb = face.map(|address| connection_string(address, tls)),
        store,
        data = data_shown(&data),
        environment,
        version = env!("CARGO_PKG_VERSION"),
        elapsed_ms = millis(clock.monotonic().saturating_sub(began)),
        "{SERVICE} is ready"
    );
    let name = signals.next().await;
    // Readiness fails before anything else happens, the log's line too: whoever reads it may rely on that.
    service.lifecycle().advance(Phase::Leaving);
    tracing::info!(signal = name, "stopping; a second signal ends at once");
    let stopping = clock.monotonic();
    tokio::spawn(async move {
        signals.next().await;
        tracing::warn!(
            "ended at once, as a second signal asked; the next start recovers what was not closed"
        );
        std::process::exit(signals.exit_code());
    });
    match service.stop().await.map_err(failed)? {
        End::Clean => {}
        End::Cut(connections) => {
            tracing::warn!(connections, "requests that did not finish in time were cut off")
        }
    }
    drop(held);
    tracing::info!(elapsed_ms = millis(clock.monotonic().saturating_sub(stopping)), "stopped");
    Ok(())
}

/// Makes the first account of a store that has none, and prints its password: to stderr, which is for whoever started
/// this, and not to the log, which is kept (and goes to stdout).
async fn first_admin(identity: Identity) {
    let mut complained = false;
    loop {
        match identity.first_admin().await {
            Ok(None) => return,
            Ok(Some((login_name, password))) => {
                // If nobody reads it, `penguin-pool user passwd` gives another.
                let _ = writeln!(
                    io::stderr(),
                    "penguin-pool: the first account was made; this is shown once\n  login name: {login_name}\n  password:   {}",
                    password.expose_secret()
                );
                return;
            }
            Err(AccountError::Store(Error::Closed)) => return,
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(%error, "whether there are accounts cannot be told; nobody can log in until then");
                }
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
    }
}

/// Serves KurrentDB's protocol alone, until it is told to stop. `ready` is given the connection string.
///
/// # Errors
/// Why it cannot begin, or could not end cleanly.
pub async fn serve_kurrentdb(
    host: &Host,
    port: u16,
    data: &DataDir,
    ready: impl FnOnce(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let listener = server::bind(host, port).await.map_err(|e| unbindable_alone(host, port, &e))?;
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
    let opened = store::open_embedded(data, clock.clone(), ids.clone()).await;
    let store = opened.map_err(|e| unopenable(data, e.into()))?;
    let gate = Gate::new(Arc::clone(&store));
    let parts = kurrentdb::Parts {
        gate,
        identity: None,
        limiter: None,
        calls: None,
        crowd: None,
        proxies: Proxies::default(),
        tls: None,
        clock,
        ids,
        origins: Origins::default(),
        patience: ALONE_PATIENCE,
    };
    let listening = Listening::start(listener, parts)?;
    ready(&connection_string(listening.address(), false))?;
    signals.next().await;
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(signals.exit_code());
    });
    listening.stop().await.map_err(failed)?;
    store.close().await.map_err(|e| failed(format!("the event store could not be closed cleanly: {e}")))
}

/// How KurrentDB's clients are told where a node is.
fn connection_string(address: SocketAddr, tls: bool) -> String {
    format!("kurrentdb://{address}?tls={tls}")
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn failed(message: String) -> Failure {
    Failure { code: FailureCode::Other, message }
}

fn data_shown(data: &DataDir) -> String {
    match data.path() {
        None => "in memory, lost at the end".to_owned(),
        // Where it really is; as it was written if that cannot be told.
        Some(path) => path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string(),
    }
}

fn unbindable(name: &str, host: &Host, port: u16, error: &io::Error) -> Failure {
    let message = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{name}: {host}:{port} is taken by another program; stop that one, or write another {name}"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("{name}: this user may not bind {host}:{port}; write an {name} from 1024 on")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "HOST: {host} is no address of this machine; write one that is, or 0.0.0.0 for all of them"
            )
        }
        _ => format!("HOST: {host}:{port} cannot be bound: {error}"),
    };
    Failure { code: FailureCode::Address, message }
}

fn unbindable_face(host: &Host, port: u16, error: &io::Error) -> Failure {
    let message = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "KURRENTDB_PORT: {host}:{port} is taken by another program; if it is the KurrentDB that is to keep the events, \
             write EVENT_STORE=kurrentdb; if not, write KURRENTDB_PORT=off or another port"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("KURRENTDB_PORT: this user may not bind {host}:{port}; write a port from 1024 on, or off")
        }
        _ => format!("KURRENTDB_LISTEN: {host}:{port} cannot be bound: {error}"),
    };
    Failure { code: FailureCode::Address, message }
}

/// The same for the protocol served alone, whose place the command line says.
fn unbindable_alone(host: &Host, port: u16, error: &io::Error) -> Failure {
    let message = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "--port: {host}:{port} is taken by another program; stop that one, or give another port (0 for any that is free)"
        ),
        io::ErrorKind::PermissionDenied => {
            format!(
                "--port: this user may not bind {host}:{port}; give one from 1024 on, or 0 for any that is free"
            )
        }
        _ => format!("--host: {host}:{port} cannot be bound: {error}"),
    };
    Failure { code: FailureCode::Address, message }
}

pub(crate) fn unopenable(data: &DataDir, error: Unopened) -> Failure {
    let error = match error {
        Unopened::Kurrentdb(_) => {
            return Failure { code: FailureCode::Settings, message: error.to_string() };
        }
        Unopened::Embedded(error) => error,
    };
    let message = match error {
        OpenError::Locked(_) => return in_use(data),
        OpenError::Io { error, .. } => {
            format!(
                "DATA_DIR: {} cannot be used: {error}; write a directory that can be written",
                data_shown(data)
            )
        }
        OpenError::Lost { .. } => format!(
            "DATA_DIR: {error}; put the files of log/ back as they were, from where they are or from a backup, or give up \
             what is gone: penguin-pool rebuild --accept-loss"
        ),
        other => format!("DATA_DIR: {other}"),
    };
    Failure { code: FailureCode::Data, message }
}

/// Why there are no keys of users' data.
pub(crate) fn no_keys(data: &DataDir, error: key_store::Unopened) -> Failure {
    match error {
        key_store::Unopened::InUse => in_use(data),
        key_store::Unopened::Setting(message) => Failure { code: FailureCode::Settings, message },
    }
}

fn in_use(data: &DataDir) -> Failure {
    let message = format!(
        "DATA_DIR: {} is in use by another process; stop that one, or write another DATA_DIR",
        data_shown(data)
    );
    Failure { code: FailureCode::Data, message }
}

/// The signals that end the service: what a service manager, a terminal, and a terminal that is closed send.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    last: SignalKind,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            last: SignalKind::terminate(),
        })
    }

    /// Waits for the next one, and says its name.
    async fn next(&mut self) -> &'static str {
        let (kind, name) = tokio::select! {
            _ = self.terminate.recv() => (SignalKind::terminate(), "SIGTERM"),
            _ = self.interrupt.recv() => (SignalKind::interrupt(), "SIGINT"),
            _ = self.hangup.recv() => (SignalKind::hangup(), "SIGHUP"),
        };
        self.last = kind;
        name
    }

    /// What shells and service managers take for "ended by this signal".
    fn exit_code(&self) -> i32 {
        128 + self.last.as_raw_value()
    }
}
