//! What a user's data is now, and was.

use super::{Place, Result, Users};
use crate::security::{BoundStore, Caller};
use event_store::{Direction, Error, ReadFrom, ReadStream, RecordedEvent, Revision, StreamName};
use models::{HistoryQuery, ReadDirection, UserData, UserDataHistory, UserDataUpdated, UserStream};

/// How many events are looked at at once where others than ours stand in a user's stream.
const LOOK: usize = 100;

impl Users {
    /// What the data is now.
    ///
    /// # Errors
    /// `StreamNotFound`, and what else the store answers.
    pub async fn get(&self, caller: &Caller, place: &Place) -> Result<UserData> {
        let name = place.stream()?;
        let (_, found) = newest(&self.store(caller), &name).await?;
        found.ok_or_else(|| Error::StreamNotFound(name).into())
    }

    /// A part of what the data was.
    ///
    /// # Errors
    /// As [`Users::get`].
    pub async fn history(
        &self,
        caller: &Caller,
        place: &Place,
        query: HistoryQuery,
    ) -> Result<UserDataHistory> {
        let name = place.stream()?;
        let direction = match query.direction {
            ReadDirection::Forwards => Direction::Forwards,
            ReadDirection::Backwards => Direction::Backwards,
        };
        let from = match (query.from, direction) {
            (Some(from), _) => ReadFrom::At(from.get()),
            (None, Direction::Forwards) => ReadFrom::Start,
            (None, Direction::Backwards) => ReadFrom::End,
        };
        let read = ReadStream { from, direction, ..ReadStream::forwards(query.limit.size()) };
        let page = self.store(caller).read_stream(&name, read).await?;
        Ok(UserDataHistory {
            entries: page.events.into_iter().filter_map(|e| e.event).filter_map(|e| data(&e)).collect(),
            has_more: page.next.is_some(),
            next_revision: page.next,
        })
    }
}

/// The revision of a stream's last event, and the newest event that says what the data is, if there is one. Others may
/// have written other events there: they are passed over.
///
/// # Errors
/// What the store answers.
pub(super) async fn newest(
    store: &BoundStore,
    name: &StreamName,
) -> event_store::Result<(Revision, Option<UserData>)> {
    let page = store.read_stream(name, ReadStream::backwards(1)).await?;
    let last = page.last_revision;
    let (mut events, mut next) = (page.events, page.next);
    loop {
        if let Some(found) = events.iter().filter_map(|e| e.event.as_ref()).find_map(data) {
            return Ok((last, Some(found)));
        }
        let Some(at) = next else { return Ok((last, None)) };
        let page = store.read_stream(name, ReadStream::backwards(LOOK).from(ReadFrom::At(at))).await?;
        (events, next) = (page.events, page.next);
    }
}

/// What an event says of a user's data. Whose and what it is, its stream says.
fn data(event: &RecordedEvent) -> Option<UserData> {
    if event.event_type.as_str() != UserDataUpdated::TYPE {
        return None;
    }
    let of = UserStream::split(event.stream.as_str())?;
    let updated: UserDataUpdated = serde_json::from_slice(&event.data).ok()?;
    Some(UserData {
        user_id: of.user_id.to_owned(),
        data_type: of.data_type,
        category: of.category.map(str::to_owned),
        data: updated.data,
        is_public: updated.is_public,
        revision: event.revision,
        updated_at: updated.timestamp,
        event_id: event.id.to_string(),
    })
}
