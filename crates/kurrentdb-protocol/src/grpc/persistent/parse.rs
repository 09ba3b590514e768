//! What the calls ask for.

use super::super::{
    convert,
    proto::event_store::client::{
        StreamIdentifier,
        persistent_subscriptions::{
            DeleteReq, GetInfoReq, GroupOptions, ListReq, ParkedOptions, ReadReq, delete_req, get_info_req,
            group_options, list_req, parked_options, read_req,
        },
        streams::read_req::uuid_option,
    },
    read, status,
};
use super::consume::Opening;
use crate::persistent::{Definition, GroupError, GroupKey, Place, Settings, Source, Start, Strategy};
use event_store::{Position, Revision};
use std::time::Duration;
use tonic::Status;

/// The most events that may be under way to one consumer; one that wants more gets so many.
const MOST_SLOTS: usize = 10_000;

/// A group as it is to be. An update has no filter: the group keeps the one it has.
pub(super) fn definition(options: Option<GroupOptions>, creating: bool) -> Result<Definition, Status> {
    let options = options.ok_or_else(|| status::invalid("options are missing"))?;
    let wire = options.settings.ok_or_else(|| status::invalid("settings are missing"))?;
    let (source, start) = match options.source {
        Some(group_options::Source::Stream(stream)) => {
            use group_options::stream_options::From;
            let start = match stream.from {
                Some(From::Start(())) => Start::Beginning,
                Some(From::End(())) => Start::End,
                Some(From::Revision(revision)) => at_revision(revision)?,
                None => return Err(status::invalid("where to begin is missing")),
            };
            (stream_source(stream.stream_identifier.as_ref())?, start)
        }
        Some(group_options::Source::All(all)) => {
            use group_options::all_options::{Filtering, From};
            let start = match all.from {
                Some(From::Start(())) => Start::Beginning,
                Some(From::End(())) => Start::End,
                Some(From::Position(position)) => {
                    at_position(position.commit_position, position.prepare_position)?
                }
                None => return Err(status::invalid("where to begin is missing")),
            };
            let filter = match all.filtering {
                Some(Filtering::Filter(filter)) if creating => Some(read::expression(filter.by)?),
                _ => None,
            };
            (Source::All(filter), start)
        }
        // The older way.
        None => (stream_source(options.stream_identifier.as_ref())?, at_revision(wire.revision)?),
    };
    let definition = Definition { source, group: options.group_name, start, settings: settings(&wire)? };
    definition.check().map_err(|e| status::of_group(&e, &definition.key()))?;
    Ok(definition)
}

fn stream_source(stream: Option<&StreamIdentifier>) -> Result<Source, Status> {
    convert::stream_from_wire(stream).map(Source::Stream)
}

fn at_revision(revision: u64) -> Result<Start, Status> {
    Ok(match revision {
        0 => Start::Beginning,
        // Some clients say the end by its number.
        u64::MAX => Start::End,
        revision => Start::At(Place::Revision(convert::revision_from_wire(revision)?)),
    })
}

fn at_position(commit: u64, prepare: u64) -> Result<Start, Status> {
    match (commit, prepare) {
        (0, 0) => Ok(Start::Beginning),
        (u64::MAX, u64::MAX) => Ok(Start::End),
        _ if i64::try_from(commit).is_err() => Err(status::invalid(format!("{commit} is no position"))),
        _ if prepare > commit => {
            let reason = "Invalid Start From position: prepare position must be less than or equal to the commit position.";
            let key = GroupKey { source: "$all".into(), group: String::new() };
            Err(status::of_group(&GroupError::Failed(reason.into()), &key))
        }
        _ => Ok(Start::At(Place::Position(Position::from_raw(commit)))),
    }
}

fn settings(wire: &group_options::Settings) -> Result<Settings, Status> {
    use group_options::settings::{CheckpointAfter, MessageTimeout};
    let count = |name: &str, value: i32| {
        u32::try_from(value).map_err(|_| status::invalid(format!("{name} must not be negative")))
    };
    let millis = |name: &str, value: i64| {
        let millis =
            u64::try_from(value).map_err(|_| status::invalid(format!("{name} must not be negative")))?;
        Ok::<_, Status>(Duration::from_millis(millis))
    };
    let message_timeout = match wire.message_timeout {
        Some(MessageTimeout::MessageTimeoutMs(value)) => i64::from(value),
        Some(MessageTimeout::MessageTimeoutTicks(ticks)) => ticks / 10_000,
        None => 0,
    };
    let checkpoint_after = match wire.checkpoint_after {
        Some(CheckpointAfter::CheckpointAfterMs(value)) => i64::from(value),
        Some(CheckpointAfter::CheckpointAfterTicks(ticks)) => ticks / 10_000,
        None => 0,
    };
    let strategy = if wire.consumer_strategy.is_empty() {
        match group_options_strategy(wire.named_consumer_strategy) {
            Some(strategy) => Ok(strategy),
            None => Strategy::named(&wire.named_consumer_strategy.to_string()),
        }
    } else {
        Strategy::named(&wire.consumer_strategy)
    };
    let nowhere = GroupKey { source: String::new(), group: String::new() };
    Ok(Settings {
        resolve_links: wire.resolve_links,
        extra_statistics: wire.extra_statistics,
        message_timeout: millis("the message timeout", message_timeout)?,
        max_retry_count: count("the maximum of retries", wire.max_retry_count)?,
        checkpoint_after: Some(millis("the time to a checkpoint", checkpoint_after)?)
            .filter(|after| !after.is_zero()),
        min_checkpoint_count: count("the minimum of events for a checkpoint", wire.min_checkpoint_count)?,
        max_checkpoint_count: count("the maximum of events to a checkpoint", wire.max_checkpoint_count)?,
        max_subscriber_count: count("the maximum of consumers", wire.max_subscriber_count)?,
        live_buffer_size: count("the size of the live buffer", wire.live_buffer_size)?,
        read_batch_size: count("the size of a batch", wire.read_batch_size)?,
        history_buffer_size: count("the size of the history buffer", wire.history_buffer_size)?,
        strategy: strategy.map_err(|e| status::of_group(&e, &nowhere))?,
    })
}

