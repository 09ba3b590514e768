//! A decorator that encrypts users' data on its way into a store, and decrypts it on its way out.
//!
//! Of users' streams the events are encrypted, data and metadata, and of the streams' own metadata (`$$…`) what is private:
//! all but what the store obeys and what lists and permissions need (`owner`, `tags`, `status` and the like). What was
//! written before encryption was turned on is read as it stands.
//!
//! An envelope that does not open (it was changed, moved, or encrypted by another key) is refused where its stream is
//! read or followed. Where everything is read or followed it is shown as it stands, unread: one bad event must not hide
//! all others.
//!
//! Of a user who was erased nothing is served, whether it was encrypted or not. Their streams are refused by name; where
//! everything is read or followed their events and those of their metastreams keep their places, so that positions stay
//! dense, and are shown empty: `{"$erased":true}` stands in place of the data, and nothing in place of the metadata.

mod envelope;
#[cfg(test)]
mod tests;

use super::keys::{DataKey, Keys, KeysError};
use bytes::Bytes;
use event_store::{
    AllPage, Appended, AppendedMany, Capabilities, ContentType, Deleted, Error, EventStore, EventType,
    ExpectedState, METADATA_EVENT_TYPE, NewEvent, Position, ReadAll, ReadStream, RecordedEvent,
    ResolvedEvent, Result, StoreId, StoreState, StoreStatistics, StreamInfo, StreamName, StreamPage,
    StreamWrite, SubscribeAll, SubscribeStream, Subscription, SubscriptionMessage, VersionedMetadata,
};
use futures::StreamExt as _;
use models::UserStream;
use std::sync::Arc;

/// The data of an event of a user who was erased, wherever it is still shown that there was one.
const ERASED: &str = r#"{"$erased":true}"#;

/// A store that keeps users' data encrypted, and answers [`Error::Erased`] for users who were erased.
#[derive(Debug)]
pub struct Encrypted {
    store: Arc<dyn EventStore>,
    keys: Keys,
    /// Whether what is private of streams' metadata is opened, or left out.
    opens_metadata: bool,
}

impl Encrypted {
    /// Encrypts before a store, with keys. Without a ring it encrypts nothing, and only knows who was erased.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, keys: Keys) -> Self {
        Self { store, keys, opens_metadata: true }
    }

    /// The same, which leaves out what is private of streams' metadata: for whoever decides who may use a stream. That
    /// decision needs none of it, and opening it would tell by its time a stream that is there from one that is not.
    #[must_use]
    pub fn without_private_metadata(&self) -> Self {
        Self { store: Arc::clone(&self.store), keys: self.keys.clone(), opens_metadata: false }
    }

    /// Refuses the streams of users who were erased, their metastreams too.
    async fn refuse_erased(&self, stream: &StreamName) -> Result<()> {
        let Some(user_id) = user_of(stream) else { return Ok(()) };
        match self.keys.is_erased(user_id).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(Error::Erased(stream.clone())),
            Err(error) => Err(failed(stream, error)),
        }
    }

    async fn seal(&self, stream: &StreamName, events: Vec<NewEvent>) -> Result<Vec<NewEvent>> {
        let Some(user_id) = user_of(stream) else { return Ok(events) };
        if events.is_empty() {
            self.refuse_erased(stream).await?;
            return Ok(events);
        }
        let key = self.keys.for_writing(user_id).await.map_err(|e| failed(stream, e))?;
        let Some(key) = key else { return Ok(events) };
        let seal = |event: NewEvent| {
            if is_metadata(stream, &event.event_type) {
                envelope::seal_metadata(&key, stream, event)
            } else if event.event_type.is_system() {
                // The system's types are for the store to read: a link, say.
                Ok(event)
            } else {
                envelope::seal(&key, stream, event)
            }
        };
        events.into_iter().map(seal).collect()
    }

    async fn page(&self, events: Vec<ResolvedEvent>, of: Option<&StreamName>) -> Result<Vec<ResolvedEvent>> {
        let mut opener = Opener { keys: &self.keys, of, last: None };
        let mut opened = Vec::with_capacity(events.len());
        for event in events {
            opened.push(opener.resolved(event).await?);
        }
        Ok(opened)
    }

    fn followed(&self, subscription: Subscription, of: Option<StreamName>) -> Subscription {
        let keys = self.keys.clone();
        let opened = subscription.then(move |message| {
            let (keys, of) = (keys.clone(), of.clone());
            async move {
                let mut opener = Opener { keys: &keys, of: of.as_ref(), last: None };
                match message {
                    Ok(SubscriptionMessage::Event(event)) => {
                        opener.resolved(event).await.map(SubscriptionMessage::Event)
                    }
                    // Why it was ended is told, if it was for that.
                    Err(Error::StreamDeleted(stream)) if opener.is_erased(&stream).await? => {
                        Err(Error::Erased(stream))
                    }
                    other => other,
                }
            }
        });
        opened.boxed()
    }
}

/// The stream, unless it is derived: such a one leads to the streams of many.
fn itself(stream: &StreamName) -> Option<&StreamName> {
    (!stream.is_system()).then_some(stream)
}

/// The user of a stream or a metastream; nothing if it is no user's.
fn user_of(stream: &StreamName) -> Option<&str> {
    let name = stream.as_str();
    UserStream::split(name.strip_prefix("$$").unwrap_or(name)).map(|of| of.user_id)
}

/// Whether events of this type are a stream's metadata here.
fn is_metadata(stream: &StreamName, event_type: &EventType) -> bool {
    stream.is_metastream() && event_type.as_str() == METADATA_EVENT_TYPE
}

