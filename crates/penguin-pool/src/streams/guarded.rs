//! Appends that a stream's metadata has a say in: an archived stream does not grow, and one that an append brings into
//! being gets an owner.
//!
//! Where the store can, metadata and events are one append: a check of where the metadata stands (a write without
//! events to the metastream), or, for a new stream, its first metadata. So nobody archives a stream between the look
//! and the append, nobody sees a stream without its owner, and an append that is sent again gets its first answer
//! whatever became of the metadata since: the store gives that even where checks do not hold. The check costs no read:
//! where the metadata stood at the last append is [remembered](super::known).
//!
//! A store that cannot append to several streams at once (`Capabilities::multi_stream_append`) takes two steps. There an
//! append can slip in behind an archiving of the same moment, and one that is sent again after it is refused.

use super::{Streams, StreamsError, metadata, view, write::owners};
use crate::security::{BoundStore, Caller};
use event_store::{
    AppendedMany, Error, ExpectedState, NewEvent, StreamMetadata, StreamName, StreamWrite, VersionedMetadata,
};
use models::{StreamDescription, StreamStatus};

type Result<T> = std::result::Result<T, StreamsError>;

/// How often an append is tried again when metadata changed in between.
const ATTEMPTS: usize = 32;

/// What a stream's metadata says to an append.
#[derive(Debug)]
enum Standing {
    /// It is not asked: the write is a check itself.
    Unasked,
    /// The stream can be written while its metastream is as it was seen.
    At(ExpectedState),
    /// The stream can be read and not written.
    Archived,
    /// There is no such stream yet, and this is to be its metadata.
    New(NewEvent),
}

impl Standing {
    /// What the append does to the metastream.
    fn write(&self, stream: &StreamName) -> Option<StreamWrite> {
        let (expected, events) = match self {
            Self::Unasked => return None,
            Self::At(state) => (*state, Vec::new()),
            // Does not hold, there being metadata: what is new is refused, and what was written before is answered.
            Self::Archived => (ExpectedState::NoStream, Vec::new()),
            Self::New(metadata) => (ExpectedState::NoStream, vec![metadata.clone()]),
        };
        Some(StreamWrite { stream: stream.metastream()?, expected, events })
    }

    /// What must be so of the stream itself.
    const fn expected(&self, asked: ExpectedState) -> ExpectedState {
        if matches!(self, Self::New(_)) { ExpectedState::NoStream } else { asked }
    }
}

impl Streams {
    /// Appends to streams, all or none. The answer has one entry for each of the writes.
    ///
    /// # Errors
    /// `Archived`, and what the store answers; `Unsupported` from one that cannot append to several streams.
    pub(super) async fn append_guarded(
        &self,
        caller: &Caller,
        store: &BoundStore,
        writes: Vec<StreamWrite>,
    ) -> Result<AppendedMany> {
        if !store.capabilities().multi_stream_append {
            return self.append_in_steps(caller, store, writes).await;
        }
        for _ in 0..ATTEMPTS {
            let mut standings = Vec::with_capacity(writes.len());
            for write in &writes {
                standings.push(match self.known.get(&write.stream) {
                    _ if write.events.is_empty() => Standing::Unasked,
                    Some(state) => Standing::At(state),
                    None => self.standing(caller, write).await?,
                });
            }
            let pairs = || writes.iter().zip(&standings);
            // Metadata first: whoever sees a new stream's event finds its owner there.
            let mut all: Vec<_> = pairs().filter_map(|(w, standing)| standing.write(&w.stream)).collect();
            let before = all.len();
            all.extend(pairs().map(|(write, standing)| StreamWrite {
                expected: standing.expected(write.expected),
                ..write.clone()
            }));
            match store.append_many(all).await {
                Ok(mut appended) => {
                    let metadata = appended.streams.drain(..before);
                    let asked = pairs().filter(|(_, standing)| !matches!(standing, Standing::Unasked));
                    for ((write, standing), metadata) in asked.zip(metadata) {
                        if let (Standing::New(_), Some(at)) = (standing, metadata.last_revision) {
                            self.known.put(&write.stream, ExpectedState::Exact(at));
                        }
                    }
                    return Ok(appended);
                }
                Err(error) => self.look_again(error, &writes, &standings)?,
            }
        }
        Err(too_busy())
    }

    /// Whether the append is to be tried again: what was seen of a stream's metadata is so no more.
    fn look_again(&self, error: Error, writes: &[StreamWrite], standings: &[Standing]) -> Result<()> {
        let Error::WrongExpectedRevision { stream, .. } = &error else { return Err(plain(error).into()) };
        let of_metadata = stream.original();
        let named = of_metadata.as_ref().unwrap_or(stream);
        let found = writes.iter().zip(standings).find(|(write, _)| write.stream == *named);
        match found {
            Some((write, Standing::Archived)) if of_metadata.is_some() => {
                Err(StreamsError::Archived(write.stream.clone()))
            }
            Some((write, Standing::At(_))) if of_metadata.is_some() => {
                self.known.forget(&write.stream);
                Ok(())
            }
            // Somebody else was faster, and what the caller expects is to be held against that.
            Some((_, Standing::New(_))) => Ok(()),
            _ => Err(error.into()),
        }
    }

