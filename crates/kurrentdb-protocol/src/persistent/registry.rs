//! The groups of a node. They are started when somebody first asks for one, and kept in the store.

use super::{
    Definition, GroupError, GroupKey, Place, Source, Start,
    group::{Handle, Shared},
    info::Info,
    records::{CONFIG_STREAM, Config, Group, config_metadata},
};
use event_store::{Error, ExpectedState, ReadStream, StreamName};
use std::collections::{BTreeMap, btree_map::Entry};
use tokio::sync::{Mutex, MutexGuard};

/// The persistent subscriptions of a node.
#[derive(Debug)]
pub(crate) struct Registry {
    shared: Shared,
    most_groups: usize,
    /// Nothing until somebody asks.
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    config: Config,
    /// Whether the stream of the configuration has its metadata.
    configured: bool,
    /// By the key's text: `a::b` of `c` and `b::c` of `a` would share their streams, so only one of them can be.
    groups: BTreeMap<String, Member>,
}

impl Running {
    fn get(&self, key: &GroupKey) -> Result<&Member, GroupError> {
        let found = self.groups.get(&key.to_string());
        found.filter(|m| m.group.definition.key() == *key).ok_or(GroupError::Missing)
    }
}

#[derive(Debug)]
struct Member {
    group: Group,
    handle: Handle,
}

impl Registry {
    /// None is started yet.
    pub(crate) fn new(shared: Shared, most_groups: usize) -> Self {
        Self { shared, most_groups, running: Mutex::new(None) }
    }

    /// Makes a group.
    pub(crate) async fn create(&self, definition: Definition, by: &str) -> Result<(), GroupError> {
        definition.check()?;
        let mut running = self.running.lock().await;
        let running = self.loaded(&mut running).await?;
        let key = definition.key();
        if running.groups.contains_key(&key.to_string()) {
            return Err(GroupError::Exists);
        }
        if running.groups.len() >= self.most_groups {
            return Err(GroupError::TooMany(format!(
                "this node has {} persistent subscriptions already, which is as many as it may have",
                self.most_groups
            )));
        }
        let group = self.placed(definition).await?;
        self.save(running, |config| config.with(&group), by).await?;
        let handle = Handle::start(self.shared.clone(), group.clone())?;
        running.groups.insert(key.to_string(), Member { group, handle });
        Ok(())
    }

    /// Changes a group. Its checkpoint and its filter stay; its consumers are dropped.
    pub(crate) async fn update(&self, mut definition: Definition, by: &str) -> Result<(), GroupError> {
        let mut running = self.running.lock().await;
        let running = self.loaded(&mut running).await?;
        let key = definition.key();
        let old = running.get(&key)?;
        definition.source = old.group.definition.source.clone();
        definition.check()?;
        // What was the end when it was made is the end still, for one that has come nowhere since.
        let group = match (definition.start, old.group.definition.start) {
            (Start::End, Start::End) => Group { definition, live_from: old.group.live_from },
            _ => self.placed(definition).await?,
        };
        self.save(running, |config| config.with(&group), by).await?;
        if let Some(old) = running.groups.remove(&key.to_string()) {
            old.handle.stop().await;
        }
        let handle = Handle::start(self.shared.clone(), group.clone())?;
        running.groups.insert(key.to_string(), Member { group, handle });
        Ok(())
    }