/// Opens the events of a page, keeping what is known of the user before.
struct Opener<'a> {
    keys: &'a Keys,
    /// The stream that is read or followed, where one is that leads to no others by itself: what does not open is refused.
    of: Option<&'a StreamName>,
    last: Option<LastUser>,
}

/// What is known of a user.
struct LastUser {
    user_id: String,
    erased: bool,
    /// The key to read with, once it was needed; nothing in it where there is none.
    key: Option<Option<DataKey>>,
}

impl Opener<'_> {
    async fn resolved(&mut self, event: ResolvedEvent) -> Result<ResolvedEvent> {
        let ResolvedEvent { event, link } = event;
        let (mut event, mut link) = (event, link);
        if let Some(at) = &mut link
            && self.is_erased(&at.stream).await?
        {
            // What an erased user's own stream led to is part of it.
            self.blank(at)?;
            event = None;
        }
        let event = match event {
            Some(event) => Some(self.recorded(event).await?),
            None => None,
        };
        Ok(ResolvedEvent { event, link })
    }

    async fn recorded(&mut self, mut event: RecordedEvent) -> Result<RecordedEvent> {
        if self.is_erased(&event.stream).await? {
            self.blank(&mut event)?;
            return Ok(event);
        }
        let of_metadata = is_metadata(&event.stream, &event.event_type);
        let looks_sealed = match of_metadata {
            true => self.keys.encrypts() && envelope::holds_envelope(&event.data),
            false => envelope::is_envelope(&event.data) && event.event_type.as_str() != EventType::LINK,
        };
        if !looks_sealed {
            return Ok(event);
        }
        let Some(LastUser { user_id, key, .. }) = &mut self.last else { return Ok(event) };
        if user_of(&event.stream).is_none_or(|of| of != user_id) {
            return Ok(event);
        }
        if key.is_none() {
            *key = Some(match self.keys.for_reading(user_id).await {
                Ok(key) => key,
                // What nobody can read hides nothing else.
                Err(KeysError::Erased | KeysError::Refused(_) | KeysError::Lost(_)) if self.of.is_none() => {
                    None
                }
                Err(error) => return Err(failed(&event.stream, error)),
            });
        }
        let Some(Some(key)) = key else { return Ok(event) };
        let open = if of_metadata { envelope::open_metadata } else { envelope::open };
        match open(key, &mut event) {
            Ok(()) => {}
            Err(sealed) if self.of.is_some() => {
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

    /// Whether a stream is one of a user who was erased, or its metastream. A page is asked about a user once.
    async fn is_erased(&mut self, stream: &StreamName) -> Result<bool> {
        let Some(user_id) = user_of(stream) else { return Ok(false) };
        if let Some(last) = &self.last
            && last.user_id == user_id
        {
            return Ok(last.erased);
        }
        let erased = self.keys.is_erased(user_id).await.map_err(|error| failed(stream, error))?;
        self.last = Some(LastUser { user_id: user_id.to_owned(), erased, key: None });
        Ok(erased)
    }

    /// Takes what was written out of an erased user's event. In the user's own stream nothing is shown at all.
    fn blank(&self, event: &mut RecordedEvent) -> Result<()> {
        if self.of == Some(&event.stream) {
            return Err(Error::Erased(event.stream.clone()));
        }
        // The end of a stream holds nothing, and is to be known for what it is.
        if !event.data.is_empty() || !event.metadata.is_empty() {
            event.data = Bytes::from_static(ERASED.as_bytes());
            event.metadata = Bytes::new();
            event.content_type = ContentType::Json;
        }
        Ok(())
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
        let events = self.page(page.events, itself(stream)).await?;
        Ok(StreamPage { events, ..page })
    }

    async fn read_all(&self, options: ReadAll) -> Result<AllPage> {
        let page = self.store.read_all(options).await?;
        let events = self.page(page.events, None).await?;
        Ok(AllPage { events, ..page })
    }

    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo> {
        self.refuse_erased(stream).await?;
        self.store.stream_info(stream).await
    }

    async fn subscribe_stream(&self, stream: &StreamName, options: SubscribeStream) -> Result<Subscription> {
        self.refuse_erased(stream).await?;
        let subscription = self.store.subscribe_stream(stream, options).await?;
        Ok(self.followed(subscription, itself(stream).cloned()))
    }

    async fn subscribe_all(&self, options: SubscribeAll) -> Result<Subscription> {
        Ok(self.followed(self.store.subscribe_all(options).await?, None))
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

    /// What does not open is left out, for the stream has to stay manageable: what the store obeys still holds.
    async fn metadata(&self, stream: &StreamName) -> Result<VersionedMetadata> {
        self.refuse_erased(stream).await?;
        let mut found = self.store.metadata(stream).await?;
        let custom = &mut found.metadata.custom;
        if !self.opens_metadata {
            custom.shift_remove(envelope::MARK);
        } else if self.keys.encrypts()
            && custom.contains_key(envelope::MARK)
            && let (Some(user_id), Some(metastream)) = (user_of(stream), stream.metastream())
        {
            let opened = match self.keys.for_reading(user_id).await {
                Ok(Some(key)) => envelope::uncover(&key, &metastream, custom).map(drop),
                Ok(None) | Err(KeysError::Refused(_) | KeysError::Lost(_)) => Err(envelope::Sealed::OtherKey),
                Err(error) => return Err(failed(stream, error)),
            };
            if let Err(sealed) = opened {
                tracing::warn!(%stream, %sealed, "what is private of a stream's metadata is left out, unread");
                custom.shift_remove(envelope::MARK);
            }
        }
        Ok(found)
    }
}
