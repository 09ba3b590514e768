//! What of `$all` the catalogue does not take in: it is left out where the store judges filters, and never comes here.
//!
//! On a KurrentDB whose system projections run, each event is followed by several links to it, and the server writes down
//! its projections' progress and its own statistics. That is most of what `$all` then holds, and none of it describes a
//! stream of ours. The embedded store has these streams as derived ones, of which nothing stands in `$all`.

use event_store::{EventFilter, EventStore, FilterBy, Position, ReadAll};

/// Every stream but those that KurrentDB's projections and statistics write. All others are needed: metastreams (`$$…`)
/// describe, and the rest of the system's streams are counted, and found by name.
const TAKEN_IN: &str = r"^(?!\$(ce|et|bc|category|projections|stats)-|\$(et|streams)$)";

/// What is taken in of a store; nothing where that is everything.
pub(super) fn filter(store: &dyn EventStore) -> event_store::Result<Option<EventFilter>> {
    if store.capabilities().derived_streams {
        return Ok(None);
    }
    EventFilter::regex(FilterBy::StreamName, TAKEN_IN).map(Some)
}

/// The position of the newest event that is taken in.
pub(super) async fn newest(store: &dyn EventStore) -> event_store::Result<Option<Position>> {
    let Some(filter) = filter(store)? else { return store.last_position().await };
    let page = store.read_all(ReadAll::backwards(1).filter(filter)).await?;
    Ok(page.events.first().and_then(|event| event.original()).map(|event| event.position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_store::Matcher;

    #[test]
    fn what_projections_write_is_left_out_and_nothing_else() {
        let Matcher::Regex(regex) = EventFilter::regex(FilterBy::StreamName, TAKEN_IN).unwrap().matcher
        else {
            panic!("an expression");
        };
        let taken_in = |stream: &str| regex.is_match(stream).unwrap();
        for stream in
            ["loan-1", "ce-1", "$$loan-1", "$$$ce-loan", "$users", "$user-ada", "$stats", "$streams-1"]
        {
            assert!(taken_in(stream), "{stream}");
        }
        let links = ["$ce-loan", "$et-Made", "$bc-1", "$category-loan", "$streams"];
        for stream in
            links.into_iter().chain(["$et", "$stats-[::1]:2113", "$projections-$streams-checkpoint"])
        {
            assert!(!taken_in(stream), "{stream}");
        }
    }
}
