//! The routes: parse, call, answer.

use super::{Feed, FeedFrame, FeedStart, Streams, StreamsError};
use crate::{
    catalogue::CatalogueError,
    endpoint,
    http::{
        ApiError, Created, Detail, LastEventId, Routes, Sse, SseFrame, Success, ValidJson, ValidPath,
        ValidQuery,
    },
    security::Caller,
};
use axum::extract::State;
use event_store::ErrorCode;
use futures::StreamExt as _;
use models::{
    AllEventPage, AllEventsQuery, AppendBatchResult, AppendManyResult, AppendResult, BrowseQuery,
    DeleteQuery, DeleteResult, Event, EventPage, EventsQuery, Mark, NewStreamPath, NoQuery, SearchDto,
    SearchResult, ServiceStatusChanged, Stream, StreamAppendBatchDto, StreamAppendEventDto,
    StreamAppendManyDto, StreamCreateRequestDto, StreamCreateResult, StreamCreated, StreamDetails,
    StreamMetadataDto, StreamPage, StreamPath, StreamStatistics, StreamUpdateRequestDto, StreamsHealth,
    SubscribeAllQuery, SubscribeQuery, UserDataUpdated,
};

/// The routes of event streams.
#[must_use]
pub fn routes(streams: Streams) -> Routes {
    Routes::new("streams", "Event streams: create, append, read, follow, search")
        .post("/api/streams/create", create_stream, create_stream::DOC)
        .post("/api/streams/append", append_many, append_many::DOC)
        .get("/api/streams/browse", browse_streams, browse_streams::DOC)
        .post("/api/streams/search", search_events, search_events::DOC)
        .get("/api/streams/statistics", stream_statistics, stream_statistics::DOC)
        .get("/api/streams/health", streams_health, streams_health::DOC)
        .get("/api/streams/all/events", read_all_events, read_all_events::DOC)
        .get("/api/streams/all/subscribe", subscribe_all, subscribe_all::DOC)
        .patch("/api/streams/{streamName}", update_stream, update_stream::DOC)
        .delete("/api/streams/{streamName}", delete_stream, delete_stream::DOC)
        .get("/api/streams/{streamName}/details", stream_details, stream_details::DOC)
        .get("/api/streams/{streamName}/events", read_events, read_events::DOC)
        .post("/api/streams/{streamName}/events", append_event, append_event::DOC)
        .post("/api/streams/{streamName}/events/batch", append_batch, append_batch::DOC)
        .get("/api/streams/{streamName}/metadata", get_metadata, get_metadata::DOC)
        .put("/api/streams/{streamName}/metadata", set_metadata, set_metadata::DOC)
        .get("/api/streams/{streamName}/subscribe", subscribe, subscribe::DOC)
        .component::<ServiceStatusChanged>()
        .component::<StreamCreated>()
        .component::<UserDataUpdated>()
        .with_state(streams)
}

type Answer<T> = Result<T, ApiError>;

impl From<StreamsError> for ApiError {
    fn from(error: StreamsError) -> Self {
        let (code, message) = (error.code(), error.to_string());
        match error {
            StreamsError::Store(error) => error.into(),
            StreamsError::Catalogue(CatalogueError::Store(error)) => error.into(),
            StreamsError::Catalogue(CatalogueError::Invalid { path, message }) => {
                Self::invalid(vec![Detail::new(bracketed(&path), message)])
            }
            StreamsError::AlreadyExists(stream) | StreamsError::Archived(stream) => {
                Self::new(code, message).stream(stream.as_str())
            }
            StreamsError::Invalid { path, message } => Self::invalid(vec![Detail::new(path, message)]),
            StreamsError::Catalogue(_) | StreamsError::EventTooLarge { .. } => Self::new(code, message),
        }
    }
}

endpoint! {
    /// Creates a stream with its first event.
    ///
    /// The description and the event are written together: readers see both or none.
    [StreamAlreadyExists, StreamDeleted, EventTooLarge, PermissionDenied, StorageFull]
    async fn create_stream(
        State(streams): State<Streams>,
        caller: Caller,
        ValidJson(dto): ValidJson<StreamCreateRequestDto>,
    ) -> Answer<Created<StreamCreateResult>> {
        Ok(Created(streams.create(&caller, dto).await?))
    }
}

endpoint! {
    /// Appends an event to a stream.
    ///
    /// Sending the same `eventId` again answers where the event was first written. The event's data and metadata are
    /// kept as they are written, to the last digit.
    [WrongExpectedRevision, StreamArchived, StreamDeleted, EventTooLarge, PermissionDenied, StorageFull]
    async fn append_event(
        State(streams): State<Streams>,
        caller: Caller,
        ValidPath(path): ValidPath<NewStreamPath>,
        ValidJson(dto): ValidJson<StreamAppendEventDto>,
    ) -> Answer<Created<AppendResult>> {
        Ok(Created(streams.append(&caller, &path.stream_name, dto).await?))
    }
}