fn group_options_strategy(number: i32) -> Option<Strategy> {
    use group_options::ConsumerStrategy as Wire;
    Some(match Wire::try_from(number).ok()? {
        Wire::DispatchToSingle => Strategy::DispatchToSingle,
        Wire::RoundRobin => Strategy::RoundRobin,
        Wire::Pinned => Strategy::Pinned,
    })
}

/// A group's key; nothing for a stream means `$all`.
fn key(stream: Option<&StreamIdentifier>, group: String) -> Result<GroupKey, Status> {
    let source = match stream {
        Some(stream) => convert::stream_from_wire(Some(stream))?.to_string(),
        None => "$all".into(),
    };
    Ok(GroupKey { source, group })
}

fn no_source() -> Status {
    status::invalid("neither a stream nor $all is named")
}

fn no_options() -> Status {
    status::invalid("options are missing")
}

pub(super) fn delete(request: DeleteReq) -> Result<GroupKey, Status> {
    use delete_req::options::Source;
    let options = request.options.ok_or_else(no_options)?;
    match options.source.ok_or_else(no_source)? {
        Source::StreamIdentifier(stream) => key(Some(&stream), options.group_name),
        Source::All(()) => key(None, options.group_name),
    }
}

pub(super) fn get_info(request: GetInfoReq) -> Result<GroupKey, Status> {
    use get_info_req::options::Source;
    let options = request.options.ok_or_else(no_options)?;
    match options.source.ok_or_else(no_source)? {
        Source::StreamIdentifier(stream) => key(Some(&stream), options.group_name),
        Source::All(()) => key(None, options.group_name),
    }
}

/// A group, and before which revision of its parked messages; nothing for all of them.
pub(super) fn parked(
    options: Option<ParkedOptions>,
    what: &str,
) -> Result<(GroupKey, Option<Revision>), Status> {
    use parked_options::{Source, Until};
    let options = options.ok_or_else(no_options)?;
    let key = match options.source.ok_or_else(no_source)? {
        Source::StreamIdentifier(stream) => key(Some(&stream), options.group_name)?,
        Source::All(()) => key(None, options.group_name)?,
    };
    let stop_at = match options.until {
        Some(Until::StopAt(stop_at)) => Some(Revision::try_from(stop_at).map_err(|_| {
            let reason = match what {
                "replay" => "Cannot stop replaying parked message at a negative version.",
                _ => "Cannot truncate parked messages at a negative version.",
            };
            status::of_group(&GroupError::Failed(reason.into()), &key)
        })?),
        Some(Until::NoLimit(())) | None => None,
    };
    Ok((key, stop_at))
}

/// The source whose groups are to be listed; nothing for all groups.
pub(super) fn list(request: ListReq) -> Result<Option<String>, Status> {
    use list_req::{options::What, target::Target};
    match request.options.and_then(|o| o.what) {
        Some(What::ListForStream(target)) => match target.target.ok_or_else(no_source)? {
            Target::Stream(stream) => Ok(Some(key(Some(&stream), String::new())?.source)),
            Target::All(()) => Ok(Some(key(None, String::new())?.source)),
        },
        Some(What::ListAllSubscriptions(())) | None => Ok(None),
    }
}

/// What a consumer's first message says.
pub(super) fn opening(message: ReadReq) -> Result<Opening, Status> {
    use read_req::options::Source;
    let Some(read_req::Content::Options(options)) = message.content else {
        return Err(status::invalid("a consumer begins with its options"));
    };
    let key = match options.source.ok_or_else(no_source)? {
        Source::StreamIdentifier(stream) => key(Some(&stream), options.group_name)?,
        Source::All(()) => key(None, options.group_name)?,
    };
    let slots = usize::try_from(options.buffer_size).unwrap_or_default();
    if slots == 0 {
        return Err(status::invalid("the buffer size must be greater than 0"));
    }
    let form = match options.uuid_option.and_then(|o| o.form) {
        Some(uuid_option::Form::String(())) => convert::UuidForm::Text,
        Some(uuid_option::Form::Structured(())) | None => convert::UuidForm::Structured,
    };
    Ok(Opening { key, slots: slots.min(MOST_SLOTS), form })
}
