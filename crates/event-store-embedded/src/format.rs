//! How the log looks on disk. Frozen: a change is a new [`VERSION`] that still reads the old ones.
//!
//! The header's magic, version and checksum keep their places in every version, so that any program can tell a later version
//! from damage. Integers are little-endian; checksums are CRC-32 (IEEE). A segment is a header, then records without padding.
//!
//! | header: offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | `PNGNPOOL` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | the segment's number, from 0 |
//! | 16 | 16 | the store's id |
//! | 32 | 8 | position of the first record |
//! | 40 | 8 | length of the segment before, in bytes (0 for the first) |
//! | 48 | 4 | where the checksum of a record begins, drawn at random when the store is made |
//! | 52 | 8 | zeros |
//! | 60 | 4 | checksum of what stands before |
//!
//! | record: offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | checksum of what follows, to the record's end |
//! | 4 | 4 | length of the record, these two fields included |
//! | 8 | 1 | codec of data and metadata: 0 = as they are |
//! | 9 | 1 | flags: 1 = first of its commit, 2 = last of its commit |
//! | 10 | 1 | content type: 0 = JSON, 1 = binary |
//! | 11 | 1 | zero |
//! | 12 | 2 | length of the stream's name |
//! | 14 | 2 | length of the event's type |
//! | 16 | 8 | position |
//! | 24 | 8 | revision |
//! | 32 | 8 | created, in ticks of 100 ns since the Unix epoch |
//! | 40 | 16 | the event's id |
//! | 56 | 4 | length of the data |
//! | 60 | 4 | length of the metadata |
//! | 64 | 4 | distance back to the first record of the write that brought this one |
//! | 68 | | stream name, event type, data, metadata |
//!
//! The distance tells a torn tail from damage: a write begins only after the one before was flushed, so an intact
//! record of a write that began *after* a damaged place proves that the place was once safe on disk. The random start of the
//! checksum keeps a client from planting bytes in an event's data that pass for a record.

use uuid::Uuid;

/// The version that is written.
pub const VERSION: u32 = 1;
/// What a segment begins with.
pub const MAGIC: [u8; 8] = *b"PNGNPOOL";
/// Bytes of a segment's header.
pub const HEADER_LEN: usize = 64;
/// Bytes of a record before its stream's name.
pub const RECORD_LEN: usize = 68;
/// The flag of a commit's first record.
pub const FIRST_OF_COMMIT: u8 = 1;
/// The flag of a commit's last record. A commit without it was never acknowledged, and is not there.
pub const LAST_OF_COMMIT: u8 = 2;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The segment's number, from 0.
    pub number: u32,
    /// The store's id.
    pub store_id: Uuid,
    /// The position of its first record.
    pub first_position: u64,
    /// The length of the segment before, in bytes; 0 for the first.
    pub previous_len: u64,
    /// Where the checksum of a record begins.
    pub seed: u32,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFault {
    /// Something else, or damaged.
    Damaged,
    /// A version that this program does not read.
    Version(u32),
}

impl SegmentHeader {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..32].copy_from_slice(self.store_id.as_bytes());
        out[32..40].copy_from_slice(&self.first_position.to_le_bytes());
        out[40..48].copy_from_slice(&self.previous_len.to_le_bytes());
        out[48..52].copy_from_slice(&self.seed.to_le_bytes());
        let crc = crc32fast::hash(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`HeaderFault`] if they are none, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        if bytes.len() < HEADER_LEN
            || bytes[..8] != MAGIC
            || u32_at(bytes, 60) != crc32fast::hash(&bytes[..60])
        {
            return Err(HeaderFault::Damaged);
        }
        match u32_at(bytes, 8) {
            VERSION => Ok(Self {
                number: u32_at(bytes, 12),
                store_id: uuid_at(bytes, 16),
                first_position: u64_at(bytes, 32),
                previous_len: u64_at(bytes, 40),
                seed: u32_at(bytes, 48),
            }),
            other => Err(HeaderFault::Version(other)),
        }
    }
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHead {
    /// [`FIRST_OF_COMMIT`] and [`LAST_OF_COMMIT`].
    pub flags: u8,
    /// Whether the data is JSON.
    pub json: bool,
    /// Where it stands in the order of everything.
    pub position: u64,
    /// Its number in its stream.
    pub revision: u64,
    /// When it was taken: ticks of 100 ns since the Unix epoch.
    pub created: i64,
    /// The event's id.
    pub id: Uuid,
    /// Bytes of the stream's name.
    pub name_len: u16,
    /// Bytes of the event's type.
    pub type_len: u16,
    /// Bytes of the data.
    pub data_len: u32,
    /// Bytes of the metadata.
    pub metadata_len: u32,
    /// Bytes back to the first record of the same write.
    pub distance: u32,
}

