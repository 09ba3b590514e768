//! Passwords: argon2id, off the threads that serve, and only so many at once.

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::phc::PasswordHash,
};
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use event_store::Error;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, thread::available_parallelism};
use tokio::sync::Semaphore;

/// What one hash costs: 19 MiB of memory, two passes (OWASP's first choice), 20 to 50 ms of one core.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// How many passwords may wait for their turn; who comes then is refused.
const WAITING: usize = 64;

/// The hash of no password: what is checked for a user that does not exist, so that it takes the same time.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5LW5vYm9keS1ubw$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The hash of a password, with its salt and its cost, as a PHC string.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phc(String);

impl std::fmt::Debug for Phc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Phc(…)")
    }
}

impl Phc {
    /// What tells this password of an account from the next: it changes with each, and says nothing of either.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = digest::digest(&digest::SHA256, self.0.as_bytes());
        URL_SAFE_NO_PAD.encode(&digest.as_ref()[..12])
    }
}

/// Why a password was not looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too many wait already.
    #[error("too many passwords are being checked; try again in a second")]
    Busy,
    /// It could not be hashed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Hashes passwords and checks them. Cloning shares its limits.
#[derive(Debug, Clone)]
pub struct Passwords {
    /// One for each that is worked on or waits.
    admitted: Arc<Semaphore>,
    /// One for each that is worked on: they take memory and a core each.
    working: Arc<Semaphore>,
}

impl Default for Passwords {
    /// As many at once as there are cores, less one for everything else.
    fn default() -> Self {
        let working = available_parallelism().map_or(1, usize::from).saturating_sub(1).clamp(1, 8);
        Self {
            admitted: Arc::new(Semaphore::new(working + WAITING)),
            working: Arc::new(Semaphore::new(working)),
        }
    }
}

impl Passwords {
    /// Hashes a new password.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash(&self, password: SecretString) -> Result<Phc, PasswordError> {
        self.work(move || hash(&password)).await?.map_err(|e| Error::Internal(e).into())
    }

    /// Whether this is the password of that hash. Nothing is the hash of nobody's: the answer is no, and takes as long.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn verify(&self, password: SecretString, hash: Option<&Phc>) -> Result<bool, PasswordError> {
        let hash = hash.map_or(NOBODY, |phc| phc.0.as_str()).to_owned();
        self.work(move || verify(&password, &hash)).await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let closed = |_| PasswordError::Failed(Error::Closed);
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let working = Arc::clone(&self.working).acquire_owned().await.map_err(closed)?;
        let done = tokio::task::spawn_blocking(move || {
            // Held until the work ends, though whoever asked went away.
            let _places = (admitted, working);
            work()
        });
        done.await.map_err(|e| PasswordError::Failed(Error::Internal(format!("hashing failed: {e}"))))
    }
}

fn argon() -> Result<Argon2<'static>, String> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|e| e.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &SecretString) -> Result<Phc, String> {
    let salt = super::random::bytes::<16>()?;
    let hash: PasswordHash = argon()?
        .hash_password_with_salt(password.expose_secret().as_bytes(), &salt)
        .map_err(|e| format!("a password cannot be hashed: {e}"))?;
    Ok(Phc(hash.to_string()))
}

/// A hash that cannot be read is nobody's. The cost is the hash's own, so that older ones are good still.
fn verify(password: &SecretString, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()
}

/// What is wrong with a new password, if anything is.
#[must_use]
pub fn fault(password: &SecretString, shortest: usize) -> Option<String> {
    let text = password.expose_secret();
    if text.chars().count() < shortest {
        return Some(format!("A password has at least {shortest} characters"));
    }
    if text.len() > 1024 {
        return Some("A password has at most 1024 bytes".to_owned());
    }
    (shortest > 1 && text == "changeit")
        .then(|| "Everybody knows the password 'changeit'; choose another".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_nobodys_is_refused() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0);
        assert!(passwords.verify("correct horse".into(), Some(&hash)).await.unwrap());
        assert!(!passwords.verify("correct horsf".into(), Some(&hash)).await.unwrap());
        assert!(!passwords.verify("".into(), None).await.unwrap());
        assert!(!passwords.verify("x".into(), Some(&Phc("nonsense".into()))).await.unwrap());
        assert_ne!(passwords.hash("correct horse".into()).await.unwrap(), hash, "each has a salt of its own");
    }

    #[test]
    fn nobodys_hash_is_one_that_costs_what_others_cost() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        assert_eq!(nobody.params.to_string(), "m=19456,t=2,p=1");
    }

    #[tokio::test]
    async fn who_comes_when_too_many_wait_is_refused() {
        let passwords =
            Passwords { admitted: Arc::new(Semaphore::new(1)), working: Arc::new(Semaphore::new(1)) };
        let _all = passwords.admitted.acquire().await.unwrap();
        assert_eq!(passwords.verify("x".into(), None).await, Err(PasswordError::Busy));
    }
}
