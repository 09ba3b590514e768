//! The command line.

mod accounts;
mod keys;
mod trail;

use crate::{
    app::{self, Parts},
    audit,
    catalogue::{Catalogue, Options, Progress},
    config::{self, Config, DataDir, EventStoreKind, Host, Inputs, Server, StoreUrl, Value},
    copy::{self, Copied},
    http::Documents,
    ops::Lifecycle,
    security::Keys,
    serve::{serve, serve_kurrentdb, unopenable},
    store::{self, Unopened},
};
use clap::{Parser, Subcommand};
use event_store::{Clock as _, EventStore, RandomIds, SystemClock};
use event_store_embedded::OpenError;
use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

/// How often a long command says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Why the program ends with a failure: the code it ends with, and one line for each reason.
///
/// The codes are part of the command line's contract: scripts and service managers decide by them.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: FailureCode,
    /// What to tell the caller, on stderr.
    pub message: String,
}

/// The exit codes of failures. 0 is success, and 2 a wrong command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FailureCode {
    /// Something failed that none of the others names.
    Other = 1,
    /// A setting cannot be used.
    Settings = 3,
    /// The address cannot be bound: the port is taken, or not allowed, or the address is not this machine's.
    Address = 4,
    /// The data directory cannot be used: it is in use, not writable, or damaged.
    Data = 5,
}

impl From<config::Refusal> for Failure {
    fn from(refusal: config::Refusal) -> Self {
        Self { code: FailureCode::Settings, message: refusal.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { code: FailureCode::Other, message: error.to_string() }
    }
}

/// The backend of the Penguin Pool lending app: event streams over HTTP, safe on disk.
#[derive(Debug, Parser)]
#[command(name = "penguin-pool", version, after_help = EXAMPLES, after_long_help = long_help())]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service (what happens without a command, too).
    ///
    /// It runs until SIGTERM, SIGINT or SIGHUP: then readiness fails, running requests finish, and the store is closed. A
    /// second signal ends it at once; no acknowledged event is lost by that.
    Serve,
    /// Print the settings in force and where each came from; secrets are masked.
    ///
    /// Nothing is started. A setting that cannot be used is reported as it would be at start.
    Config {
        /// As JSON, for programs.
        #[arg(long, conflicts_with_all = ["markdown", "example"])]
        json: bool,
        /// Every setting as the README's table, whatever is in force.
        #[arg(long, conflicts_with = "example")]
        markdown: bool,
        /// Every setting as `.env.example`, whatever is in force.
        #[arg(long)]
        example: bool,
    },
    /// Write the API's documents: OpenAPI 3.1 and 3.0.3 as JSON and YAML, and AsyncAPI 3 for what is pushed.
    Openapi {
        /// The directory to write them to.
        #[arg(long, default_value = "openapi")]
        out: PathBuf,
        /// Write nothing: fail if what is there differs from what the models say.
        #[arg(long)]
        check: bool,
    },
    /// Throw the stream catalogue away and make it again from the events.
    ///
    /// The service must not run on the same data directory meanwhile. Events are read and not touched.
    Rebuild {
        /// Go on without events that were safe on disk and are gone, where the store does not open for that.
        ///
        /// It says which. Their positions and revisions are given to new events, so whoever keeps some of them elsewhere (a
        /// checkpoint, a copy) has to begin anew. Put the files back instead if they are anywhere.
        #[arg(long)]
        accept_loss: bool,
    },
    /// The trail of who did what.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// The keys of users' data.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Copy every event to a KurrentDB: from one machine to a server or cluster.
    ///
    /// Events keep their ids, revisions, data, metadata and order; KurrentDB gives them positions and times of its own. It can
    /// be broken off and begun again at any time, and events that are there already are left as they are. The service must not
    /// run on the data directory meanwhile.
    Copy {
        /// Where to: a connection string, such as kurrentdb://admin:secret@host:2113?tls=true.
        #[arg(long, value_parser = <StoreUrl as Value>::parse)]
        to: StoreUrl,
        /// Where from: a data directory (`DATA_DIR` unless given), or a connection string.
        #[arg(long)]
        from: Option<String>,
    },
    /// Make, change and list accounts. The service must not run on the same data directory meanwhile.
    #[command(subcommand)]
    User(accounts::UserCommand),
    /// Make, revoke and list API keys. The service must not run on the same data directory meanwhile.
    #[command(subcommand)]
    Key(accounts::KeyCommand),
    /// Serve KurrentDB's protocol alone: an instant KurrentDB for other projects' tests.
    ///
    /// It prints its connection string when it is ready, and runs until SIGTERM, SIGINT or SIGHUP. Whoever reaches the port is
    /// let in. No setting is read.
    Kurrentdb {
        /// The port; 0 takes a free one.
        #[arg(long, default_value_t = 2113)]
        port: u16,
        /// The address to bind.
        #[arg(long, default_value = "127.0.0.1", value_parser = <Host as Value>::parse)]
        host: Host,
        /// The directory that keeps the events; `:memory:` loses them at the end.
        #[arg(long, default_value = ":memory:", value_parser = <DataDir as Value>::parse)]
        data: DataDir,
    },
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Go along the whole trail, and tell what was changed, moved or taken out.
    ///
    /// The service must not run on the same data directory meanwhile. It prints the newest record's hash: note it
    /// elsewhere, for nobody can tell from the trail alone whether its end was cut off.
    Verify,
}