impl RecordHead {
    /// The stream's name and the event's type, of a whole record with this head.
    #[must_use]
    pub fn names<'a>(&self, record: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let names = &record[RECORD_LEN..RECORD_LEN + usize::from(self.name_len) + usize::from(self.type_len)];
        names.split_at(usize::from(self.name_len))
    }

    /// The record's length in bytes.
    #[must_use]
    pub fn total(&self) -> usize {
        RECORD_LEN
            + usize::from(self.name_len)
            + usize::from(self.type_len)
            + self.data_len as usize
            + self.metadata_len as usize
    }

    /// From the first [`RECORD_LEN`] bytes of a record, or nothing if no record begins like this. Whether the whole is
    /// intact is for [`is_intact`] to say.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < RECORD_LEN || bytes[8] != 0 || bytes[9] > 3 || bytes[10] > 1 || bytes[11] != 0 {
            return None;
        }
        let head = Self {
            flags: bytes[9],
            json: bytes[10] == 0,
            name_len: u16_at(bytes, 12),
            type_len: u16_at(bytes, 14),
            position: u64_at(bytes, 16),
            revision: u64_at(bytes, 24),
            created: u64_at(bytes, 32).cast_signed(),
            id: uuid_at(bytes, 40),
            data_len: u32_at(bytes, 56),
            metadata_len: u32_at(bytes, 60),
            distance: u32_at(bytes, 64),
        };
        (head.total() == u32_at(bytes, 4) as usize).then_some(head)
    }
}

/// A record to be written. Its lengths must fit their fields.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// [`FIRST_OF_COMMIT`] and [`LAST_OF_COMMIT`].
    pub flags: u8,
    /// Whether the data is JSON.
    pub json: bool,
    /// Where it stands in the order of everything.
    pub position: u64,
    /// Its number in its stream.
    pub revision: u64,
    /// When it was taken: ticks of 100 ns since the Unix epoch.
    pub created: i64,
    /// The event's id.
    pub id: Uuid,
    /// The stream's name.
    pub stream: &'a str,
    /// The event's type.
    pub event_type: &'a str,
    /// The event's data.
    pub data: &'a [u8],
    /// The event's metadata.
    pub metadata: &'a [u8],
}

