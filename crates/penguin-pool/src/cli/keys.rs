//! `penguin-pool keys`: the keys of users' data.

use super::{Failure, FailureCode, accounts::BY, other, print, trail::written};
use crate::{
    audit::Deed,
    config::{Config, EventStoreKind},
    key_store,
    serve::{no_keys, unopenable},
    store,
};
use clap::Subcommand;
use event_store::{
    Error, EventFilter, EventStore, ExpectedState, RandomIds, ReadAll, ReadFrom, StreamName, SystemClock,
};
use models::UserStream;
use std::{collections::BTreeSet, io::Write as _, path::Path, sync::Arc};

/// How many events are read at once.
const PAGE: usize = 1_000;

/// What to do with the keys of users' data.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Wrap every user's key by the first of `ENCRYPTION_KEY`.
    ///
    /// The service must not run on the same key store meanwhile. No user's event is read or written; where a trail is kept
    /// (`AUDIT`), it stands there, so the store is opened. After it, the other keys of `ENCRYPTION_KEY` are needed no more.
    Rotate,
    /// Give up the data of users whose keys are lost, so that the service starts again.
    ///
    /// Only for a key store that is gone, with all its copies: what its keys encrypted nobody can read again. The streams of
    /// those users are deleted (softly: they may be written again, with other keys), and of nobody else. A key store that was
    /// merely mislaid is to be put back instead. The service must not run on the same data directory meanwhile.
    AcceptLoss,
}

/// Does it.
pub(super) async fn keys(config: Config, command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Rotate => rotate(config).await,
        KeysCommand::AcceptLoss => accept_loss(config).await,
    }
}

async fn rotate(config: Config) -> Result<(), Failure> {
    let settings = |message| Failure { code: FailureCode::Settings, message };
    let data = &config.settings.data_dir;
    let keys = key_store::open(&config.settings).await.map_err(|e| no_keys(data, e))?;
    let rotated = async { keys.rotate().await.map_err(|e| settings(e.to_string())) };
    let count = if config.settings.audit {
        let opened = store::open(&config, Arc::new(SystemClock), Arc::new(RandomIds)).await;
        let store = opened.map_err(|e| unopenable(data, e))?;
        let rotated = written(&config, &store, Deed::new(BY, "rotate-keys", Vec::new()), rotated).await;
        store.close().await.map_err(other)?;
        rotated?
    } else {
        rotated.await?
    };
    print(&format!("{count} keys were wrapped by the first key of ENCRYPTION_KEY; no event was touched\n"))
}

async fn accept_loss(config: Config) -> Result<(), Failure> {
    let data = config.settings.data_dir.clone();
    let embedded = config.settings.event_store == EventStoreKind::Embedded;
    if embedded && !data.path().is_some_and(Path::is_dir) {
        let message = "DATA_DIR: there is no event store here; write the directory of one".to_owned();
        return Err(Failure { code: FailureCode::Data, message });
    }
    let keys = key_store::open(&config.settings).await.map_err(|e| no_keys(&data, e))?;
    let ids = Arc::new(RandomIds);
    let opened = store::open(&config, Arc::new(SystemClock), ids.clone()).await;
    let store = opened.map_err(|e| unopenable(&data, e))?;
    let keys = keys.for_events_in(Arc::clone(&store), ids);
    let lost = keys.lost().await.map_err(other)?;
    let users: BTreeSet<&str> = lost.iter().map(|(user_id, _)| user_id.as_str()).collect();
    let streams =
        if users.is_empty() { BTreeSet::new() } else { streams_of(&*store, &users).await.map_err(other)? };
    let given_up = async {
        // The streams first: whoever breaks it off finds the keys missing still, and begins again.
        for stream in &streams {
            match store.delete(stream, ExpectedState::Any).await {
                Ok(_) | Err(Error::StreamNotFound(_) | Error::StreamDeleted(_)) => {}
                Err(error) => return Err(other(error)),
            }
            // Progress is a courtesy: nothing is lost if nobody can read it.
            let _ = writeln!(std::io::stderr(), "given up: {stream}");
        }
        keys.give_up(&lost).await.map_err(other)
    };
    let of = users.iter().map(|user_id| format!("user-{user_id}")).collect();
    written(&config, &store, Deed::new(BY, "accept-loss", of), given_up).await?;
    store.close().await.map_err(other)?;
    print(&format!(
        "The keys of {} users were given up, and {} streams of theirs deleted\n",
        users.len(),
        streams.len()
    ))
}

/// The streams of these users.
async fn streams_of(store: &dyn EventStore, users: &BTreeSet<&str>) -> Result<BTreeSet<StreamName>, Error> {
    let mut streams = BTreeSet::new();
    let mut from = ReadFrom::Start;
    loop {
        let filter = Some(EventFilter::stream_prefix(["user-"]));
        let page = store.read_all(ReadAll { from, filter, ..ReadAll::forwards(PAGE) }).await?;
        for event in page.events.into_iter().filter_map(|event| event.event) {
            if UserStream::split(event.stream.as_str()).is_some_and(|of| users.contains(of.user_id)) {
                streams.insert(event.stream);
            }
        }
        match page.next {
            Some(next) => from = ReadFrom::At(next),
            None => return Ok(streams),
        }
    }
}
