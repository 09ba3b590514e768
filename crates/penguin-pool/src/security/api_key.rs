//! API keys as text: `pp_{id}_{secret}`. The text is shown once; what is kept is the id and a hash of the secret.

use super::random;
use aws_lc_rs::{constant_time, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};

/// How every key begins, so that one that leaked into a repository is found by its looks.
pub const PREFIX: &str = "pp_";

/// The hash of a key's secret: SHA-256, which is enough for a secret that is random and 256 bits long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    fn of(secret: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
        Self(hash)
    }

    /// From its text form; nothing if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// Its text form, as it is kept.
    #[must_use]
    pub fn text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Whether this is the secret's hash; the time it takes does not tell how much of it is right.
    #[must_use]
    pub fn fits(self, secret: &SecretString) -> bool {
        let given = Self::of(secret.expose_secret());
        constant_time::verify_slices_are_equal(&self.0, &given.0).is_ok()
    }
}

/// A new key.
#[derive(Debug)]
pub struct NewKey {
    /// What it is known by.
    pub id: String,
    /// What is kept of its secret.
    pub hash: KeyHash,
    /// The whole key, to be shown once.
    pub text: SecretString,
}

/// Makes a key.
///
/// # Errors
/// A sentence if the system gives no random numbers.
pub fn generate() -> Result<NewKey, String> {
    let id = format!("{:016x}", u64::from_be_bytes(random::bytes()?));
    let secret = URL_SAFE_NO_PAD.encode(random::bytes::<32>()?);
    let text = format!("{PREFIX}{id}_{secret}");
    Ok(NewKey { id, hash: KeyHash::of(&secret), text: text.into() })
}

/// The id and the secret of a key's text; nothing if it has not the form of one.
#[must_use]
pub fn parse(text: &SecretString) -> Option<(&str, SecretString)> {
    let (id, secret) = text.expose_secret().strip_prefix(PREFIX)?.split_once('_')?;
    (!id.is_empty() && !secret.is_empty()).then(|| (id, secret.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_fits_its_own_hash_and_no_other() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        let (id, secret) = parse(&one.text).unwrap();
        assert_eq!(id, one.id);
        assert!(one.hash.fits(&secret) && !other.hash.fits(&secret));
        assert_eq!(KeyHash::parse(&one.hash.text()), Some(one.hash));
        assert_ne!(one.id, other.id);
        for bad in ["", "pp_", "pp_x", "pp__x", "pp_x_", "px_x_y"] {
            assert!(parse(&bad.into()).is_none(), "{bad}");
        }
    }
}
