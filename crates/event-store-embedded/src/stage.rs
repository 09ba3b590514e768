//! A group of commits that is being put together: encoded, judged against each other, and not yet written.

use crate::{
    format::{self, FIRST_OF_COMMIT, LAST_OF_COMMIT, Record, RecordHead},
    heads::{Head, Retention, Spot},
    ids::fingerprint,
    index::{Block, Entries, Mark, Run},
    judge::Write,
    key::{Hashing, KeyMap, Kind, StreamKey, StreamRef},
    recovery::scan::{BlockPlacer, push_run},
    shared::Shared,
};
use bytes::Bytes;
use event_store::{
    Appended, AppendedMany, ContentType, Error, EventType, NewEvent, Position, Result, Revision,
    StreamMetadata, StreamName, TOMBSTONE_REVISION,
};
use hashbrown::HashMap;
use uuid::Uuid;

/// What a group may have taken without its memory being given back after it.
const KEPT_BYTES: usize = 4 << 20;
const KEPT_EVENTS: usize = 16 << 10;

/// An event of the group.
#[derive(Debug, Clone, Copy)]
struct Staged {
    id: Uuid,
    stream: StreamKey,
    revision: Revision,
    print: u64,
    offset: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// The records, as they will be written.
    pub(crate) bytes: Vec<u8>,
    events: Vec<Staged>,
    /// The heads that the group changes.
    pub(crate) heads: KeyMap<Head>,
    /// The newest metadata of streams whose metadata the group changes.
    metadata: KeyMap<Bytes>,
    /// The group's events by fingerprint, as far as `known_to`.
    known: HashMap<u64, u32>,
    known_to: usize,
    /// The position of the first event.
    start: u64,
    /// When events of the group are taken, in ticks.
    created: i64,
}

impl Stage {
    /// Forgets everything; the next group begins at `start`.
    pub(crate) fn begin(&mut self, start: u64, created: i64) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.events.clear();
        self.events.shrink_to(KEPT_EVENTS);
        self.heads.clear();
        self.metadata.clear();
        self.known.clear();
        self.known_to = 0;
        self.start = start;
        self.created = created;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    fn next_position(&self) -> u64 {
        self.start + self.events.len() as u64
    }

    /// A stream's head with what the group does to it.
    pub(crate) fn head(&self, shared: &Shared, stream: &StreamRef) -> Result<Head> {
        match self.heads.get(&stream.base) {
            Some(head) => Ok(*head),
            None => Ok(shared.head(stream)?.0),
        }
    }

    /// Where the group has an event of a stream, by its id.
    pub(crate) fn find(&mut self, id: Uuid, stream: StreamKey) -> Option<Appended> {
        for (index, event) in (0..).zip(&self.events).skip(self.known_to) {
            self.known.insert(event.print, index);
        }
        self.known_to = self.events.len();
        let index = *self.known.get(&fingerprint(id, stream))?;
        let event = self.events.get(index as usize).filter(|e| e.id == id && e.stream == stream)?;
        Some(Appended {
            last_revision: Some(event.revision),
            position: Some(Position::from_raw(self.start + u64::from(index))),
        })
    }

