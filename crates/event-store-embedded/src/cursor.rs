//! Reading records by position: a window of the log that moves.

use crate::{
    format::{self, HEADER_LEN, RECORD_LEN, RecordHead},
    index::Index,
    log::Log,
};
use bytes::Bytes;
use event_store::{ContentType, Error, EventType, Position, RecordedEvent, Result, StreamName, Timestamp};

/// Bytes that are read for one record whose place is known to about [`crate::index::BLOCK_BYTES`].
const SMALL: usize = 16 << 10;
/// Bytes that are read when one window follows another.
const LARGE: usize = 256 << 10;
/// How many names are kept, so that events of the same stream share one.
const NAMES: usize = 64;

/// Reads records by position. Positions in order, in either direction, are cheap; far jumps cost a look into the index.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    log: &'a Log,
    index: &'a Index,
    window: Window,
    streams: Vec<Option<StreamName>>,
    types: Vec<Option<EventType>>,
}

/// A stretch of one segment, and where its whole records begin.
#[derive(Debug, Default)]
struct Window {
    segment: u32,
    offset: u32,
    bytes: Bytes,
    first: u64,
    starts: Vec<u32>,
    /// Bytes up to the end of the last whole record.
    whole: u32,
}

impl Window {
    fn place_of(&self, position: u64) -> Option<u32> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.starts.get(index).copied()
    }

    fn next_position(&self) -> u64 {
        self.first + self.starts.len() as u64
    }
}

/// A record as it stands in the log.
#[derive(Debug, Clone)]
pub(crate) struct RawRecord {
    pub(crate) head: RecordHead,
    pub(crate) bytes: Bytes,
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

impl RawRecord {
    pub(crate) fn stream(&self) -> &[u8] {
        &self.bytes[RECORD_LEN..RECORD_LEN + usize::from(self.head.name_len)]
    }

    pub(crate) fn data(&self) -> Bytes {
        let start = RECORD_LEN + usize::from(self.head.name_len) + usize::from(self.head.type_len);
        self.bytes.slice(start..start + self.head.data_len as usize)
    }
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(log: &'a Log, index: &'a Index) -> Self {
        Self { log, index, window: Window::default(), streams: vec![None; NAMES], types: vec![None; NAMES] }
    }

    /// The event at a position that is below the log's end.
    pub(crate) fn event(&mut self, position: u64) -> Result<RecordedEvent> {
        let raw = self.checked(position)?;
        self.decode(&raw)
    }

    /// When the event at a position was taken.
    pub(crate) fn created(&mut self, position: u64) -> Result<Timestamp> {
        Ok(Timestamp::from_ticks(self.checked(position)?.head.created))
    }

    /// The record at a position, its checksum verified.
    pub(crate) fn checked(&mut self, position: u64) -> Result<RawRecord> {
        let raw = self.raw(position)?;
        if !format::is_intact(&raw.bytes, self.log.seed) {
            return Err(self.log.damage(
                raw.segment,
                u64::from(raw.offset),
                "the record's checksum is wrong",
            ));
        }
        Ok(raw)
    }

    /// The record at a position, as it is.
    pub(crate) fn raw(&mut self, position: u64) -> Result<RawRecord> {
        if self.window.place_of(position).is_none() {
            self.move_to(position)?;
        }
        let window = &self.window;
        let (start, head) = window
            .place_of(position)
            .and_then(|start| Some((start, RecordHead::decode(&window.bytes[start as usize..])?)))
            .ok_or_else(|| Error::Internal(format!("position {position} was not found")))?;
        let bytes = window.bytes.slice(start as usize..start as usize + head.total());
        Ok(RawRecord { head, bytes, segment: window.segment, offset: window.offset + start })
    }

