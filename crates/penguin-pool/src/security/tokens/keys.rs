//! Keys that signatures are checked with, each bound to one algorithm.

use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// How tokens may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// RSA (PKCS#1 1.5) with SHA-256, of 2048 bits or more.
    Rs256,
    /// HMAC with SHA-256, by a shared secret.
    Hs256,
}

impl Algorithm {
    /// By its name in tokens.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "EdDSA" => Self::EdDsa,
            "ES256" => Self::Es256,
            "RS256" => Self::Rs256,
            "HS256" => Self::Hs256,
            _ => return None,
        })
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::EdDsa => Self::EdDSA,
            Algorithm::Es256 => Self::ES256,
            Algorithm::Rs256 => Self::RS256,
            Algorithm::Hs256 => Self::HS256,
        }
    }
}

/// A key.
#[derive(Clone)]
pub(super) struct Key {
    /// What tokens call it.
    pub(super) id: Option<String>,
    /// The one algorithm that it is for.
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Whether shared secrets are taken too: not from where everybody can read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    Taken,
    Refused,
}

/// The shortest shared secret, in bytes: as long as the hash.
pub(super) const SHORTEST_SECRET: usize = 32;

/// A shared secret.
pub(super) fn shared(secret: &[u8]) -> Result<Key, String> {
    if secret.len() < SHORTEST_SECRET {
        return Err(format!("a shared secret has at least {SHORTEST_SECRET} bytes"));
    }
    Ok(Key { id: None, algorithm: Algorithm::Hs256, key: DecodingKey::from_secret(secret) })
}

/// The keys of a text: a JSON Web Key, a set of them, or PEM public keys one after the other.
pub(super) fn parse(text: &str, secrets: Secrets) -> Result<Vec<Key>, String> {
    let keys = if text.trim_start().starts_with('{') { parse_json(text, secrets)? } else { parse_pem(text)? };
    if keys.is_empty() { Err("it holds no key that can be used".to_owned()) } else { Ok(keys) }
}

fn parse_json(text: &str, secrets: Secrets) -> Result<Vec<Key>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let json: Value = serde_json::from_str(text).map_err(|e| format!("it is no JSON: {e}"))?;
    let keys = if json.get("keys").is_some() {
        serde_json::from_value::<Set>(json).map_err(|e| format!("it is no JSON Web Key Set: {e}"))?.keys
    } else {
        vec![json]
    };
    // A set may hold keys for other purposes, of kinds that nobody here knows: the others count still.
    Ok(keys.into_iter().filter_map(|key| from_jwk(key, secrets)).collect())
}

fn from_jwk(json: Value, secrets: Secrets) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(json).ok()?;
    let for_signatures =
        jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDsa,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::Es256,
        AlgorithmParameters::RSA(_) => Algorithm::Rs256,
        AlgorithmParameters::OctetKey(_) if secrets == Secrets::Taken => Algorithm::Hs256,
        _ => return None,
    };
    let named = match jwk.common.key_algorithm {
        None => Some(algorithm),
        Some(KeyAlgorithm::EdDSA) => Some(Algorithm::EdDsa),
        Some(KeyAlgorithm::ES256) => Some(Algorithm::Es256),
        Some(KeyAlgorithm::RS256) => Some(Algorithm::Rs256),
        Some(KeyAlgorithm::HS256) => Some(Algorithm::Hs256),
        Some(_) => None,
    };
    if !for_signatures || named != Some(algorithm) {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key { id: jwk.common.key_id, algorithm, key })
}

fn parse_pem(text: &str) -> Result<Vec<Key>, String> {
    const END: &str = "-----END ";
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("-----BEGIN ") {
        let block = &rest[start..];
        let end = block.find(END).ok_or("a PEM block does not end")?;
        let line = block[end..].find('\n').map_or(block.len(), |line| end + line);
        keys.push(from_pem(&block[..line])?);
        rest = &block[line..];
    }
    Ok(keys)
}

/// Each kind refuses what is of another.
fn from_pem(block: &str) -> Result<Key, String> {
    let pem = block.as_bytes();
    if block.contains("PRIVATE KEY") {
        return Err("it holds a private key where public keys belong".to_owned());
    }
    let (algorithm, key) = DecodingKey::from_ed_pem(pem)
        .map(|key| (Algorithm::EdDsa, key))
        .or_else(|_| DecodingKey::from_ec_pem(pem).map(|key| (Algorithm::Es256, key)))
        .or_else(|_| DecodingKey::from_rsa_pem(pem).map(|key| (Algorithm::Rs256, key)))
        .map_err(|_| "it holds a PEM block that is no public key of Ed25519, P-256 or RSA".to_owned())?;
    Ok(Key { id: None, algorithm, key })
}