    /// Fingerprints of all events, in order.
    pub(crate) fn prints(&self) -> impl Iterator<Item = u64> + '_ {
        self.events.iter().map(|e| e.print)
    }

    /// What the index is to know when the group stands at a place.
    pub(crate) fn entries(
        &self,
        hashing: Hashing,
        (segment, offset): (u32, u32),
        blocks: &mut BlockPlacer,
    ) -> (Entries, Mark) {
        let mut entries = Entries::default();
        for (position, event) in (self.start..).zip(&self.events) {
            let run = Run { first_revision: event.revision, first_position: position, count: 1 };
            push_run(&mut entries.runs, event.stream, run);
            let record = &self.bytes[event.offset as usize..];
            if let Some(head) = RecordHead::decode(record) {
                let (name, event_type) = head.names(record);
                entries.link(position, hashing.derived(name, event_type, event.revision));
            }
            let offset = offset + event.offset;
            if blocks.wants(segment, offset) {
                entries.blocks.push(Block { position, segment, offset });
            }
        }
        let last =
            self.events.last().map(|e| (offset + e.offset, format::u32_at(&self.bytes, e.offset as usize)));
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).saturating_add(offset);
        (entries, Mark { position: self.next_position(), segment, offset: end, last })
    }

    /// Brings in what may have to be read, so that nothing can fail once the first record of a commit is there.
    fn prepare(&mut self, shared: &Shared, stream: &StreamRef) -> Result<Head> {
        let head = self.head(shared, stream)?;
        self.heads.insert(stream.base, head);
        if let Some(last) = head.meta_last
            && head.retention.is_soft_deleted()
            && !self.metadata.contains_key(&stream.base)
        {
            self.metadata.insert(stream.base, shared.cursor().checked(last.position)?.data());
        }
        Ok(head)
    }

    /// Adds a commit whose expectations hold. Nothing is added if this fails.
    pub(crate) fn commit(&mut self, shared: &Shared, writes: &[Write]) -> Result<AppendedMany> {
        let mut undeleted: Vec<(&StreamRef, Revision)> = Vec::new();
        for Write { stream, .. } in writes.iter().filter(|w| !w.events.is_empty()) {
            let head = self.prepare(shared, stream)?;
            if head.retention.is_soft_deleted()
                && !undeleted.iter().any(|(known, _)| known.base == stream.base)
            {
                undeleted.push((stream, head.last.map_or(0, |last| last.revision + 1)));
            }
        }
        let total = writes.iter().map(|w| w.events.len()).sum::<usize>() + undeleted.len();
        let mut flags = Flags { left: total, first: true };
        let mut answer = AppendedMany { streams: Vec::with_capacity(writes.len()), position: None };
        for Write { stream, events, .. } in writes {
            let mut head = self.head(shared, stream)?;
            let mut last = head.last_of(stream);
            for event in events {
                let revision = last.map_or(0, |last| last.revision + 1);
                last = Some(self.push(shared, (&stream.name, stream.own), revision, event, flags.next()));
            }
            let position = last.filter(|_| !events.is_empty()).map(|last| Position::from_raw(last.position));
            answer.streams.push(Appended { last_revision: last.map(|last| last.revision), position });
            answer.position = answer.position.max(position);
            if let Some(newest) = events.last() {
                self.advance(&mut head, stream, last, newest);
            }
        }
        for (stream, first_new) in undeleted {
            self.set_truncation(shared, stream, first_new, &mut flags)?;
        }
        Ok(answer)
    }

    /// Adds the commit that deletes a stream softly.
    pub(crate) fn soft_delete(&mut self, shared: &Shared, stream: &StreamRef) -> Result<Position> {
        self.set_truncation(shared, stream, event_store::SOFT_DELETED, &mut Flags { left: 1, first: true })
    }

    /// Adds the commit that ends a stream for good.
    pub(crate) fn tombstone(&mut self, shared: &Shared, stream: &StreamRef) -> Result<Position> {
        let mut head = self.head(shared, stream)?;
        let id = shared.ids.next_id();
        let event = NewEvent {
            content_type: ContentType::Binary,
            ..NewEvent::json(id, EventType::STREAM_DELETED, Bytes::new())
        };
        let flags = FIRST_OF_COMMIT | LAST_OF_COMMIT;
        let spot = self.push(shared, (&stream.name, stream.own), TOMBSTONE_REVISION, &event, flags);
        head.tombstoned = true;
        head.changed = self.next_position();
        self.heads.insert(stream.base, head);
        Ok(Position::from_raw(spot.position))
    }

    /// Writes the metadata that a stream has with another `$tb`.
    fn set_truncation(
        &mut self,
        shared: &Shared,
        stream: &StreamRef,
        truncate_before: Revision,
        flags: &mut Flags,
    ) -> Result<Position> {
        let mut head = self.head(shared, stream)?;
        let current = match (self.metadata.get(&stream.base), head.meta_last) {
            (Some(data), _) => data.clone(),
            (None, Some(last)) => shared.cursor().checked(last.position)?.data(),
            (None, None) => Bytes::new(),
        };
        let mut metadata = StreamMetadata::from_json(&current);
        // A value that made no sense was kept, and would hide the one that is set.
        metadata.custom.shift_remove("$tb");
        metadata.truncate_before = Some(truncate_before);
        let event = metadata.to_event(shared.ids.next_id());
        let name = match stream.kind {
            Kind::Plain => stream.name.metastream(),
            _ => Some(stream.name.clone()),
        };
        let name = name.ok_or_else(|| Error::Internal(format!("'{}' has no metastream", stream.name)))?;
        let revision = head.meta_last.map_or(0, |last| last.revision + 1);
        let spot = self.push(shared, (&name, stream.meta), revision, &event, flags.next());
        let meta = StreamRef { name, own: stream.meta, kind: Kind::Meta, ..stream.clone() };
        self.advance(&mut head, &meta, Some(spot), &event);
        Ok(Position::from_raw(spot.position))
    }

    /// Notes what events did to the head of their stream.
    fn advance(&mut self, head: &mut Head, stream: &StreamRef, last: Option<Spot>, newest: &NewEvent) {
        if stream.kind == Kind::Meta {
            head.meta_last = last;
            head.retention = Retention::from_json(&newest.data);
            self.metadata.insert(stream.base, newest.data.clone());
        } else {
            head.last = last;
        }
        head.changed = self.next_position();
        self.heads.insert(stream.base, *head);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a group is far below 4 GiB: see the engine's limits"
    )]
    fn push(
        &mut self,
        shared: &Shared,
        (name, stream): (&StreamName, StreamKey),
        revision: Revision,
        event: &NewEvent,
        flags: u8,
    ) -> Spot {
        let position = self.next_position();
        let offset = self.bytes.len() as u32;
        Record {
            flags,
            json: event.content_type == ContentType::Json,
            position,
            revision,
            created: self.created,
            id: event.id,
            stream: name.as_str(),
            event_type: event.event_type.as_str(),
            data: &event.data,
            metadata: &event.metadata,
        }
        .encode(&mut self.bytes, shared.log.seed);
        let print = fingerprint(event.id, stream);
        self.events.push(Staged { id: event.id, stream, revision, print, offset });
        Spot { revision, position }
    }
}

/// Marks a commit's first and last record.
struct Flags {
    left: usize,
    first: bool,
}

impl Flags {
    fn next(&mut self) -> u8 {
        self.left = self.left.saturating_sub(1);
        let first = if std::mem::take(&mut self.first) { FIRST_OF_COMMIT } else { 0 };
        let last = if self.left == 0 { LAST_OF_COMMIT } else { 0 };
        first | last
    }
}