    fn move_to(&mut self, position: u64) -> Result<()> {
        let follows = !self.window.starts.is_empty() && position == self.window.next_position();
        let (mut segment, mut offset, mut first, mut size) = if follows {
            let window = &self.window;
            (window.segment, window.offset + window.whole, window.next_position(), LARGE)
        } else {
            let block = self.index.block(position)?;
            (block.segment, block.offset, block.position, SMALL)
        };
        loop {
            let known = self.log.segment(segment);
            let known =
                known.ok_or_else(|| Error::Internal(format!("position {position} is past the log")))?;
            if offset >= known.len {
                (segment, offset) = (segment + 1, HEADER_LEN as u32);
                continue;
            }
            let left = (known.len - offset) as usize;
            let bytes = self.log.read(segment, offset, size.min(left))?;
            let (starts, whole) = walk(&bytes, first);
            if starts.is_empty() {
                // One record is larger than what was read, or no record begins here.
                let head = RecordHead::decode(&bytes).filter(|h| h.position == first && h.total() <= left);
                let total = head.map(|h| h.total()).filter(|total| *total > bytes.len());
                size = total.ok_or_else(|| {
                    self.log.damage(segment, u64::from(offset), "no record begins where one should")
                })?;
                continue;
            }
            self.window = Window { segment, offset, bytes, first, starts, whole };
            if self.window.place_of(position).is_some() {
                return Ok(());
            }
            offset += whole;
            first = self.window.next_position();
        }
    }

    fn decode(&mut self, raw: &RawRecord) -> Result<RecordedEvent> {
        let head = &raw.head;
        let name_end = RECORD_LEN + usize::from(head.name_len);
        let type_end = name_end + usize::from(head.type_len);
        let data_end = type_end + head.data_len as usize;
        let unreadable = |what: &str| self.log.damage(raw.segment, u64::from(raw.offset), what);

        let name = &raw.bytes[RECORD_LEN..name_end];
        let slot = &mut self.streams[slot_of(name)];
        let stream = match slot {
            Some(known) if known.as_str().as_bytes() == name => known.clone(),
            _ => {
                let text =
                    std::str::from_utf8(name).map_err(|_| unreadable("the stream's name is no text"))?;
                let new = stream_name(text).ok_or_else(|| unreadable("the stream's name is none"))?;
                slot.insert(new).clone()
            }
        };
        let name = &raw.bytes[name_end..type_end];
        let slot = &mut self.types[slot_of(name)];
        let event_type = match slot {
            Some(known) if known.as_str().as_bytes() == name => known.clone(),
            _ => {
                let text =
                    std::str::from_utf8(name).map_err(|_| unreadable("the event's type is no text"))?;
                slot.insert(EventType::new(text)).clone()
            }
        };
        Ok(RecordedEvent {
            stream,
            revision: head.revision,
            position: Position::from_raw(head.position),
            id: head.id,
            event_type,
            content_type: if head.json { ContentType::Json } else { ContentType::Binary },
            created: Timestamp::from_ticks(head.created),
            data: slice(&raw.bytes, type_end, data_end),
            metadata: slice(&raw.bytes, data_end, raw.bytes.len()),
        })
    }
}

/// A name as it was written: that of a metastream may be longer than any that a client can give.
fn stream_name(text: &str) -> Option<StreamName> {
    let of_a_long_stream = || StreamName::new(text.strip_prefix("$$")?).ok()?.metastream();
    StreamName::new(text).ok().or_else(of_a_long_stream)
}

/// A part that shares memory with the window; an empty one does not keep it alive.
fn slice(bytes: &Bytes, start: usize, end: usize) -> Bytes {
    if start == end { Bytes::new() } else { bytes.slice(start..end) }
}

fn slot_of(name: &[u8]) -> usize {
    let ends = name.iter().rev().take(4).fold(name.len(), |hash, byte| hash * 31 + usize::from(*byte));
    ends % NAMES
}

/// Where the whole records of consecutive positions begin, and where the last of them ends.
fn walk(bytes: &[u8], first: u64) -> (Vec<u32>, u32) {
    let mut starts = Vec::with_capacity(bytes.len() / 256);
    let mut at = 0;
    while let Some(head) = RecordHead::decode(&bytes[at..]) {
        let end = at + head.total();
        if end > bytes.len() || head.position != first + starts.len() as u64 {
            break;
        }
        starts.push(u32::try_from(at).unwrap_or(u32::MAX));
        at = end;
    }
    (starts, u32::try_from(at).unwrap_or(u32::MAX))
}