    /// Ends a group, and forgets how far it had come and what was parked.
    pub(crate) async fn delete(&self, key: &GroupKey, by: &str) -> Result<(), GroupError> {
        let mut running = self.running.lock().await;
        let running = self.loaded(&mut running).await?;
        running.get(key)?;
        self.save(running, |config| config.without(key), by).await?;
        if let Some(old) = running.groups.remove(&key.to_string()) {
            old.handle.stop().await;
        }
        for stream in [key.checkpoints()?, key.parked()?] {
            match self.shared.store.delete(&stream, ExpectedState::Any).await {
                // It never came to be.
                Ok(_) | Err(Error::WrongExpectedRevision { .. } | Error::StreamNotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether a group follows links: what they lead to stands in streams that are not its source.
    pub(crate) async fn resolves_links(&self, key: &GroupKey) -> Result<bool, GroupError> {
        let mut running = self.running.lock().await;
        let running = self.loaded(&mut running).await?;
        running.get(key).map(|m| m.group.definition.settings.resolve_links)
    }

    /// A running group.
    pub(crate) async fn group(&self, key: &GroupKey) -> Result<Handle, GroupError> {
        let mut running = self.running.lock().await;
        let running = self.loaded(&mut running).await?;
        running.get(key).map(|m| m.handle.clone())
    }

    /// How all groups are, or those of one source, in the order of their names.
    pub(crate) async fn list(&self, source: Option<&str>) -> Result<Vec<Info>, GroupError> {
        let handles: Vec<Handle> = {
            let mut running = self.running.lock().await;
            let running = self.loaded(&mut running).await?;
            let of = |m: &Member| source.is_none_or(|s| s == m.group.definition.source.name());
            running.groups.values().filter(|m| of(m)).map(|m| m.handle.clone()).collect()
        };
        let mut infos = Vec::with_capacity(handles.len());
        for handle in handles {
            match handle.info().await {
                Ok(info) => infos.push(info),
                // It was deleted meanwhile.
                Err(GroupError::Dropped) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(infos)
    }

    /// Ends all groups, and starts those that the store names.
    pub(crate) async fn restart(&self) -> Result<(), GroupError> {
        let mut running = self.running.lock().await;
        if let Some(old) = running.take() {
            for member in old.groups.into_values() {
                member.handle.stop().await;
            }
        }
        self.loaded(&mut running).await.map(drop)
    }

    async fn loaded<'a>(
        &self,
        running: &'a mut MutexGuard<'_, Option<Running>>,
    ) -> Result<&'a mut Running, GroupError> {
        let loaded = match running.take() {
            Some(running) => running,
            None => self.load().await?,
        };
        Ok(running.insert(loaded))
    }

    async fn load(&self) -> Result<Running, GroupError> {
        let stream = config_stream()?;
        let page = match self.shared.store.read_stream(&stream, ReadStream::backwards(1)).await {
            Ok(page) => Some(page),
            Err(Error::StreamNotFound(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let newest = page.as_ref().and_then(|p| p.events.first()).and_then(|e| e.event.as_ref());
        let config = newest.map_or_else(|| Ok(Config::empty()), Config::read)?;
        let mut groups = BTreeMap::new();
        for group in config.groups().into_iter().take(self.most_groups) {
            let key = group.definition.key().to_string();
            if let Entry::Vacant(place) = groups.entry(key) {
                let handle = Handle::start(self.shared.clone(), group.clone())?;
                place.insert(Member { group, handle });
            }
        }
        Ok(Running { config, configured: page.is_some(), groups })
    }

    /// The group, and, if it begins at the end, what that is now.
    async fn placed(&self, definition: Definition) -> Result<Group, GroupError> {
        let store = &self.shared.store;
        let last = match &definition.source {
            Source::Stream(name) => match store.stream_info(name).await {
                Ok(info) => Some(Place::Revision(info.last_revision)),
                // After a soft delete revisions go on; where, nobody can tell: everything that comes is new.
                Err(Error::StreamNotFound(_)) => None,
                Err(error) => return Err(error.into()),
            },
            Source::All(_) => store.last_position().await?.map(Place::Position),
        };
        if let (Start::At(Place::Position(start)), true) = (definition.start, definition.source.is_all())
            && last < Some(Place::Position(start))
        {
            return Err(GroupError::Failed(
                "Invalid Start From position: commit position must be less than or equal to the last commit position in the transaction file.".into(),
            ));
        }
        let live_from = (definition.start == Start::End).then_some(last);
        Ok(Group { definition, live_from })
    }

    async fn save(
        &self,
        running: &mut Running,
        change: impl FnOnce(&Config) -> Config,
        by: &str,
    ) -> Result<(), GroupError> {
        let stream = config_stream()?;
        let Shared { store, clock, ids, .. } = &self.shared;
        if !running.configured {
            store.set_metadata(&stream, ExpectedState::Any, &config_metadata(), ids.next_id()).await?;
            running.configured = true;
        }
        let mut config = change(&running.config);
        let event = config.event(ids.next_id(), clock.now(), by);
        store.append(&stream, ExpectedState::Any, vec![event]).await?;
        running.config = config;
        Ok(())
    }
}

fn config_stream() -> Result<StreamName, GroupError> {
    StreamName::new(CONFIG_STREAM).map_err(|error| GroupError::Failed(error.to_string()))
}
