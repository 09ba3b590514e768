//! Where keys come from, and how they are had anew: without a restart, and not more often than is sensible.

use super::{
    TokenError,
    keys::{self, Algorithm, Key, Secrets},
};
use crate::config::{Secret, Settings};

use event_store::Clock;
use futures::StreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::sync::{Mutex as Turns, RwLock};

/// How often a file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How old the keys of an address may grow, and how often it is asked at most.
const OLD: Duration = Duration::from_secs(600);
const ASK_EVERY: Duration = Duration::from_secs(30);

/// For how long an address that is known may go unasked: then a token waits for what it says now, whether its key is known
/// or not, so that after a quiet night nobody is believed on a key that was taken back in the evening.
const UNHEARD: Duration = Duration::from_secs(1200);

/// How long an address may take to answer, and the longest answer in bytes.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: usize = 1 << 20;

/// What a token is told whose key cannot be looked for.
const UNAVAILABLE: &str = "the keys for tokens cannot be had now";

/// The most keys with no id that a token without one is tried on.
const MOST_TRIED: usize = 16;

/// Where keys come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A secret that is shared with the issuer, for HS256.
    Shared(SecretString),
    /// PEM public keys or JSON Web Keys, as they stand.
    Text(SecretString),
    /// A file of the same. It is read again when it changes.
    File(PathBuf),
    /// The address of a JSON Web Key Set. It is asked again when it is old, and when a token names a key not in it.
    Address(reqwest::Url),
}

