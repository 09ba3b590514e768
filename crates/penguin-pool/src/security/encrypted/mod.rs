//! A decorator that encrypts users' data on its way into a store, and decrypts it on its way out.
//!
//! Only the events of users' streams are encrypted, data and metadata; their streams' own metadata (`$$…`) is not, for
//! the store obeys it. Events that were written before encryption was turned on are read as they stand.
//!
//! An envelope that does not open (it was changed, moved, or encrypted by another key) is refused where its stream is
//! read or followed. Where everything is read or followed it is shown as it stands, unread: one bad event must not hide
//! all others.

mod envelope;
#[cfg(test)]
mod tests;

use super::keys::{DataKey, Keys, KeysError};
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, Deleted, Error, EventStore, EventType, ExpectedState,
    NewEvent, Position, ReadAll, ReadStream, RecordedEvent, ResolvedEvent, Result, StoreId, StoreState,
    StoreStatistics, StreamInfo, StreamMetadata, StreamName, StreamPage, StreamWrite, SubscribeAll,
    SubscribeStream, Subscription, SubscriptionMessage, VersionedMetadata,
};
use futures::StreamExt as _;
use models::UserStream;
use std::sync::Arc;
use uuid::Uuid;

/// A store that keeps users' data encrypted, and answers [`Error::Erased`] for users who were erased.
#[derive(Debug)]
pub struct Encrypted {
    store: Arc<dyn EventStore>,
    keys: Keys,
}

impl Encrypted {
    /// Encrypts before a store, with keys. Without a ring it encrypts nothing, and only knows who was erased.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, keys: Keys) -> Self {
        Self { store, keys }
    }

    /// Refuses the streams of users who were erased, their metastreams too.
    async fn refuse_erased(&self, stream: &StreamName) -> Result<()> {
        let name = stream.as_str();
        let Some(of) = UserStream::split(name.strip_prefix("$$").unwrap_or(name)) else { return Ok(()) };
        match self.keys.is_erased(of.user_id).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(Error::Erased(stream.clone())),
            Err(error) => Err(failed(stream, error)),
        }
    }

    async fn seal(&self, stream: &StreamName, events: Vec<NewEvent>) -> Result<Vec<NewEvent>> {
        let Some(of) = UserStream::split(stream.as_str()) else {
            self.refuse_erased(stream).await?;
            return Ok(events);
        };
        let key = self.keys.for_writing(of.user_id).await.map_err(|e| failed(stream, e))?;
        let Some(key) = key else { return Ok(events) };
        // The system's types are for the store to read: a link, say.
        let seal = |event: NewEvent| {
            if event.event_type.is_system() { Ok(event) } else { envelope::seal(&key, stream, event) }
        };
        events.into_iter().map(seal).collect()
    }

    async fn page(&self, events: Vec<ResolvedEvent>, strict: bool) -> Result<Vec<ResolvedEvent>> {
        let mut opener = Opener { keys: &self.keys, strict, last: None };
        let mut opened = Vec::with_capacity(events.len());
        for event in events {
            opened.push(opener.resolved(event).await?);
        }
        Ok(opened)
    }

    fn followed(&self, subscription: Subscription, strict: bool) -> Subscription {
        let keys = self.keys.clone();
        let opened = subscription.then(move |message| {
            let keys = keys.clone();
            async move {
                match message? {
                    SubscriptionMessage::Event(event) => {
                        let mut opener = Opener { keys: &keys, strict, last: None };
                        opener.resolved(event).await.map(SubscriptionMessage::Event)
                    }
                    other => Ok(other),
                }
            }
        });
        opened.boxed()
    }
}

/// Opens the events of a page, keeping the key of the user before.
struct Opener<'a> {
    keys: &'a Keys,
    strict: bool,
    last: Option<(String, Option<DataKey>)>,
}

