//! Tokens: JSON Web Tokens of others that are believed, and this service's own.
//!
//! A key is bound to one algorithm, and a token is held to the key that it names: which algorithm is right is never the
//! token's to say. `alg: none` is no algorithm, and neither is any that is not listed in [`Algorithm`].

mod claims;
mod keys;
mod source;
#[cfg(test)]
mod tests;

pub use keys::Algorithm;
pub use source::Source;

use super::random;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use claims::{Claims, Expected};
use event_store::{Clock, Timestamp};
use jsonwebtoken::{DecodingKey, EncodingKey, Validation};
use keys::Key;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use source::Sources;
use std::{collections::HashSet, sync::Arc, time::Duration};

/// Who issues this service's own tokens, for whom, and under which key.
const OWN: &str = "penguin-pool";

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 16 << 10;

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not good. The text ends a sentence that begins with that.
    #[error("{0}")]
    Refused(&'static str),
    /// The keys cannot be had now, so that nobody can tell.
    #[error("{0}")]
    Unavailable(String),
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who it is about: a user's id.
    pub subject: String,
    /// The roles it names.
    pub roles: Vec<String>,
    /// Whether this service issued it.
    pub own: bool,
    /// Of this service's own: which password of the account it was issued for.
    pub version: Option<String>,
    /// From when on it is refused: when it ends, with the leeway for clocks that are off.
    pub until: Timestamp,
}

/// A token that was just issued.
#[derive(Debug)]
pub struct Issued {
    /// The token.
    pub token: SecretString,
    /// For how long it is good.
    pub good_for: Duration,
}

/// What tokens are made of.
#[derive(Debug)]
pub struct Options {
    /// Where the keys of others come from.
    pub sources: Vec<Source>,
    /// Who must have issued their tokens (`iss`).
    pub issuer: Option<String>,
    /// For whom they must be (`aud`).
    pub audience: Option<String>,
    /// What this service signs its own with: one secret for all instances, or nothing for one of this process alone.
    pub secret: Option<SecretString>,
    /// For how long its own are good.
    pub lifetime: Duration,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// Judges and issues tokens.
#[derive(Debug)]
pub struct Tokens {
    sources: Sources,
    issuer: Option<String>,
    audience: Option<String>,
    own: Own,
    lifetime: Duration,
    clock: Arc<dyn Clock>,
}

/// The key of this service's own tokens.
struct Own {
    sign: EncodingKey,
    key: Key,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own(…)")
    }
}

/// The part of a token that says how it is signed.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that a reader must understand; none is understood here.
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

impl Tokens {
    /// Tokens by these options.
    ///
    /// # Errors
    /// A sentence if a key cannot be used, or the system gives no random numbers.
    pub fn new(options: Options) -> Result<Self, String> {
        let Options { sources, issuer, audience, secret, lifetime, clock } = options;
        let secret = match secret {
            Some(secret) => secret.expose_secret().as_bytes().to_vec(),
            None => random::bytes::<32>()?.to_vec(),
        };
        let own = Own {
            sign: EncodingKey::from_secret(&secret),
            key: Key {
                id: Some(OWN.to_owned()),
                algorithm: Algorithm::Hs256,
                key: DecodingKey::from_secret(&secret),
            },
        };
        let sources = Sources::new(sources, Arc::clone(&clock))?;
        Ok(Self { sources, issuer, audience, own, lifetime, clock })
    }

    /// What a token says, if it is to be believed.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn verify(&self, token: &SecretString) -> Result<Verified, TokenError> {
        let token = token.expose_secret();
        let header = header(token).ok_or(TokenError::Refused("it is no signed JSON Web Token"))?;
        if header.crit.is_some() {
            return Err(TokenError::Refused("it demands an extension that is not known here"));
        }
        let algorithm =
            Algorithm::parse(&header.alg).ok_or(TokenError::Refused("its algorithm is not taken"))?;
        let own = header.kid.as_deref() == Some(OWN);
        let claims = if own {
            check_signature(token, algorithm, std::slice::from_ref(&self.own.key))
        } else {
            self.signed_by_another(token, algorithm, header.kid.as_deref()).await
        }?;
        let now = self.clock.now().millis().div_euclid(1000);
        let expected = match (&self.issuer, &self.audience) {
            _ if own => Expected { issuer: OWN, audience: OWN },
            (Some(issuer), Some(audience)) => Expected { issuer, audience },
            _ => return Err(TokenError::Refused("nobody else's tokens are taken here")),
        };
        let version = claims.ver.clone().filter(|_| own);
        let (subject, roles, until) = claims.check(&expected, now).map_err(TokenError::Refused)?;
        let until = Timestamp::from_millis(until.saturating_mul(1000));
        Ok(Verified { subject, roles, own, version, until })
    }

    async fn signed_by_another(
        &self,
        token: &str,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Result<Claims, TokenError> {
        let keys = self.sources.find(algorithm, kid).await?;
        check_signature(token, algorithm, &keys)
    }

    /// A token of this service's own.
    ///
    /// # Errors
    /// A sentence if it cannot be signed.
    pub fn issue(&self, subject: &str, roles: &[String], version: String) -> Result<Issued, String> {
        let now = self.clock.now().millis().div_euclid(1000);
        let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        let claims = serde_json::json!({
            "iss": OWN, "aud": OWN, "sub": subject, "roles": roles, "ver": version,
            "iat": now, "nbf": now, "exp": now.saturating_add(lifetime),
        });
        let header = jsonwebtoken::Header {
            kid: Some(OWN.to_owned()),
            ..jsonwebtoken::Header::new(Algorithm::Hs256.into())
        };
        let token = jsonwebtoken::encode(&header, &claims, &self.own.sign)
            .map_err(|e| format!("a token cannot be signed: {e}"))?;
        Ok(Issued { token: token.into(), good_for: self.lifetime })
    }
}

fn header(token: &str) -> Option<Header> {
    if token.len() > LONGEST || token.split('.').count() != 3 {
        return None;
    }
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    serde_json::from_slice(&header).ok()
}

/// The claims, if one of the keys signed them. What they say is not looked at: see [`Claims::check`].
fn check_signature(token: &str, algorithm: Algorithm, keys: &[Key]) -> Result<Claims, TokenError> {
    let mut validation = Validation::new(algorithm.into());
    // Times are judged by the injected clock, and the rest beside them.
    (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
    validation.required_spec_claims = HashSet::new();
    let candidates: Vec<_> = keys.iter().filter(|key| key.algorithm == algorithm).collect();
    if candidates.is_empty() {
        return Err(TokenError::Refused("no key is known for it"));
    }
    let good = candidates
        .into_iter()
        .find_map(|key| jsonwebtoken::decode::<serde_json::Value>(token, &key.key, &validation).ok());
    let claims = good.ok_or(TokenError::Refused("its signature is wrong"))?.claims;
    serde_json::from_value(claims).map_err(|_| TokenError::Refused("its claims cannot be read"))
}
