//! What stands in the log in place of a user's event: JSON that says it is encrypted, so that every tool can show it.

use super::super::{
    keys::{DataKey, NONCE_BYTES, random},
    permission::PUBLIC_FROM,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use chacha20poly1305::{
    XNonce,
    aead::{Aead as _, Payload},
};
use event_store::{ContentType, EventType, NewEvent, RecordedEvent, StreamMetadata, StreamName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// How every envelope begins.
const BEGINNING: &[u8] = br#"{"$encrypted":{"#;
/// The one version there is.
const VERSION: u32 = 1;
/// The one algorithm there is.
const ALGORITHM: &str = "XChaCha20-Poly1305";
/// What binds a ciphertext to its purpose.
const PURPOSE: &[u8] = b"penguin-pool/event/v1";
const METADATA_PURPOSE: &[u8] = b"penguin-pool/metadata/v1";
/// The key that an envelope stands under.
pub(super) const MARK: &str = "$encrypted";
/// What stays plain of a stream's metadata beside what the store obeys: what lists and permissions need.
const PLAIN: [&str; 8] =
    ["owner", "tags", "status", "createdAt", "updatedAt", "version", "schemaVersion", PUBLIC_FROM];

#[derive(Serialize, Deserialize)]
struct Outer<'a> {
    #[serde(rename = "$encrypted", borrow)]
    envelope: Envelope<'a>,
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    v: u32,
    alg: &'a str,
    kid: &'a str,
    nonce: &'a str,
    ciphertext: &'a str,
}

/// Why an envelope was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Sealed {
    /// It is of a version or an algorithm that is not known, or makes no sense.
    #[error("its envelope makes no sense")]
    Unknown,
    /// Another key encrypted it than the user has.
    #[error("another key encrypted it than the user has in the key store")]
    OtherKey,
    /// It was changed, or stood elsewhere when it was encrypted.
    #[error("it was changed, or moved from where it was encrypted")]
    Refused,
}

/// Whether data is an envelope.
pub(super) fn is_envelope(data: &[u8]) -> bool {
    data.starts_with(BEGINNING)
}

/// Whether a stream's metadata may hold an envelope: what the store obeys stands beside it, in any order.
pub(super) fn holds_envelope(metadata: &[u8]) -> bool {
    let mark = format!("\"{MARK}\"");
    metadata.windows(mark.len()).any(|part| part == mark.as_bytes())
}

/// Encrypts an event's data and metadata; its stream, id and type are bound to them. The metadata is left empty.
pub(super) fn seal(key: &DataKey, stream: &StreamName, event: NewEvent) -> event_store::Result<NewEvent> {
    let aad = of_event(stream, event.id, &event.event_type);
    let data = encrypted(key, &packed(&event, &event.data)?, &aad)?;
    Ok(NewEvent { data: data.into(), metadata: Bytes::new(), content_type: ContentType::Json, ..event })
}

/// Encrypts what is private of a stream's metadata: all but what the store obeys and [`PLAIN`]. The metastream alone is bound
/// to it, and no event, for a store that deletes a stream softly writes the same free keys again in another one.
pub(super) fn seal_metadata(
    key: &DataKey,
    metastream: &StreamName,
    event: NewEvent,
) -> event_store::Result<NewEvent> {
    let (mut shown, private) = match serde_json::from_slice(&event.data) {
        Ok(Value::Object(map)) => {
            let StreamMetadata { custom, .. } = StreamMetadata::from_map(map.clone());
            let is_private = |key: &str| custom.contains_key(key) && !PLAIN.contains(&key);
            let (private, shown): (Map<_, _>, Map<_, _>) =
                map.into_iter().partition(|(key, _)| is_private(key));
            if private.is_empty() && event.metadata.is_empty() {
                return Ok(event);
            }
            (shown, Value::Object(private).to_string().into())
        }
        // It counts as none, and is kept as it is.
        _ => (Map::new(), event.data.clone()),
    };
    let outer = encrypted(key, &packed(&event, &private)?, &of_metadata(metastream))?;
    if let Ok(Value::Object(outer)) = serde_json::from_slice(&outer) {
        shown.extend(outer);
    }
    let data = Value::Object(shown).to_string().into();
    Ok(NewEvent { data, metadata: Bytes::new(), content_type: ContentType::Json, ..event })
}

/// Decrypts an event that is an envelope.
pub(super) fn open(key: &DataKey, event: &mut RecordedEvent) -> Result<(), Sealed> {
    let Outer { envelope } = serde_json::from_slice(&event.data).map_err(|_| Sealed::Unknown)?;
    let plain = decrypted(key, &envelope, &of_event(&event.stream, event.id, &event.event_type))?;
    (event.content_type, event.metadata, event.data) = unpacked(&plain)?;
    Ok(())
}

