//! Records in a chain: each has the hash of the one before it, so that none can be changed or taken out unseen.

use event_store::{Error, NewEvent};
use models::{AuditRecord, AuditRecorded};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use uuid::Uuid;

/// The event's data, its record as it stands.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    hash: String,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// The end of a process's own chain.
#[derive(Debug)]
pub(super) struct Chain {
    instance: String,
    next: u64,
    previous: String,
}

impl Chain {
    /// A chain that begins after the newest record of all.
    pub(super) fn new(instance: Uuid, newest: String) -> Self {
        Self { instance: instance.to_string(), next: 0, previous: newest }
    }

    /// The event of a record, which is given its place in the chain.
    pub(super) fn link(&mut self, id: Uuid, mut record: AuditRecord) -> event_store::Result<NewEvent> {
        record.instance.clone_from(&self.instance);
        record.sequence = self.next;
        record.previous.clone_from(&self.previous);
        let failed =
            |e: serde_json::Error| Error::Internal(format!("a record cannot be written as JSON: {e}"));
        let text = serde_json::value::to_raw_value(&record).map_err(failed)?;
        let hash = hash_of(text.get());
        let data = serde_json::to_vec(&Written { hash: hash.clone(), record: &text }).map_err(failed)?;
        self.next += 1;
        self.previous = hash;
        Ok(NewEvent::json(id, AuditRecorded::TYPE, data))
    }
}

fn hash_of(record: &str) -> String {
    Sha256::digest(record.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash that an event of the trail has, if it is one.
pub(super) fn hash(data: &[u8]) -> Option<String> {
    serde_json::from_slice::<Written<'_>>(data).ok().map(|written| written.hash)
}

/// Goes along the trail and finds what does not fit.
#[derive(Debug, Default)]
pub(super) struct Check {
    chains: HashMap<String, (u64, String)>,
    newest: String,
    records: u64,
}

impl Check {
    /// Looks at the next event's data, which must be a record; what is wrong with it, if anything is.
    pub(super) fn next(&mut self, event_type: &str, data: &[u8]) -> Result<(), String> {
        if event_type != AuditRecorded::TYPE {
            return Err(format!("it is no record but a '{event_type}'"));
        }
        let Ok(Written { hash, record: text }) = serde_json::from_slice(data) else {
            return Err("it is no record".to_owned());
        };
        if hash_of(text.get()) != hash {
            return Err("it was changed: its hash is another".to_owned());
        }
        let Ok(record) = serde_json::from_str::<AuditRecord>(text.get()) else {
            return Err("it is no record".to_owned());
        };
        let found = self.fits(&record);
        // Go on from what is there, so that one fault is told once.
        self.records += 1;
        self.chains.insert(record.instance, (record.sequence, hash.clone()));
        self.newest = hash;
        found
    }

    fn fits(&self, record: &AuditRecord) -> Result<(), String> {
        let AuditRecord { instance, sequence, previous, .. } = record;
        match self.chains.get(instance) {
            Some((last, _)) if *sequence != last + 1 => {
                Err(format!("number {} of {instance} is missing: this one is number {sequence}", last + 1))
            }
            Some((_, hash)) if previous != hash => {
                Err(format!("number {sequence} of {instance} follows another record than the one before it"))
            }
            Some(_) => Ok(()),
            None if *sequence != 0 => {
                Err(format!("{instance} begins with number {sequence}: the records before it are missing"))
            }
            None if *previous != self.newest => {
                Err(format!("{instance} began after another record than the one before it"))
            }
            None => Ok(()),
        }
    }

    /// How many records there were, and the hash of the newest.
    pub(super) fn end(self) -> (u64, Option<String>) {
        (self.records, Some(self.newest).filter(|hash| !hash.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::DateTime;

    fn record(action: &str) -> AuditRecord {
        AuditRecord {
            instance: String::new(),
            sequence: 0,
            previous: String::new(),
            at: DateTime::from_millis(0),
            caller: "bob".into(),
            action: action.into(),
            streams: vec!["loans-1".into()],
            subject: None,
            outcome: "ok".into(),
            request_id: None,
            address: Some("127.0.0.1".into()),
        }
    }

    /// A trail of two processes, one after the other and then both at once.
    fn trail() -> Vec<String> {
        let mut trail = Vec::new();
        let mut first = Chain::new(Uuid::from_u128(1), String::new());
        let mut write = |chain: &mut Chain, action: &str| {
            let event = chain.link(Uuid::nil(), record(action)).unwrap();
            trail.push(String::from_utf8(event.data.to_vec()).unwrap());
            hash(&event.data).unwrap()
        };
        write(&mut first, "a");
        let newest = write(&mut first, "b");
        let mut second = Chain::new(Uuid::from_u128(2), newest);
        for action in ["c", "d", "e"] {
            write(&mut second, action);
            write(&mut first, action);
        }
        trail
    }

    fn faults(trail: &[String]) -> usize {
        let mut check = Check::default();
        trail.iter().filter(|data| check.next(AuditRecorded::TYPE, data.as_bytes()).is_err()).count()
    }

    #[test]
    fn a_whole_trail_has_no_fault() {
        assert_eq!(faults(&trail()), 0);
        let mut check = Check::default();
        for data in trail() {
            check.next(AuditRecorded::TYPE, data.as_bytes()).unwrap();
        }
        let (records, newest) = check.end();
        assert_eq!((records, newest), (8, hash(trail()[7].as_bytes())));
    }

    #[test]
    fn whatever_is_taken_out_changed_or_moved_is_found() {
        let sound = trail();
        // The newest of a chain alone can go unseen, while no other began after it.
        for index in 0..6 {
            let mut cut = sound.clone();
            cut.remove(index);
            assert!(faults(&cut) > 0, "without {index}");
        }
        for index in 0..sound.len() {
            let mut changed = sound.clone();
            changed[index] = changed[index].replace("bob", "eve");
            assert!(faults(&changed) > 0, "changed {index}");
            let mut forged = sound.clone();
            let data: serde_json::Value = serde_json::from_str(&forged[index]).unwrap();
            let text = data["record"].to_string().replace("bob", "eve");
            forged[index] = format!(r#"{{"hash":"{}","record":{text}}}"#, hash_of(&text));
            assert_eq!(faults(&forged) > 0, index < 6, "changed {index}, with its hash");
        }
        let mut twice = sound.clone();
        twice.insert(3, sound[2].clone());
        assert!(faults(&twice) > 0);
        let mut moved = sound.clone();
        moved.swap(0, 1);
        assert!(faults(&moved) > 0);
        let mut other = sound.clone();
        other.insert(0, "{}".into());
        assert!(faults(&other) > 0);
        assert!(Check::default().next("Other", sound[0].as_bytes()).is_err());
    }
}
