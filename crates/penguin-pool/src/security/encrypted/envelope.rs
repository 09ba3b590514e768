//! What stands in the log in place of a user's event: JSON that says it is encrypted, so that every tool can show it.

use super::super::keys::{DataKey, NONCE_BYTES, random};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use chacha20poly1305::{
    XNonce,
    aead::{Aead as _, Payload},
};
use event_store::{ContentType, EventType, NewEvent, RecordedEvent, StreamName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How every envelope begins.
const BEGINNING: &[u8] = br#"{"$encrypted":{"#;
/// The one version there is.
const VERSION: u32 = 1;
/// The one algorithm there is.
const ALGORITHM: &str = "XChaCha20-Poly1305";
/// What binds a ciphertext to its purpose.
const PURPOSE: &[u8] = b"penguin-pool/event/v1";

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

/// Encrypts an event's data and metadata; its stream, id and type are bound to them. The metadata is left empty.
pub(super) fn seal(key: &DataKey, stream: &StreamName, event: NewEvent) -> event_store::Result<NewEvent> {
    let failed = |what: &str| event_store::Error::Internal(format!("an event cannot be encrypted: {what}"));
    let length = u32::try_from(event.metadata.len()).map_err(|_| failed("its metadata is too large"))?;
    let mut plain = Vec::with_capacity(5 + event.metadata.len() + event.data.len());
    plain.push(u8::from(event.content_type == ContentType::Binary));
    plain.extend(length.to_be_bytes());
    plain.extend_from_slice(&event.metadata);
    plain.extend_from_slice(&event.data);
    let nonce = random::<NONCE_BYTES>();
    let aad = bound_to(stream, event.id, &event.event_type);
    let ciphertext = key
        .cipher
        .encrypt(XNonce::from_slice(nonce.as_slice()), Payload { msg: &plain, aad: &aad })
        .map_err(|_| failed("the cipher refused it"))?;
    let (nonce, ciphertext) = (BASE64_STANDARD.encode(nonce.as_slice()), BASE64_STANDARD.encode(ciphertext));
    let envelope =
        Envelope { v: VERSION, alg: ALGORITHM, kid: &key.id, nonce: &nonce, ciphertext: &ciphertext };
    let data = serde_json::to_vec(&Outer { envelope }).map_err(|e| failed(&e.to_string()))?;
    Ok(NewEvent { data: data.into(), metadata: Bytes::new(), content_type: ContentType::Json, ..event })
}

/// Decrypts an event that is an envelope.
pub(super) fn open(key: &DataKey, event: &mut RecordedEvent) -> Result<(), Sealed> {
    let Outer { envelope } = serde_json::from_slice(&event.data).map_err(|_| Sealed::Unknown)?;
    if envelope.v != VERSION || envelope.alg != ALGORITHM {
        return Err(Sealed::Unknown);
    }
    if envelope.kid != key.id {
        return Err(Sealed::OtherKey);
    }
    let nonce = BASE64_STANDARD.decode(envelope.nonce).ok().filter(|nonce| nonce.len() == NONCE_BYTES);
    let nonce = nonce.ok_or(Sealed::Unknown)?;
    let ciphertext = BASE64_STANDARD.decode(envelope.ciphertext).map_err(|_| Sealed::Unknown)?;
    let aad = bound_to(&event.stream, event.id, &event.event_type);
    let payload = Payload { msg: &ciphertext, aad: &aad };
    let plain: Bytes =
        key.cipher.decrypt(XNonce::from_slice(&nonce), payload).map_err(|_| Sealed::Refused)?.into();
    let head: [u8; 5] = plain.get(..5).and_then(|head| head.try_into().ok()).ok_or(Sealed::Refused)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(5));
    let end = end.filter(|end| *end <= plain.len()).ok_or(Sealed::Refused)?;
    event.content_type = if head[0] == 1 { ContentType::Binary } else { ContentType::Json };
    event.metadata = plain.slice(5..end);
    event.data = plain.slice(end..);
    Ok(())
}

/// What a ciphertext belongs to: each part with its length before it, so that no two places look alike.
fn bound_to(stream: &StreamName, id: Uuid, event_type: &EventType) -> Vec<u8> {
    let parts = [PURPOSE, stream.as_str().as_bytes(), id.as_bytes(), event_type.as_str().as_bytes()];
    let mut bound = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bound.extend((part.len() as u64).to_be_bytes());
        bound.extend_from_slice(part);
    }
    bound
}