endpoint! {
    /// Appends events to a stream, all or none.
    [WrongExpectedRevision, StreamArchived, StreamDeleted, EventTooLarge, PermissionDenied, StorageFull]
    async fn append_batch(
        State(streams): State<Streams>,
        caller: Caller,
        ValidPath(path): ValidPath<NewStreamPath>,
        ValidJson(dto): ValidJson<StreamAppendBatchDto>,
    ) -> Answer<Created<AppendBatchResult>> {
        Ok(Created(streams.append_batch(&caller, &path.stream_name, dto).await?))
    }
}

endpoint! {
    /// Appends events to several streams, all or none.
    ///
    /// A stream without events is a check alone: the others are written only if its `streamState` holds.
    [WrongExpectedRevision, StreamArchived, StreamDeleted, EventTooLarge, PermissionDenied, StorageFull, NotImplemented]
    async fn append_many(
        State(streams): State<Streams>,
        caller: Caller,
        ValidJson(dto): ValidJson<StreamAppendManyDto>,
    ) -> Answer<Created<AppendManyResult>> {
        Ok(Created(streams.append_many(&caller, dto).await?))
    }
}

endpoint! {
    /// Reads events of a stream.
    [StreamNotFound, StreamDeleted, PermissionDenied]
    async fn read_events(
        State(streams): State<Streams>,
        caller: Caller,
        ValidPath(path): ValidPath<StreamPath>,
        ValidQuery(query): ValidQuery<EventsQuery>,
    ) -> Answer<Success<EventPage>> {
        Ok(Success(streams.events(&caller, path.stream_name.as_str(), query).await?))
    }
}

endpoint! {
    /// Reads events of all streams, in the order in which they were written.
    [PermissionDenied]
    async fn read_all_events(
        State(streams): State<Streams>,
        caller: Caller,
        ValidQuery(query): ValidQuery<AllEventsQuery>,
    ) -> Answer<Success<AllEventPage>> {
        Ok(Success(streams.all_events(&caller, query).await?))
    }
}

endpoint! {
    /// Changes a stream's description, permissions or status.
    ///
    /// What is left out stays. An archived stream is read-only until it is active again. A stream's metadata, of which all
    /// this is part, has 64 KiB at most.
    [StreamNotFound, StreamDeleted, WrongExpectedRevision, PermissionDenied, EventTooLarge, StorageFull]
    async fn update_stream(
        State(streams): State<Streams>,
        caller: Caller,
        ValidPath(path): ValidPath<StreamPath>,
        ValidJson(dto): ValidJson<StreamUpdateRequestDto>,
    ) -> Answer<Success<Stream>> {
        Ok(Success(streams.update(&caller, path.stream_name.as_str(), dto).await?))
    }
}

endpoint! {
    /// Deletes a stream.
    ///
    /// Softly, unless told otherwise: the name can be used again. A tombstone ends it for good.
    [StreamNotFound, StreamDeleted, WrongExpectedRevision, PermissionDenied, StorageFull]
    async fn delete_stream(
        State(streams): State<Streams>,
        caller: Caller,
        ValidPath(path): ValidPath<StreamPath>,
        ValidQuery(query): ValidQuery<DeleteQuery>,
    ) -> Answer<Success<DeleteResult>> {
        Ok(Success(streams.delete(&caller, path.stream_name.as_str(), query).await?))
    }
}

endpoint! {
    /// Reads a stream's metadata as the store keeps it.
    [StreamNotFound, StreamDeleted, PermissionDenied]
    async fn get_metadata(
        State(streams): State<Streams>,
        caller: Caller,
        ValidPath(path): ValidPath<StreamPath>,
    ) -> Answer<Success<StreamMetadataDto>> {
        let metadata = streams.metadata(&caller, path.stream_name.as_str()).await?;
        Ok(Success(StreamMetadataDto(metadata)))
    }
}

endpoint! {
    /// Sets a stream's metadata.
    ///
    /// `$maxAge`, `$maxCount`, `$cacheControl` and the free keys are replaced: those that are left out are gone. `$acl`,
    /// `$tb` and the stream's description keep their values where they are left out, and `version` and `updatedAt`
    /// follow by themselves. It has 64 KiB at most.
    [StreamNotFound, StreamDeleted, WrongExpectedRevision, EventTooLarge, PermissionDenied, StorageFull]
    async fn set_metadata(
        State(streams): State<Streams>,
        caller: Caller,
        ValidPath(path): ValidPath<StreamPath>,
        ValidJson(metadata): ValidJson<StreamMetadataDto>,
    ) -> Answer<Success<StreamMetadataDto>> {
        let metadata = streams.set_metadata(&caller, path.stream_name.as_str(), metadata.0).await?;
        Ok(Success(StreamMetadataDto(metadata)))
    }
}

