//! What the store holds, as clients see it.

use crate::security::permission::default_names;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use event_store::{Acl, ContentType, RecordedEvent, ResolvedEvent, StreamMetadata, StreamName, Timestamp};
use models::{DateTime, Event, EventLink, Stream, StreamDescription, StreamPermissions};
use serde_json::value::{RawValue, to_raw_value};

/// The store's name for everybody, and for the administrators, and the API's.
const NAMES: [(&str, &str); 2] = [("$all", "*"), ("$admins", "system")];

/// The semantic version of a new stream's schema.
pub(super) const FIRST_SCHEMA: &str = "1.0.0";

pub(super) fn date(moment: Timestamp) -> DateTime {
    DateTime::from_millis(moment.millis())
}

/// An event that was read; nothing where neither it nor a link to it is there.
pub(crate) fn event(read: ResolvedEvent) -> Option<Event> {
    let (record, link) = match (read.event, read.link) {
        (Some(event), link) => (event, link),
        (None, Some(link)) => (link, None),
        (None, None) => return None,
    };
    let link = link.map(|link| EventLink {
        stream_id: link.stream.as_str().to_owned(),
        revision: link.revision,
        position: link.position.raw(),
    });
    Some(Event { link, ..recorded(&record) })
}

fn recorded(record: &RecordedEvent) -> Event {
    let json = (record.content_type == ContentType::Json).then(|| raw(&record.data)).flatten();
    let binary = json.is_none();
    let metadata = if record.metadata.is_empty() { raw(b"{}") } else { raw(&record.metadata) };
    Event {
        id: record.id.to_string(),
        event_type: record.event_type.as_str().to_owned(),
        data: json.unwrap_or_else(|| base64(&record.data)),
        metadata: metadata.unwrap_or_else(|| base64(&record.metadata)),
        stream_id: record.stream.as_str().to_owned(),
        revision: record.revision,
        position: record.position.raw(),
        timestamp: date(record.created),
        content_type: binary.then(|| ContentType::Binary.as_str().to_owned()),
        link: None,
    }
}

/// JSON as it stands in the store, if it is JSON.
fn raw(bytes: &[u8]) -> Option<Box<RawValue>> {
    serde_json::from_slice(bytes).ok()
}

fn base64(bytes: &[u8]) -> Box<RawValue> {
    to_raw_value(&BASE64_STANDARD.encode(bytes)).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A stream, from its metadata. `first_event` tells when it was made where its description does not.
pub(super) fn stream(
    name: &StreamName,
    metadata: &StreamMetadata,
    deleted: bool,
    first_event: Option<Timestamp>,
) -> Stream {
    let description = StreamDescription::read(&metadata.custom);
    let created_at = description.created().unwrap_or_else(|| date(first_event.unwrap_or_default()));
    let (updated_at, status) = (description.updated().unwrap_or(created_at), description.status(deleted));
    Stream {
        id: name.as_str().to_owned(),
        name: name.as_str().to_owned(),
        description: description.description.unwrap_or_default(),
        data: description.data.unwrap_or_default(),
        metadata: models::StreamMetadata {
            created_at,
            updated_at,
            version: description.version.unwrap_or(1).max(1),
            schema_version: description.schema_version.unwrap_or_else(|| FIRST_SCHEMA.to_owned()),
            tags: description.tags.unwrap_or_default(),
            owner: description.owner.unwrap_or_else(|| "system".to_owned()),
        },
        status,
        permissions: permissions(name, metadata.acl.as_ref()),
    }
}

/// `$acl` as permissions. What it does not say is what the stream's name implies.
fn permissions(stream: &StreamName, acl: Option<&Acl>) -> StreamPermissions {
    let names = |right: Option<&Vec<String>>| match right {
        Some(names) => names.iter().map(|n| translate(n, |(store, api)| (store, api))).collect(),
        None => default_names(stream),
    };
    StreamPermissions {
        read: names(acl.and_then(|a| a.read.as_ref())),
        write: names(acl.and_then(|a| a.write.as_ref())),
        admin: names(acl.and_then(|a| a.meta_write.as_ref().or(a.delete.as_ref()))),
    }
}

/// Permissions as `$acl`: who may read or administer may read the metadata, and who may administer may write it and
/// delete the stream.
pub(super) fn acl(permissions: &StreamPermissions) -> Acl {
    let names = |names: &[String]| -> Vec<String> {
        let mut seen = Vec::with_capacity(names.len());
        for name in names {
            let name = translate(name, |(store, api)| (api, store));
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
        seen
    };
    let admin = names(&permissions.admin);
    Acl {
        read: Some(names(&permissions.read)),
        write: Some(names(&permissions.write)),
        delete: Some(admin.clone()),
        meta_read: Some(names(&[permissions.read.as_slice(), permissions.admin.as_slice()].concat())),
        meta_write: Some(admin),
    }
}

fn translate(
    name: &str,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> String {
    let found = NAMES.into_iter().map(direction).find(|(from, _)| *from == name);
    found.map_or(name, |(_, to)| to).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_survive_the_way_through_the_acl() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let given = StreamPermissions {
            read: names(&["*"]),
            write: names(&["bob", "role:librarian"]),
            admin: names(&["bob", "system"]),
        };
        let acl = acl(&given);
        assert_eq!(acl.read.as_ref().unwrap(), &["$all"]);
        assert_eq!(acl.meta_write.as_ref().unwrap(), &["bob", "$admins"]);
        assert_eq!(acl.meta_read.as_ref().unwrap(), &["$all", "bob", "$admins"]);
        assert_eq!(permissions(&StreamName::new("x").unwrap(), Some(&acl)), given);
    }

    #[test]
    fn what_the_acl_does_not_say_is_what_the_name_implies() {
        let of = |name| permissions(&StreamName::new(name).unwrap(), None).read;
        assert_eq!(of("x"), ["*"]);
        assert_eq!(of("$x"), ["system"]);
        assert_eq!(of("service-uptime-http"), ["system"]);
        assert_eq!(of("user-bob-profile"), ["bob", "system"]);
    }
}