impl Record<'_> {
    /// Appends the record to the bytes of one write, whose first record begins at offset 0.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the engine checks all lengths before it queues an append"
    )]
    pub fn encode(&self, write: &mut Vec<u8>, seed: u32) {
        let start = write.len();
        let total =
            RECORD_LEN + self.stream.len() + self.event_type.len() + self.data.len() + self.metadata.len();
        let mut head = [0; RECORD_LEN];
        head[4..8].copy_from_slice(&(total as u32).to_le_bytes());
        head[9] = self.flags;
        head[10] = u8::from(!self.json);
        head[12..14].copy_from_slice(&(self.stream.len() as u16).to_le_bytes());
        head[14..16].copy_from_slice(&(self.event_type.len() as u16).to_le_bytes());
        head[16..24].copy_from_slice(&self.position.to_le_bytes());
        head[24..32].copy_from_slice(&self.revision.to_le_bytes());
        head[32..40].copy_from_slice(&self.created.to_le_bytes());
        head[40..56].copy_from_slice(self.id.as_bytes());
        head[56..60].copy_from_slice(&(self.data.len() as u32).to_le_bytes());
        head[60..64].copy_from_slice(&(self.metadata.len() as u32).to_le_bytes());
        head[64..68].copy_from_slice(&(start as u32).to_le_bytes());
        write.reserve(total);
        write.extend_from_slice(&head);
        write.extend_from_slice(self.stream.as_bytes());
        write.extend_from_slice(self.event_type.as_bytes());
        write.extend_from_slice(self.data);
        write.extend_from_slice(self.metadata);
        let crc = checksum(&write[start + 4..], seed);
        write[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Whether a whole record's checksum is right.
#[must_use]
pub fn is_intact(record: &[u8], seed: u32) -> bool {
    record.len() >= RECORD_LEN && u32_at(record, 0) == checksum(&record[4..], seed)
}

fn checksum(bytes: &[u8], seed: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn uuid_at(bytes: &[u8], at: usize) -> Uuid {
    Uuid::from_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_is_read_back_and_no_flipped_bit_passes(
            (flags, json, position, revision, created) in (0..4u8, any::<bool>(), any::<u64>(), any::<u64>(), any::<i64>()),
            (id, seed) in (any::<u128>(), any::<u32>()),
            (stream, event_type) in (".{0,20}", ".{0,20}"),
            (data, metadata) in any::<(Vec<u8>, Vec<u8>)>(),
            before in proptest::collection::vec(any::<u8>(), 0..300),
            flip: prop::sample::Index,
        ) {
            let record = Record {
                flags, json, position, revision, created, id: Uuid::from_u128(id),
                stream: &stream, event_type: &event_type, data: &data, metadata: &metadata,
            };
            let mut write = before.clone();
            record.encode(&mut write, seed);
            let mut bytes = write.split_off(before.len());
            let head = RecordHead::decode(&bytes).unwrap();
            prop_assert_eq!(
                (head.flags, head.json, head.position, head.revision, head.created, head.id),
                (flags, json, position, revision, created, Uuid::from_u128(id))
            );
            prop_assert_eq!(head.total(), bytes.len());
            prop_assert_eq!(head.distance as usize, before.len());
            let (name_end, type_end) = (RECORD_LEN + stream.len(), RECORD_LEN + stream.len() + event_type.len());
            prop_assert_eq!(&bytes[RECORD_LEN..name_end], stream.as_bytes());
            prop_assert_eq!(&bytes[name_end..type_end], event_type.as_bytes());
            prop_assert_eq!(&bytes[type_end..type_end + data.len()], &data[..]);
            prop_assert_eq!(&bytes[type_end + data.len()..], &metadata[..]);
            prop_assert!(is_intact(&bytes, seed));
            prop_assert!(!is_intact(&bytes, seed.wrapping_add(1)));
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!is_intact(&bytes, seed));
        }

        #[test]
        fn any_bytes_are_looked_at_without_a_panic(bytes: Vec<u8>) {
            let _ = RecordHead::decode(&bytes);
            let _ = SegmentHeader::decode(&bytes);
            let _ = is_intact(&bytes, 0);
        }
    }

    /// What version 1 wrote stays readable: these bytes are never to be changed.
    #[test]
    fn version_1_is_frozen() {
        let header = SegmentHeader {
            number: 3,
            store_id: Uuid::from_u128(0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF),
            first_position: 0x0102_0304_0506,
            previous_len: 0x000A_0B0C,
            seed: 0x1234_5678,
        };
        let mut bytes = Vec::new();
        Record {
            flags: FIRST_OF_COMMIT | LAST_OF_COMMIT,
            json: false,
            position: 0x0102_0304_0506,
            revision: 7,
            created: 17_053_146_000_000_000,
            id: Uuid::from_u128(0xFFEE_DDCC_BBAA_9988_7766_5544_3322_1100),
            stream: "a-1",
            event_type: "T",
            data: b"{}",
            metadata: b"m",
        }
        .encode(&mut bytes, header.seed);
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(&header.encode()), HEADER_1);
        assert_eq!(hex(&bytes), RECORD_1);
    }

    const HEADER_1: &str = "504e474e504f4f4c010000000300000000112233445566778899aabbccddeeff06050403020100000c0b0a0000000000785634120000000000000000924a7e69";
    const RECORD_1: &str = "769009564b0000000003010003000100060504030201000007000000000000000004a2f5be953c00ffeeddccbbaa99887766554433221100020000000100000000000000612d31547b7d6d";

    #[test]
    fn a_header_is_read_back_and_its_faults_are_told_apart() {
        let header = SegmentHeader {
            number: 7,
            store_id: Uuid::from_u128(42),
            first_position: 1 << 40,
            previous_len: 99,
            seed: 0xDEAD_BEEF,
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        let mut damaged = bytes;
        damaged[20] ^= 1;
        assert_eq!(SegmentHeader::decode(&damaged), Err(HeaderFault::Damaged));
        let mut later = bytes;
        later[8] = 2;
        let crc = crc32fast::hash(&later[..60]);
        later[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&later), Err(HeaderFault::Version(2)));
    }
}
