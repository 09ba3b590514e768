//! Which store keeps the events, opened: the engine in this process, or a KurrentDB server.

use crate::config::{Config, DataDir, EventStoreKind, Server};
use event_store::{Clock, EventStore, IdSource};
use event_store_embedded::{self as engine, Engine, OpenError};
use event_store_kurrentdb::{self as adapter, KurrentDb};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    sync::Arc,
};

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Unopened {
    /// What the data directory holds, or who.
    #[error("DATA_DIR: {0}")]
    Embedded(#[from] OpenError),
    /// What is said of the server cannot be used. That it is away is no reason: see [`open`].
    #[error("KURRENTDB_URL: {0}")]
    Kurrentdb(String),
}

/// Opens the store that the settings ask for. A KurrentDB server need not be there: the store finds it when it comes.
///
/// # Errors
/// Why it cannot be opened, in a line that a person can act on.
pub async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
) -> Result<Arc<dyn EventStore>, Unopened> {
    match config.settings.event_store {
        EventStoreKind::Embedded => Ok(open_embedded(&config.settings.data_dir, clock, ids).await?),
        EventStoreKind::Kurrentdb => Ok(Arc::new(connect(&config.kurrentdb(), ids)?)),
    }
}

/// Opens the embedded store.
///
/// # Errors
/// Why it cannot be opened, in a line that a person can act on.
pub async fn open_embedded(
    data: &DataDir,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
) -> Result<Arc<dyn EventStore>, OpenError> {
    open_engine(options(data, clock, ids)).await
}

/// The same where a person has said that what the log lost need not come back.
pub(crate) async fn open_without_the_lost(
    data: &DataDir,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
) -> Result<Arc<dyn EventStore>, OpenError> {
    open_engine(options(data, clock, ids).accept_loss()).await
}

fn options(data: &DataDir, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> engine::Options {
    data.path().map_or_else(engine::Options::in_memory, engine::Options::at).clock(clock).ids(ids)
}

async fn open_engine(options: engine::Options) -> Result<Arc<dyn EventStore>, OpenError> {
    // Opening reads files, and after a kill it reads much.
    match tokio::task::spawn_blocking(move || Engine::open(options)).await {
        Ok(opened) => opened.map(|engine| Arc::new(engine) as Arc<dyn EventStore>),
        Err(failed) => Err(OpenError::Index(format!("opening it failed: {failed}"))),
    }
}

/// A store on a KurrentDB server, whether it is there or not.
///
/// # Errors
/// [`Unopened::Kurrentdb`] if what is said of it cannot be used.
pub fn connect(server: &Server, ids: Arc<dyn IdSource>) -> Result<KurrentDb, Unopened> {
    let unusable = |e: &dyn std::fmt::Display| Unopened::Kurrentdb(e.to_string());
    let options = adapter::Options::connect(server.connection_string()).map_err(|e| unusable(&e))?.ids(ids);
    let options = match server.credentials() {
        Some((name, password)) => options.credentials(name, password),
        None => options,
    };
    KurrentDb::new(options).map_err(|e| unusable(&e))
}

/// Keeps other services out of a directory that holds read models alone, as the embedded store does for its own. Dropping
/// it lets them in.
///
/// # Errors
/// [`OpenError::Locked`] if another process has it, [`OpenError::Io`] if it cannot be used.
pub fn hold(data: &DataDir) -> Result<Option<File>, OpenError> {
    let Some(directory) = data.path() else { return Ok(None) };
    let failed = |error: io::Error| OpenError::Io { place: directory.display().to_string(), error };
    // For this user alone, as the embedded store makes its own.
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(failed)?;
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let file = options.open(directory.join("LOCK")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(directory.display().to_string())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