const EXAMPLES: &str = "\
Examples:
  penguin-pool                             Serve on http://127.0.0.1:3001, events in ./data
  HTTP_PORT=8080 DATA_DIR=:memory: penguin-pool
                                           On another port, and nothing is kept
  penguin-pool config                      What is in force, and why
  HTTP_PORT=8080 penguin-pool config       The environment wins over every file
  penguin-pool config --json | jq          The same for programs
  penguin-pool kurrentdb --port 0          A KurrentDB in memory, on a free port
  penguin-pool copy --to 'kurrentdb://admin:secret@db.example.org:2113'
                                           Every event of ./data to a KurrentDB
  penguin-pool user add bob --role admin   An account; its password is made up and shown once
  penguin-pool key add bob --scope read    An API key for it, shown once

Exit codes:
  0 success   1 failure   2 wrong command line   3 a setting cannot be used
  4 the address cannot be bound   5 the data directory cannot be used";

fn long_help() -> String {
    format!("{EXAMPLES}\n\n{}", config::help_section())
}

/// Runs the program on the process's arguments. What goes wrong is said on stderr, a line for each reason.
#[must_use]
pub fn run() -> ExitCode {
    match execute(Cli::parse().command.unwrap_or(Command::Serve)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut stderr = std::io::stderr().lock();
            for line in failure.message.lines() {
                // Nobody is left to tell if stderr is gone.
                let _ = writeln!(stderr, "penguin-pool: {line}");
            }
            ExitCode::from(failure.code as u8)
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve => block_on(serve(Config::load()?))?,
        Command::Openapi { out, check } => {
            let documents = block_on(documents())??;
            if check { check_documents(&documents, &out) } else { Ok(documents.write_to(&out)?) }
        }
        Command::Rebuild { accept_loss } => block_on(rebuild(Config::load()?, accept_loss))?,
        Command::Audit { command: AuditCommand::Verify } => block_on(verify(Config::load()?))?,
        Command::Keys(command) => block_on(keys::keys(Config::load()?, command))?,
        Command::Copy { to, from } => block_on(copy(Config::load()?, &to, from))?,
        Command::User(command) => block_on(accounts::user(Config::load()?, command))?,
        Command::Key(command) => block_on(accounts::key(Config::load()?, command))?,
        Command::Kurrentdb { port, host, data } => {
            block_on(serve_kurrentdb(&host, port, &data, |connection| print(&format!("{connection}\n"))))?
        }
        Command::Config { markdown: true, .. } => print(&config::markdown_table()),
        Command::Config { example: true, .. } => print(&config::env_example()),
        Command::Config { json, .. } => {
            let config = Config::load()?;
            for warning in &config.warnings {
                writeln!(std::io::stderr(), "penguin-pool: warning: {warning}")?;
            }
            if json { print(&format!("{:#}\n", config.to_json())) } else { print(&config.to_text()) }
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future))
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure { code: FailureCode::Other, message: error.to_string() }
}

/// The documents of the API as the defaults serve it: nothing of this machine's settings gets into them.
async fn documents() -> Result<Documents, Failure> {
    let clock = Arc::new(SystemClock);
    let ids = Arc::new(RandomIds);
    let config = Config::from_inputs(&Inputs::default())?;
    let store = store::open_embedded(&DataDir::Memory, clock.clone(), ids.clone()).await.map_err(other)?;
    let options = Options::new(app::catalogue_place(&DataDir::Memory));
    let catalogue = Catalogue::open(options, Arc::clone(&store), clock.clone()).await.map_err(other)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, config.settings.http_port));
    let parts = Parts { config, store, keys: Keys::none(), clock, ids };
    let api = app::api(&parts, &catalogue, address, parts.config.settings.ws_port, &Lifecycle::new())
        .map_err(other)?;
    catalogue.stop().await;
    parts.store.close().await.map_err(other)?;
    Ok(api.documents)
}

fn check_documents(documents: &Documents, directory: &Path) -> Result<(), Failure> {
    let differs = |(name, text): &(&str, &bytes::Bytes)| {
        std::fs::read(directory.join(name)).ok().is_none_or(|there| there != **text)
    };
    let stale: Vec<_> = documents.files().into_iter().filter(differs).map(|(name, _)| name).collect();
    if stale.is_empty() {
        return Ok(());
    }
    let directory = directory.display();
    Err(other(format!(
        "{directory}: not what the models say: {}; write them anew: penguin-pool openapi --out {directory}",
        stale.join(", ")
    )))
}