    async fn append_in_steps(
        &self,
        caller: &Caller,
        store: &BoundStore,
        writes: Vec<StreamWrite>,
    ) -> Result<AppendedMany> {
        let [write] = writes.as_slice() else { return Ok(store.append_many(writes).await?) };
        for _ in 0..ATTEMPTS {
            let standing = match write.events.as_slice() {
                [] => Standing::Unasked,
                _ => self.standing(caller, write).await?,
            };
            let append = async {
                match (&standing, standing.write(&write.stream)) {
                    // Whether the caller may write at all comes first, and nothing is written.
                    (Standing::Archived, _) => {
                        store.append(&write.stream, ExpectedState::Any, Vec::new()).await?;
                        return Err(StreamsError::Archived(write.stream.clone()));
                    }
                    // A crash after this leaves a description that nobody sees: no stream is there.
                    (Standing::New(_), Some(first)) => {
                        store.append(&first.stream, first.expected, first.events).await?;
                    }
                    _ => {}
                }
                let expected = standing.expected(write.expected);
                Ok(store.append(&write.stream, expected, write.events.clone()).await?)
            };
            match (append.await, &standing) {
                (Err(StreamsError::Store(Error::WrongExpectedRevision { .. })), Standing::New(_)) => {}
                (Err(StreamsError::Store(error)), _) => return Err(plain(error).into()),
                (Err(error), _) => return Err(error),
                (Ok(appended), _) => {
                    return Ok(AppendedMany { streams: vec![appended], position: appended.position });
                }
            }
        }
        Err(too_busy())
    }

    /// Looks at a stream's metadata. In the service's own name: whoever may append need not be allowed to read that, and
    /// is told nothing of it before the store was asked in their name.
    async fn standing(&self, caller: &Caller, write: &StreamWrite) -> Result<Standing> {
        let own = self.gate.bind(&Caller::system());
        let VersionedMetadata { revision, metadata } = metadata(&own, &write.stream).await?;
        if StreamDescription::read(&metadata.custom).status == Some(StreamStatus::Archived) {
            return Ok(Standing::Archived);
        }
        let state = match revision {
            Some(revision) => ExpectedState::Exact(revision),
            None if self.known.get(&write.stream).is_some() => ExpectedState::NoStream,
            None => {
                match own.stream_info(&write.stream).await {
                    Ok(_) => {}
                    Err(Error::StreamNotFound(_)) => match write.expected {
                        ExpectedState::Any | ExpectedState::NoStream => {
                            let first = self.first_metadata(caller.id().to_owned());
                            return Ok(Standing::New(first.to_event(self.ids.next_id())));
                        }
                        // It does not hold, which is the store's to say.
                        ExpectedState::StreamExists | ExpectedState::Exact(_) => {
                            return Ok(Standing::At(ExpectedState::NoStream));
                        }
                    },
                    Err(error) => return Err(error.into()),
                }
                ExpectedState::NoStream
            }
        };
        self.known.put(&write.stream, state);
        Ok(Standing::At(state))
    }

    /// The metadata of a stream of which nothing was said: it is its owner's and the administrators'.
    pub(super) fn first_metadata(&self, owner: String) -> StreamMetadata {
        let mut metadata =
            StreamMetadata { acl: Some(view::acl(&owners(owner.clone()))), ..StreamMetadata::default() };
        self.first_description(owner).write(&mut metadata.custom);
        metadata
    }

    /// The description of a stream that is made now.
    pub(super) fn first_description(&self, owner: String) -> StreamDescription {
        let now = view::date(self.clock.now()).to_string();
        StreamDescription {
            owner: Some(owner),
            created_at: Some(now.clone()),
            updated_at: Some(now),
            version: Some(1),
            schema_version: Some(view::FIRST_SCHEMA.to_owned()),
            status: Some(StreamStatus::Active),
            ..StreamDescription::default()
        }
    }
}

/// The error as the caller knows the stream: by its own name, not its metastream's.
fn plain(error: Error) -> Error {
    let named = |stream: StreamName| stream.original().unwrap_or(stream);
    match error {
        Error::StreamNotFound(stream) => Error::StreamNotFound(named(stream)),
        Error::StreamDeleted(stream) => Error::StreamDeleted(named(stream)),
        Error::AccessDenied(stream) => Error::AccessDenied(named(stream)),
        Error::Erased(stream) => Error::Erased(named(stream)),
        other => other,
    }
}

fn too_busy() -> StreamsError {
    Error::Unavailable("the stream's metadata changes again and again while it is appended to".into()).into()
}