impl Opener<'_> {
    async fn resolved(&mut self, event: ResolvedEvent) -> Result<ResolvedEvent> {
        let ResolvedEvent { event, link } = event;
        let event = match event {
            Some(event) => Some(self.recorded(event).await?),
            None => None,
        };
        Ok(ResolvedEvent { event, link })
    }

    async fn recorded(&mut self, mut event: RecordedEvent) -> Result<RecordedEvent> {
        if !envelope::is_envelope(&event.data) || event.event_type.as_str() == EventType::LINK {
            return Ok(event);
        }
        let Some(of) = UserStream::split(event.stream.as_str()) else { return Ok(event) };
        if self.last.as_ref().is_none_or(|(user_id, _)| user_id != of.user_id) {
            let key = match self.keys.for_reading(of.user_id).await {
                Ok(key) => key,
                // What is left of an erased user nobody can read; it hides nothing else.
                Err(KeysError::Erased | KeysError::Refused(_) | KeysError::Lost(_)) if !self.strict => None,
                Err(error) => return Err(failed(&event.stream, error)),
            };
            self.last = Some((of.user_id.to_owned(), key));
        }
        let Some((_, Some(key))) = &self.last else { return Ok(event) };
        match envelope::open(key, &mut event) {
            Ok(()) => {}
            Err(sealed) if self.strict => {
                let RecordedEvent { stream, revision, id, .. } = event;
                let text = format!("event {id} (number {revision} of '{stream}') is not read: {sealed}");
                return Err(Error::Corrupt(text));
            }
            Err(sealed) => {
                let RecordedEvent { stream, revision, .. } = &event;
                tracing::warn!(%stream, revision, %sealed, "an encrypted event is shown unread");
            }
        }
        Ok(event)
    }
}

fn failed(stream: &StreamName, error: KeysError) -> Error {
    match error {
        KeysError::Erased => Error::Erased(stream.clone()),
        KeysError::Log(error) => error,
        other => Error::Internal(format!("the key of stream '{stream}' cannot be had: {other}")),
    }
}

#[async_trait::async_trait]
impl EventStore for Encrypted {
    async fn id(&self) -> Result<StoreId> {
        self.store.id().await
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn state(&self) -> StoreState {
        self.store.state()
    }

    async fn statistics(&self) -> Result<StoreStatistics> {
        self.store.statistics().await
    }

    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        events: Vec<NewEvent>,
    ) -> Result<Appended> {
        let events = self.seal(stream, events).await?;
        self.store.append(stream, expected, events).await
    }

    async fn append_in_turn(
        &self,
        stream: &StreamName,
        appends: Vec<(ExpectedState, Vec<NewEvent>)>,
    ) -> Vec<Result<Appended>> {
        let (mut answers, mut sealed) =
            (Vec::with_capacity(appends.len()), Vec::with_capacity(appends.len()));
        for (expected, events) in appends {
            match self.seal(stream, events).await {
                Ok(events) => {
                    answers.push(None);
                    sealed.push((expected, events));
                }
                Err(error) => answers.push(Some(Err(error))),
            }
        }
        let mut appended = self.store.append_in_turn(stream, sealed).await.into_iter();
        let none = || Err(Error::Internal("an append, and no answer".into()));
        answers.into_iter().map(|refused| refused.or_else(|| appended.next()).unwrap_or_else(none)).collect()
    }

    async fn append_many(&self, writes: Vec<StreamWrite>) -> Result<AppendedMany> {
        let mut sealed = Vec::with_capacity(writes.len());
        for StreamWrite { stream, expected, events } in writes {
            let events = self.seal(&stream, events).await?;
            sealed.push(StreamWrite { stream, expected, events });
        }
        self.store.append_many(sealed).await
    }

    async fn read_stream(&self, stream: &StreamName, options: ReadStream) -> Result<StreamPage> {
        self.refuse_erased(stream).await?;
        let page = self.store.read_stream(stream, options).await?;
        // A derived stream leads to the streams of many.
        let events = self.page(page.events, !stream.is_system()).await?;
        Ok(StreamPage { events, ..page })
    }

    async fn read_all(&self, options: ReadAll) -> Result<AllPage> {
        let page = self.store.read_all(options).await?;
        let events = self.page(page.events, false).await?;
        Ok(AllPage { events, ..page })
    }

    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        self.refuse_erased(stream).await?;
        self.store.stream_info(stream).await
    }

    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.refuse_erased(stream).await?;
        let subscription = self.store.subscribe_stream(stream, options).await?;
        Ok(self.followed(subscription, !stream.is_system()))
    }

    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        Ok(self.followed(self.store.subscribe_all(options).await?, false))
    }

    async fn delete(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.refuse_erased(stream).await?;
        self.store.delete(stream, expected).await
    }

    /// The streams of users who were erased can be ended too: that is a part of erasing them.
    async fn tombstone(&self, stream: &StreamName, expected: ExpectedState) -> Result<Deleted> {
        self.store.tombstone(stream, expected).await
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }

    async fn last_position(&self) -> Result<Option<Position>> {
        self.store.last_position().await
    }

    async fn metadata(&self, stream: &StreamName) -> Result<VersionedMetadata> {
        self.refuse_erased(stream).await?;
        self.store.metadata(stream).await
    }

    async fn set_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedState,
        metadata: &StreamMetadata,
        event_id: Uuid,
    ) -> Result<Appended> {
        self.refuse_erased(stream).await?;
        self.store.set_metadata(stream, expected, metadata, event_id).await
    }
}