async fn verify(config: Config) -> Result<(), Failure> {
    let data = config.settings.data_dir.clone();
    let embedded = config.settings.event_store == EventStoreKind::Embedded;
    if embedded && !data.path().is_some_and(Path::is_dir) {
        let message = "DATA_DIR: there is no event store to look into; write the directory of one".to_owned();
        return Err(Failure { code: FailureCode::Data, message });
    }
    let opened = store::open(&config, Arc::new(SystemClock), Arc::new(RandomIds)).await;
    let store = opened.map_err(|e| unopenable(&data, e))?;
    let verdict = audit::verify(&*store).await.map_err(other)?;
    store.close().await.map_err(other)?;
    let newest = verdict.newest.unwrap_or_else(|| "none".to_owned());
    if verdict.faults.is_empty() {
        return print(&format!("{} records, no fault; the newest has the hash {newest}\n", verdict.records));
    }
    let faults = verdict.faults.iter().map(|fault| format!("number {}: {}", fault.revision, fault.message));
    Err(other(faults.collect::<Vec<_>>().join("\n")))
}

async fn rebuild(config: Config, accept_loss: bool) -> Result<(), Failure> {
    let options = app::catalogue_options(&config.settings);
    let data = config.settings.data_dir.clone();
    let embedded = config.settings.event_store == EventStoreKind::Embedded;
    if data.path().is_none_or(|directory| embedded && !directory.is_dir()) {
        let message =
            "DATA_DIR: there is no event store to rebuild from; write the directory of one".to_owned();
        return Err(Failure { code: FailureCode::Data, message });
    }
    let held = if embedded { None } else { store::hold(&data).map_err(|e| unopenable(&data, e.into()))? };
    let clock = Arc::new(SystemClock);
    let began = clock.monotonic();
    let mut opened = store::open(&config, clock.clone(), Arc::new(RandomIds)).await;
    if let (true, Err(Unopened::Embedded(lost @ OpenError::Lost { .. }))) = (accept_loss, &opened) {
        writeln!(std::io::stderr(), "penguin-pool: given up, as asked: {lost}")?;
        let without = store::open_without_the_lost(&data, clock.clone(), Arc::new(RandomIds)).await;
        opened = without.map_err(Unopened::from);
    }
    let store = opened.map_err(|e| unopenable(&data, e))?;
    let mut told = 0;
    let tell = |progress: Progress| {
        // A line for each tenth: enough to see it move, and little enough for a log.
        let tenth = progress.events.saturating_mul(10).checked_div(progress.of).unwrap_or(10);
        if tenth > told {
            told = tenth;
            // Progress is a courtesy: nothing is lost if nobody can read it.
            let _ = writeln!(std::io::stderr(), "{} of {} events", progress.events, progress.of);
        }
    };
    let progress =
        Catalogue::rebuild(options, Arc::clone(&store), clock.clone(), tell).await.map_err(other)?;
    store.close().await.map_err(other)?;
    drop(held);
    let took = clock.monotonic().saturating_sub(began);
    print(&format!("The catalogue was rebuilt from {} events in {} ms\n", progress.events, took.as_millis()))
}

async fn copy(config: Config, to: &StoreUrl, from: Option<String>) -> Result<(), Failure> {
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
    let connect = |url: &StoreUrl| -> Result<Arc<dyn EventStore>, Failure> {
        if !url.is_connection_string() {
            let message = "a KurrentDB is named by a connection string here: kurrentdb://host:port?tls=false"
                .to_owned();
            return Err(Failure { code: FailureCode::Settings, message });
        }
        let store = store::connect(&Server::from_connection_string(url), ids.clone());
        Ok(Arc::new(store.map_err(|e| unopenable(&DataDir::Memory, e))?))
    };
    let from: Arc<dyn EventStore> = match from.as_deref().filter(|from| from.contains("://")) {
        Some(url) => connect(&StoreUrl::parse(url).map_err(|why| other(format!("--from {why}")))?)?,
        None => {
            let data = from.map_or(config.settings.data_dir, |path| DataDir::Directory(path.into()));
            if !data.path().is_some_and(Path::is_dir) {
                let message =
                    "DATA_DIR: there is no event store to copy; write the directory of one".to_owned();
                return Err(Failure { code: FailureCode::Data, message });
            }
            let opened = store::open_embedded(&data, clock.clone(), ids.clone()).await;
            opened.map_err(|e| unopenable(&data, e.into()))?
        }
    };
    let target = connect(to)?;
    let of = from.statistics().await.map_err(other)?.events;
    let mut told = clock.monotonic();
    let tell = |copied: Copied| {
        if clock.monotonic().saturating_sub(told) >= TELL_EVERY {
            told = clock.monotonic();
            // Progress is a courtesy: nothing is lost if nobody can read it.
            let _ = writeln!(std::io::stderr(), "{} of {of} events", copied.events());
        }
    };
    let copied = copy::copy(&*from, &*target, tell).await.map_err(other)?;
    from.close().await.map_err(other)?;
    target.close().await.map_err(other)?;
    let Copied { written, found, left, streams } = copied;
    print(&format!(
        "Copied {written} events to {}; {found} were there already, and {left} of the system stay behind; {streams} streams\n",
        to.redacted()
    ))
}

/// Prints to stdout. A reader that went away (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
