//! The trail of who did what.

use crate::{
    DateTime, Mark, PageLimit,
    stream::{all_required, blank_is_none},
};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One deed, as it stands in the trail: who, what, on which streams, and what came of it. Never what was written or read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// The process that wrote it: each has a chain of its own.
    pub instance: String,
    /// Its number in that chain, from 0.
    pub sequence: u64,
    /// The hash of the record before it in the chain. For the first of a chain, that of the newest record of all; empty
    /// where there was none.
    pub previous: String,
    /// When.
    pub at: DateTime,
    /// Who.
    #[schemars(example = &"bob")]
    pub caller: String,
    /// What: `append`, `read`, `describe`, `subscribe`, `consume`, `delete`, `tombstone`, `erase`, `login`,
    /// `create-account`, `create-group`, …
    #[schemars(example = &"read")]
    pub action: String,
    /// On which streams; `$all` for everything.
    #[serde(default)]
    pub streams: Vec<String>,
    /// Which account, which API key by its id, or which group of a persistent subscription it was about: that of a login, or
    /// one that was changed. Of a login that failed it is the name that somebody gave, which need not be anybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What came of it: `ok`, or the type of the failure.
    #[schemars(example = &"ok")]
    pub outcome: String,
    /// The request that it was a part of; over a socket, that of its handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The address that the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// The event of the stream `system-audit`: a record, and the hash of its text as it stands here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecorded {
    /// SHA-256 of the record's text, in hexadecimal digits.
    pub hash: String,
    /// The record.
    pub record: AuditRecord,
}

impl AuditRecorded {
    /// The event's type.
    pub const TYPE: &'static str = "AuditRecorded";
}

/// Which records to read. Filters that are given must all hold.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditQuery {
    /// At most so many. A page may hold fewer, or none, and not be the last.
    #[serde(default = "hundred")]
    #[garde(dive)]
    pub limit: PageLimit,
    /// Go on from `nextRevision` of the page before.
    #[garde(dive)]
    pub from: Option<Mark>,
    /// Who.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(bytes, max = 1024))]
    pub caller: Option<String>,
    /// What.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(bytes, max = 1024))]
    pub action: Option<String>,
    /// On which stream.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(bytes, max = 1024))]
    pub stream: Option<String>,
    /// About which account, API key or group.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(bytes, max = 1024))]
    pub subject: Option<String>,
    /// What came of it.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(length(bytes, max = 1024))]
    pub outcome: Option<String>,
    /// At this moment or later.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(skip)]
    pub date_from: Option<DateTime>,
    /// At this moment or earlier.
    #[serde(default, deserialize_with = "blank_is_none")]
    #[garde(skip)]
    pub date_to: Option<DateTime>,
}

fn hundred() -> PageLimit {
    PageLimit::new(100)
}

/// A part of the trail, newest first.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = all_required)]
pub struct AuditPage {
    /// The records.
    pub records: Vec<AuditRecord>,
    /// Whether there may be more.
    pub has_more: bool,
    /// What to give as `from` for the next page; null at the end.
    pub next_revision: Option<u64>,
}
