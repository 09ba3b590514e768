//! The messages of the namespace `/ws/streams`.

use crate::{Event, Mark, StreamNameParam};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `subscribe`: what to follow, and from where. Exactly one of `streamName` and `all` says what.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(example = serde_json::json!({ "streamName": "loans-42", "from": 0 }))]
#[schemars(example = serde_json::json!({ "all": true, "filter": { "prefix": "loans-" } }))]
pub struct SubscribeRequest {
    /// The stream to follow. It need not exist yet.
    #[garde(dive)]
    pub stream_name: Option<StreamNameParam>,
    /// Follow everything.
    #[serde(default)]
    #[garde(skip)]
    pub all: bool,
    /// The first revision (of a stream) or position (of everything) to bring, inclusive. Without it, and without `after`,
    /// only what comes is brought.
    #[garde(dive)]
    pub from: Option<Mark>,
    /// Instead of `from`: the last revision or position that the client has.
    #[garde(dive)]
    pub after: Option<Mark>,
    /// What to bring of it; all unless given.
    #[garde(dive)]
    pub filter: Option<SubscribeFilter>,
}

/// What to bring of what is followed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscribeFilter {
    /// With `all`: only streams whose name begins so.
    #[garde(length(bytes, max = 1024))]
    #[schemars(example = &"loans-")]
    pub prefix: Option<String>,
    /// Only events of this type.
    #[garde(length(bytes, max = 1024))]
    #[schemars(example = &"LoanRequested")]
    pub event_type: Option<String>,
    /// With `all`: the system's events (`$`) too.
    #[serde(default)]
    #[garde(skip)]
    pub system: bool,
}

/// The acknowledgement of a `subscribe` that was taken. One that was refused is acknowledged with the error body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscribeAnswer {
    /// Always true.
    #[schemars(extend("const" = true))]
    pub success: bool,
    /// What every message of this subscription carries.
    #[schemars(example = &"1")]
    pub subscription_id: String,
}

/// `unsubscribe`: which subscription to end.
#[derive(Debug, Clone, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnsubscribeRequest {
    /// The subscription.
    #[garde(length(bytes, min = 1, max = 64))]
    #[schemars(example = &"1")]
    pub subscription_id: String,
}

/// The acknowledgement of an `unsubscribe`. Nothing of the subscription comes after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnsubscribeAnswer {
    /// Always true.
    #[schemars(extend("const" = true))]
    pub success: bool,
    /// Whether there was such a subscription.
    pub ended: bool,
}

/// `event`: an event of what is followed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionEvent {
    /// Which subscription brings it.
    #[schemars(example = &"1")]
    pub subscription_id: String,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// `caught_up`: everything that was there was brought, and what follows is brought as it is written. `checkpoint`: the
/// events up to here were looked at, and the filter let none of the last ones through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionMark {
    /// Which subscription.
    #[schemars(example = &"1")]
    pub subscription_id: String,
    /// How to go on from here without a gap or a double.
    pub resume: ResumePoint,
}

/// Where to go on: to be merged into the next `subscribe` in the place of its `from` and `after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ResumePoint {
    /// With this revision or position.
    From(u64),
    /// After this revision or position.
    After(u64),
}