impl Source {
    /// Those that the settings name.
    #[must_use]
    pub fn of_settings(settings: &Settings) -> Vec<Self> {
        let secret = |secret: &Secret| SecretString::from(secret.expose());
        [
            settings.jwt_shared_secret.as_ref().map(|text| Self::Shared(secret(text))),
            settings.jwt_keys.as_ref().map(|text| Self::Text(secret(text))),
            settings.jwt_keys_file.as_ref().map(|path| Self::File(path.into())),
            settings.jwt_jwks_url.as_ref().map(|url| Self::Address(url.0.clone())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// All sources.
#[derive(Debug)]
pub(super) struct Sources {
    fixed: Vec<Key>,
    changing: Vec<Arc<Changing>>,
    clock: Arc<dyn Clock>,
}

/// A source that may change.
#[derive(Debug)]
struct Changing {
    place: Place,
    keys: RwLock<Arc<Vec<Key>>>,
    /// Held while it is had anew, so that one does so for all, with what a file was like the last time.
    turn: Arc<Turns<Option<Seen>>>,
    times: Mutex<Times>,
}

/// What a file was like: when it changed, and its length.
type Seen = (SystemTime, u64);

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Address(reqwest::Url, reqwest::Client),
}

#[derive(Debug, Default)]
struct Times {
    /// When it was tried last.
    tried: Option<Duration>,
    /// When a try began that came to an end, and one that went well.
    heard: Option<Duration>,
    had: Option<Duration>,
}

/// Whether a moment is so long ago, or never was.
fn is_past(moment: Option<Duration>, now: Duration, age: Duration) -> bool {
    moment.is_none_or(|moment| now.saturating_sub(moment) >= age)
}

impl Sources {
    pub(super) fn new(sources: Vec<Source>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let (mut fixed, mut changing) = (Vec::new(), Vec::new());
        for source in sources {
            let place = match source {
                Source::Shared(secret) => {
                    fixed.push(keys::shared(secret.expose_secret().as_bytes())?);
                    continue;
                }
                Source::Text(text) => {
                    fixed.extend(keys::parse(text.expose_secret(), Secrets::Taken)?);
                    continue;
                }
                Source::File(path) => Place::File(path),
                Source::Address(url) => {
                    let client = reqwest::Client::builder()
                        .timeout(PATIENCE)
                        .redirect(reqwest::redirect::Policy::none())
                        .build()
                        .map_err(|e| format!("no client for the addresses of keys: {e}"))?;
                    Place::Address(url, client)
                }
            };
            let (turn, times) = (Arc::default(), Mutex::default());
            changing.push(Arc::new(Changing { place, keys: RwLock::default(), turn, times }));
        }
        Ok(Self { fixed, changing, clock })
    }

    /// The keys that a token of this algorithm may be signed by: the one that it names, or those without a name.
    pub(super) async fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<Vec<Key>, TokenError> {
        let now = self.clock.monotonic();
        let is_known = !self.known(algorithm, kid).await.is_empty();
        let mut broken = None;
        for source in &self.changing {
            if is_known && !source.is_waited_for(now) {
                source.renew_beside(now);
            } else if let Err(error) = source.renew(now, false).await {
                broken = Some(error);
            }
        }
        let mut found = self.known(algorithm, kid).await;
        if found.is_empty() {
            // It may be newer than what is known.
            for source in &self.changing {
                match source.renew(now, true).await {
                    Ok(()) => broken = None,
                    Err(error) => broken = Some(error),
                }
            }
            found = self.known(algorithm, kid).await;
        }
        match broken {
            Some(error) if found.is_empty() => Err(TokenError::Unavailable(error)),
            _ => Ok(found),
        }
    }

    async fn known(&self, algorithm: Algorithm, kid: Option<&str>) -> Vec<Key> {
        // A key without a name may be meant by any, one with a name by that alone; no name means any key.
        let meant = |key: &&Key| {
            key.algorithm == algorithm && (kid.is_none() || key.id.is_none() || key.id.as_deref() == kid)
        };
        let mut found: Vec<Key> = self.fixed.iter().filter(meant).cloned().collect();
        for source in &self.changing {
            found.extend(source.keys.read().await.iter().filter(meant).cloned());
        }
        found.truncate(MOST_TRIED);
        found
    }
}

impl Changing {
    /// Has the keys anew if that is due; `missing` says that a key is wanted which is not known. Those that are known stay
    /// if it fails.
    async fn renew(&self, now: Duration, missing: bool) -> Result<(), String> {
        let mut seen = self.turn.lock().await;
        if self.is_begun(now, missing) {
            return self.have_anew(now, &mut seen).await;
        }
        match self.times().had {
            Some(_) => Ok(()),
            None => Err(UNAVAILABLE.to_owned()),
        }
    }

    /// The same for a key that is known: nobody waits for it, however slow the place is.
    fn renew_beside(self: &Arc<Self>, now: Duration) {
        // Whoever has the turn is having them anew.
        let Ok(mut seen) = Arc::clone(&self.turn).try_lock_owned() else { return };
        if self.is_begun(now, false) {
            let source = Arc::clone(self);
            tokio::spawn(async move {
                // It says itself what went wrong.
                let _ = source.have_anew(now, &mut seen).await;
            });
        }
    }

    /// Whether a token whose key is known waits: for a file, which is at hand, and for an address that was long not asked.
    fn is_waited_for(&self, now: Duration) -> bool {
        match self.place {
            Place::File(_) => true,
            Place::Address(..) => is_past(self.times().heard, now, UNHEARD),
        }
    }

    /// Whether it is due and may be tried, which then counts as tried. Asked by whoever has the turn.
    fn is_begun(&self, now: Duration, missing: bool) -> bool {
        let (every, old) = match self.place {
            Place::File(_) => (LOOK_EVERY, LOOK_EVERY),
            Place::Address(..) => (ASK_EVERY, OLD),
        };
        let mut times = self.times();
        let is_begun = (missing || is_past(times.had, now, old)) && is_past(times.tried, now, every);
        if is_begun {
            times.tried = Some(now);
        }
        is_begun
    }

    async fn have_anew(&self, now: Duration, seen: &mut Option<Seen>) -> Result<(), String> {
        let loaded = self.load(seen).await;
        let result = match loaded {
            Ok(keys) => {
                if let Some(keys) = keys {
                    *self.keys.write().await = Arc::new(keys);
                }
                Ok(())
            }
            Err(error) => {
                tracing::warn!(source = %self.place, error, "the keys for tokens cannot be had anew; those known stay good");
                Err(UNAVAILABLE.to_owned())
            }
        };
        let mut times = self.times();
        times.heard = Some(now);
        if result.is_ok() {
            times.had = Some(now);
        }
        result
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys; nothing if they are as they were.
    async fn load(&self, last: &mut Option<Seen>) -> Result<Option<Vec<Key>>, String> {
        match &self.place {
            Place::File(path) => {
                let about = tokio::fs::metadata(path).await.map_err(|e| e.to_string())?;
                let seen = about.modified().ok().map(|at| (at, about.len()));
                if seen.is_some() && seen == *last {
                    return Ok(None);
                }
                let text = tokio::fs::read_to_string(path).await.map_err(|e| e.to_string())?;
                let keys = keys::parse(&text, Secrets::Taken)?;
                *last = seen;
                Ok(Some(keys))
            }
            Place::Address(url, client) => {
                let plain = |e: reqwest::Error| e.without_url().to_string();
                let response =
                    client.get(url.clone()).send().await.and_then(reqwest::Response::error_for_status);
                let mut chunks = response.map_err(plain)?.bytes_stream();
                let mut body = Vec::new();
                while let Some(chunk) = chunks.next().await {
                    body.extend_from_slice(&chunk.map_err(plain)?);
                    if body.len() > LONGEST {
                        return Err(format!("the answer is longer than {LONGEST} bytes"));
                    }
                }
                let text = String::from_utf8(body).map_err(|_| "the answer is no text")?;
                keys::parse(&text, Secrets::Refused).map(Some)
            }
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            // Its query or its user may be a secret.
            Self::Address(url, _) => f.write_str(url.host_str().unwrap_or("an address")),
        }
    }
}