/// Decrypts an event of a metastream in which something is an envelope.
pub(super) fn open_metadata(key: &DataKey, event: &mut RecordedEvent) -> Result<(), Sealed> {
    let mut shown: Map<String, Value> = serde_json::from_slice(&event.data).map_err(|_| Sealed::Unknown)?;
    let (content_type, metadata, other) = uncover(key, &event.stream, &mut shown)?;
    (event.content_type, event.metadata) = (content_type, metadata);
    event.data = other.unwrap_or_else(|| Value::Object(shown).to_string().into());
    Ok(())
}

/// Decrypts what is private of a stream's metadata and puts it in the place of its envelope. Answers what else was encrypted:
/// the event's content type, its own metadata, and data that is no JSON object.
pub(super) fn uncover(
    key: &DataKey,
    metastream: &StreamName,
    shown: &mut Map<String, Value>,
) -> Result<(ContentType, Bytes, Option<Bytes>), Sealed> {
    let sealed = shown.get(MARK).ok_or(Sealed::Unknown)?;
    let envelope = Envelope::deserialize(sealed).map_err(|_| Sealed::Unknown)?;
    let plain = decrypted(key, &envelope, &of_metadata(metastream))?;
    let (content_type, metadata, private) = unpacked(&plain)?;
    shown.shift_remove(MARK);
    let Ok(Value::Object(private)) = serde_json::from_slice(&private) else {
        return Ok((content_type, metadata, Some(private)));
    };
    for (key, value) in private {
        shown.entry(key).or_insert(value);
    }
    Ok((content_type, metadata, None))
}

/// An event's content type, its metadata and data: what is encrypted in one.
fn packed(event: &NewEvent, data: &[u8]) -> event_store::Result<Vec<u8>> {
    let length = u32::try_from(event.metadata.len()).map_err(|_| failed("its metadata is too large"))?;
    let mut plain = Vec::with_capacity(5 + event.metadata.len() + data.len());
    plain.push(u8::from(event.content_type == ContentType::Binary));
    plain.extend(length.to_be_bytes());
    plain.extend_from_slice(&event.metadata);
    plain.extend_from_slice(data);
    Ok(plain)
}

fn unpacked(plain: &Bytes) -> Result<(ContentType, Bytes, Bytes), Sealed> {
    let head: [u8; 5] = plain.get(..5).and_then(|head| head.try_into().ok()).ok_or(Sealed::Refused)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(5));
    let end = end.filter(|end| *end <= plain.len()).ok_or(Sealed::Refused)?;
    let content_type = if head[0] == 1 { ContentType::Binary } else { ContentType::Json };
    Ok((content_type, plain.slice(5..end), plain.slice(end..)))
}

fn encrypted(key: &DataKey, plain: &[u8], aad: &[u8]) -> event_store::Result<Vec<u8>> {
    let nonce = random::<NONCE_BYTES>();
    let ciphertext = key
        .cipher
        .encrypt(XNonce::from_slice(nonce.as_slice()), Payload { msg: plain, aad })
        .map_err(|_| failed("the cipher refused it"))?;
    let (nonce, ciphertext) = (BASE64_STANDARD.encode(nonce.as_slice()), BASE64_STANDARD.encode(ciphertext));
    let envelope =
        Envelope { v: VERSION, alg: ALGORITHM, kid: &key.id, nonce: &nonce, ciphertext: &ciphertext };
    serde_json::to_vec(&Outer { envelope }).map_err(|e| failed(&e.to_string()))
}

fn decrypted(key: &DataKey, envelope: &Envelope<'_>, aad: &[u8]) -> Result<Bytes, Sealed> {
    if envelope.v != VERSION || envelope.alg != ALGORITHM {
        return Err(Sealed::Unknown);
    }
    if envelope.kid != key.id {
        return Err(Sealed::OtherKey);
    }
    let nonce = BASE64_STANDARD.decode(envelope.nonce).ok().filter(|nonce| nonce.len() == NONCE_BYTES);
    let nonce = nonce.ok_or(Sealed::Unknown)?;
    let ciphertext = BASE64_STANDARD.decode(envelope.ciphertext).map_err(|_| Sealed::Unknown)?;
    let payload = Payload { msg: &ciphertext, aad };
    let plain = key.cipher.decrypt(XNonce::from_slice(&nonce), payload).map_err(|_| Sealed::Refused)?;
    Ok(plain.into())
}

fn failed(what: &str) -> event_store::Error {
    event_store::Error::Internal(format!("an event cannot be encrypted: {what}"))
}

fn of_event(stream: &StreamName, id: Uuid, event_type: &EventType) -> Vec<u8> {
    bound_to(&[PURPOSE, stream.as_str().as_bytes(), id.as_bytes(), event_type.as_str().as_bytes()])
}

fn of_metadata(metastream: &StreamName) -> Vec<u8> {
    bound_to(&[METADATA_PURPOSE, metastream.as_str().as_bytes()])
}

/// What a ciphertext belongs to: each part with its length before it, so that no two places look alike.
fn bound_to(parts: &[&[u8]]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bound.extend((part.len() as u64).to_be_bytes());
        bound.extend_from_slice(part);
    }
    bound
}
