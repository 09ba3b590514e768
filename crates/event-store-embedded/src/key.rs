//! What the index knows a stream by.

use event_store::{Derived, EventType, StreamName, category_of};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasherDefault, Hasher};

/// A stream's keyed 128-bit hash. The key is random and secret, so that nobody can craft two names with one hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamKey {
    pub(crate) high: u64,
    pub(crate) low: u64,
}

impl StreamKey {
    /// Sets derived streams apart from streams that an earlier version let be written under such names.
    fn derived(self) -> Self {
        Self { high: self.high ^ 0x6465_7269_7665_6421, ..self }
    }
}

impl std::hash::Hash for StreamKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low);
    }
}

/// Passes on the last number written: for keys that are hashes already.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

pub(crate) type HashedKeys = BuildHasherDefault<AsItIs>;
pub(crate) type KeyMap<V> = hashbrown::HashMap<StreamKey, V, HashedKeys>;

/// Hashes names.
#[derive(Clone, Copy)]
pub(crate) struct Hashing(u64, u64);

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hashing(secret)")
    }
}

impl Hashing {
    pub(crate) fn new(secret: u128) -> Self {
        let (high, low) = uuid::Uuid::from_u128(secret).as_u64_pair();
        Self(high, low)
    }

    pub(crate) fn secret(self) -> u128 {
        uuid::Uuid::from_u64_pair(self.0, self.1).as_u128()
    }

    pub(crate) fn key(self, name: &[u8]) -> StreamKey {
        self.key_of([name, b""])
    }

    /// The key of a name that is given in two parts.
    pub(crate) fn key_of(self, name: [&[u8]; 2]) -> StreamKey {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        name.iter().for_each(|part| hasher.write(part));
        let hash = hasher.finish128();
        StreamKey { high: hash.h1, low: hash.h2 }
    }

    /// The keys of the derived streams that gather an event: by category, by type, and among the streams.
    pub(crate) fn derived(self, stream: &[u8], event_type: &[u8], revision: u64) -> [Option<StreamKey>; 3] {
        let category = category_of(stream).map(|c| self.key_of([Derived::CATEGORY.as_bytes(), c]));
        let by_type = (event_type != EventType::LINK.as_bytes())
            .then(|| self.key_of([Derived::EVENT_TYPE.as_bytes(), event_type]));
        let first =
            (revision == 0 && !stream.starts_with(b"$")).then(|| self.key(Derived::STREAMS.as_bytes()));
        [category, by_type, first].map(|key| key.map(StreamKey::derived))
    }

    pub(crate) fn stream(self, name: &StreamName) -> StreamRef {
        if name.derived().is_some() {
            let own = self.key(name.as_str().as_bytes()).derived();
            return StreamRef { name: name.clone(), own, base: own, meta: own, kind: Kind::Derived };
        }
        let own = self.key(name.as_str().as_bytes());
        match name.original() {
            Some(original) if original.is_metastream() => {
                StreamRef { name: name.clone(), own, base: own, meta: own, kind: Kind::Impossible }
            }
            Some(original) => {
                let base = self.key(original.as_str().as_bytes());
                StreamRef { name: name.clone(), own, base, meta: own, kind: Kind::Meta }
            }
            None => {
                let meta = self.key_of([b"$$", name.as_str().as_bytes()]);
                StreamRef { name: name.clone(), own, base: own, meta, kind: Kind::Plain }
            }
        }
    }
}

/// What sort of stream a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// `$$x`: it shares its head with `x`, whose metadata it keeps.
    Meta,
    /// `$$$$x`: it would be the metadata of a metastream, and never has events.
    Impossible,
    /// Nobody writes it, and it has no head: the index alone knows what it gathers.
    Derived,
}

/// A stream, and what it is known by.
#[derive(Debug, Clone)]
pub(crate) struct StreamRef {
    pub(crate) name: StreamName,
    /// The stream's own key in the index.
    pub(crate) own: StreamKey,
    /// The key of `x`, for `x` and for `$$x`: heads go by it.
    pub(crate) base: StreamKey,
    /// The key of `$$x`, for both.
    pub(crate) meta: StreamKey,
    pub(crate) kind: Kind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_parts_has_the_key_of_the_whole() {
        let hashing = Hashing::new(5);
        for (start, rest) in [("$$", "order-1"), ("$ce-", "a category of some length"), ("", "x"), ("x", "")]
        {
            let whole = hashing.key(format!("{start}{rest}").as_bytes());
            assert_eq!(hashing.key_of([start.as_bytes(), rest.as_bytes()]), whole);
        }
    }
}