endpoint! {
    /// Follows a stream by Server-Sent Events.
    ///
    /// The id of a message is the event's revision, so that `Last-Event-ID` goes on with nothing lost or doubled.
    [StreamDeleted, PermissionDenied]
    async fn subscribe(
        State(streams): State<Streams>,
        caller: Caller,
        last: LastEventId,
        ValidPath(path): ValidPath<StreamPath>,
        ValidQuery(query): ValidQuery<SubscribeQuery>,
    ) -> Answer<Sse<Event>> {
        let feed = streams.follow(&caller, path.stream_name.as_str(), start(last, query.from)).await?;
        Ok(sse(feed))
    }
}

endpoint! {
    /// Follows all streams by Server-Sent Events.
    ///
    /// The id of a message is the event's position, so that `Last-Event-ID` goes on with nothing lost or doubled. An
    /// id alone says how far the feed has come.
    [PermissionDenied]
    async fn subscribe_all(
        State(streams): State<Streams>,
        caller: Caller,
        last: LastEventId,
        ValidQuery(query): ValidQuery<SubscribeAllQuery>,
    ) -> Answer<Sse<Event>> {
        let start = start(last, query.from);
        Ok(sse(streams.follow_all(&caller, query, start).await?))
    }
}

endpoint! {
    /// Lists streams, by name.
    [PermissionDenied]
    async fn browse_streams(
        State(streams): State<Streams>,
        caller: Caller,
        ValidQuery(query): ValidQuery<BrowseQuery>,
    ) -> Answer<Success<StreamPage>> {
        Ok(Success(streams.browse(&caller, query).await?))
    }
}

endpoint! {
    /// Shows a stream and what is in it.
    [StreamNotFound, StreamDeleted, PermissionDenied]
    async fn stream_details(
        State(streams): State<Streams>,
        caller: Caller,
        ValidPath(path): ValidPath<StreamPath>,
    ) -> Answer<Success<StreamDetails>> {
        Ok(Success(streams.details(&caller, path.stream_name.as_str()).await?))
    }
}

endpoint! {
    /// Finds events, newest first.
    [PermissionDenied]
    async fn search_events(
        State(streams): State<Streams>,
        caller: Caller,
        ValidJson(dto): ValidJson<SearchDto>,
    ) -> Answer<Success<SearchResult>> {
        Ok(Success(streams.search(&caller, dto).await?))
    }
}

endpoint! {
    /// Counts streams, events and users.
    []
    async fn stream_statistics(
        State(streams): State<Streams>,
        caller: Caller,
        ValidQuery(_): ValidQuery<NoQuery>,
    ) -> Answer<Success<StreamStatistics>> {
        Ok(Success(streams.statistics(&caller).await?))
    }
}

endpoint! {
    /// Says how the store of the streams is.
    ///
    /// Each of the service's own streams is read.
    []
    async fn streams_health(
        State(streams): State<Streams>,
        ValidQuery(_): ValidQuery<NoQuery>,
    ) -> Answer<Success<StreamsHealth>> {
        Ok(Success(streams.health().await))
    }
}

/// The catalogue writes `where.0.path` for what everything else here calls `where[0].path`.
fn bracketed(path: &str) -> String {
    let mut bracketed = String::with_capacity(path.len() + 1);
    for (index, part) in path.split('.').enumerate() {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            bracketed.extend(["[", part, "]"]);
        } else {
            bracketed.extend([if index == 0 { "" } else { "." }, part]);
        }
    }
    bracketed
}

fn start(last: LastEventId, from: Option<Mark>) -> FeedStart {
    match (last.0, from) {
        (Some(last), _) => FeedStart::After(last),
        (None, Some(from)) => FeedStart::At(from.get()),
        (None, None) => FeedStart::Live,
    }
}

fn sse(feed: Feed) -> Sse<Event> {
    Sse::new(feed.map(|frame| match frame {
        FeedFrame::Event { mark, event } => {
            SseFrame { id: Some(mark.to_string()), event: None, data: serde_json::to_string(&event).ok() }
        }
        FeedFrame::Mark(mark) => SseFrame { id: Some(mark.to_string()), ..SseFrame::default() },
        FeedFrame::CaughtUp(mark) => {
            let id = mark.map_or_else(|| "-1".to_owned(), |mark| mark.to_string());
            SseFrame { id: Some(id), ..SseFrame::default() }
        }
        FeedFrame::Failed(error) => {
            let error = ApiError::from(error);
            if error.code() == ErrorCode::InternalError {
                tracing::error!(error = error.message(), "a live feed failed");
            }
            SseFrame { id: None, event: Some("error"), data: serde_json::to_string(&error.body()).ok() }
        }
    }))
}
