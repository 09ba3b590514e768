//! The keys that people keep: `ENCRYPTION_KEY`, one or several.

use base64::alphabet;
use base64::{Engine as _, engine::DecodePaddingMode, engine::GeneralPurpose, engine::GeneralPurposeConfig};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// How many bytes a key has.
pub(super) const KEY_BYTES: usize = 32;

/// A key, wiped from memory when it is dropped.
pub(super) type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// The keys that wrap others: the first wraps, all unwrap.
pub struct Ring(Vec<RingKey>);

pub(super) struct RingKey {
    /// What tells it from others, and tells nothing of it.
    pub(super) id: String,
    pub(super) secret: Secret,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl Ring {
    /// Reads keys with commas or white space between them, each 32 bytes as 64 hexadecimal digits or as base64. Nothing
    /// if there is none.
    ///
    /// # Errors
    /// Which of them is none, in words that tell nothing of it.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let words = text.split([',', ' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
        let keys = words.enumerate().map(|(index, word)| {
            let secret = decode(word).ok_or_else(|| {
                format!(
                    "key {} of the ring is not 32 bytes as 64 hexadecimal digits or as base64 (`openssl rand -base64 32` makes one)",
                    index + 1
                )
            })?;
            Ok(RingKey { id: id_of(&secret), secret })
        });
        let keys = keys.collect::<Result<Vec<_>, String>>()?;
        Ok((!keys.is_empty()).then_some(Self(keys)))
    }

    /// The key that wraps.
    pub(super) fn first(&self) -> &RingKey {
        // `parse` makes no empty ring.
        &self.0[0]
    }

    pub(super) fn of_id(&self, id: &str) -> Option<&RingKey> {
        self.0.iter().find(|key| key.id == id)
    }
}

fn decode(word: &str) -> Option<Secret> {
    let bytes = if word.len() == 2 * KEY_BYTES { hex(word) } else { base64(word) };
    let bytes = Zeroizing::new(bytes?);
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    if bytes.len() != KEY_BYTES {
        return None;
    }
    secret.copy_from_slice(&bytes);
    Some(secret)
}

fn hex(word: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16);
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok();
    word.as_bytes().chunks_exact(2).map(byte).collect()
}

fn base64(word: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [alphabet::STANDARD, alphabet::URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(word).ok())
}

fn id_of(secret: &Secret) -> String {
    let digest =
        Sha256::new().chain_update(b"penguin-pool key id\0").chain_update(secret.as_slice()).finalize();
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_however_it_is_written() {
        let hex = "00ff".repeat(16);
        let standard = "AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8=";
        let ids = |text: &str| -> Vec<String> {
            Ring::parse(text).unwrap().unwrap().0.into_iter().map(|key| key.id).collect()
        };
        assert_eq!(ids(&hex), ids(standard));
        let url_safe = standard.replace('/', "_").replace('=', "");
        assert_eq!(ids(&format!("{hex},{url_safe}\n{}", hex.to_uppercase())), vec![ids(&hex)[0].clone(); 3]);
        assert_eq!(ids(&hex)[0].len(), 16);
    }

    #[test]
    fn what_is_no_key_is_refused_by_its_place_alone() {
        assert!(Ring::parse(" ,\n").unwrap().is_none());
        let good = "ab".repeat(32);
        for bad in ["secret", &"ab".repeat(31), &"zz".repeat(32), "AP8="] {
            let refused = Ring::parse(&format!("{good},{bad}")).unwrap_err();
            assert!(refused.contains("key 2 of the ring") && !refused.contains(bad), "{refused}");
        }
    }
}
