//! The document of everything that is pushed: AsyncAPI 3, from the same types that are sent.

use super::{
    namespaces::{HEALTH, STREAMS},
    subscriptions::SubscriptionError,
};
use crate::http::ErrorBody;
use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use models::{
    ConnectionMessage, Event, HealthStatusMessage, ServiceStatusChangeMessage, SubscribeAnswer,
    SubscribeRequest, SubscriptionEvent, SubscriptionMark, UnsubscribeAnswer, UnsubscribeRequest,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// A message: its name in the document, its name on the wire, what it is for, and its type.
struct Message {
    id: &'static str,
    name: &'static str,
    title: &'static str,
    payload: fn(&mut SchemaGenerator) -> Schema,
}

const fn message<T: JsonSchema>(id: &'static str, name: &'static str, title: &'static str) -> Message {
    Message { id, name, title, payload: SchemaGenerator::subschema_for::<T> }
}

const MESSAGES: [Message; 13] = [
    message::<ConnectionMessage>("connection", "connection", "The greeting"),
    message::<HealthStatusMessage>("healthStatus", "health_status", "How the service is"),
    message::<ServiceStatusChangeMessage>(
        "serviceStatusChange",
        "service_status_change",
        "A watched service changed its state",
    ),
    message::<SubscribeRequest>("subscribe", "subscribe", "Follow a stream, or everything"),
    message::<SubscribeAnswer>("subscribed", "acknowledgement", "The subscription runs"),
    message::<UnsubscribeRequest>("unsubscribe", "unsubscribe", "End a subscription"),
    message::<UnsubscribeAnswer>("unsubscribed", "acknowledgement", "The subscription ended"),
    message::<ErrorBody>("refused", "acknowledgement", "The request was refused"),
    message::<SubscriptionEvent>("event", "event", "An event of what is followed"),
    message::<SubscriptionMark>("caughtUp", "caught_up", "All that was there was brought"),
    message::<SubscriptionMark>("checkpoint", "checkpoint", "So far all was looked at"),
    message::<SubscriptionError>(
        "subscriptionError",
        "subscription_error",
        "A subscription ended, or was refused without an acknowledgement to say so",
    ),
    message::<Event>(
        "feedEvent",
        "message",
        "An event; its frame's `id` is what `Last-Event-ID` resumes after",
    ),
];

/// The failure that ends a feed: the same body as everywhere, in a frame of the kind `error`.
const FEED_ERROR: Message = message::<ErrorBody>("feedError", "error", "The feed cannot go on");

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut generator = SchemaSettings::draft07()
        .with(|settings| {
            settings.definitions_path = "#/components/schemas/".into();
            settings.meta_schema = None;
        })
        .into_generator();
    let mut messages = Map::new();
    for message in MESSAGES.iter().chain([&FEED_ERROR]) {
        let payload = (message.payload)(&mut generator);
        let content = json!({ "name": message.name, "title": message.title, "payload": payload });
        messages.insert(message.id.to_owned(), content);
    }
    let mut schemas = generator.take_definitions(true);
    schemas.sort_keys();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Penguin Pool, pushed",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "http": { "host": "localhost:3001", "protocol": "http", "description": "`HTTP_PORT`: Server-Sent Events, and Socket.IO's long polls" },
            "sockets": { "host": "localhost:3001", "protocol": "ws", "description": "`HTTP_PORT`: Socket.IO and plain WebSockets" },
            "socketsApart": { "host": "localhost:3002", "protocol": "ws", "description": "`WS_PORT`: the same" },
        },
        "channels": channels(),
        "operations": operations(),
        "components": { "messages": messages, "schemas": schemas },
    })
}

const ABOUT: &str = "What the service pushes: the Socket.IO namespaces `/ws/health` and `/ws/streams` (path `/socket.io/`, by \
    WebSocket or long polls; a message is an event of its name, and an answer the event's acknowledgement), the plain \
    WebSocket `/ws/health` (the same messages as JSON text, told apart by `type`), and the feeds of Server-Sent Events.";

fn channels() -> Value {
    json!({
        "health": channel(HEALTH, "How the service is. Socket.IO namespace, and plain WebSocket.", &SOCKETS,
            &["connection", "healthStatus", "serviceStatusChange"]),
        "streams": channel(STREAMS, "Streams, followed. Socket.IO namespace.", &SOCKETS,
            &["subscribe", "subscribed", "unsubscribe", "unsubscribed", "refused", "event", "caughtUp", "checkpoint", "subscriptionError"]),
        "streamFeed": parameters(
            channel("/api/streams/{streamName}/subscribe", "A stream, followed by Server-Sent Events.", &FEEDS, &["feedEvent", "feedError"]),
            json!({ "streamName": { "description": "The stream, percent-encoded", "examples": ["loans-42"] } }),
        ),
        "allFeed": channel("/api/streams/all/subscribe", "Everything, followed by Server-Sent Events.", &FEEDS, &["feedEvent", "feedError"]),
    })
}

const SOCKETS: [&str; 3] = ["http", "sockets", "socketsApart"];
const FEEDS: [&str; 1] = ["http"];

fn channel(address: &str, about: &str, servers: &[&str], messages: &[&str]) -> Value {
    let servers: Vec<_> = servers.iter().map(|name| reference(&format!("#/servers/{name}"))).collect();
    let messages: Map<_, _> = messages
        .iter()
        .map(|id| ((*id).to_owned(), reference(&format!("#/components/messages/{id}"))))
        .collect();
    json!({ "address": address, "description": about, "servers": servers, "messages": messages })
}

fn parameters(mut channel: Value, parameters: Value) -> Value {
    channel["parameters"] = parameters;
    channel
}

fn reference(to: &str) -> Value {
    json!({ "$ref": to })
}

fn operations() -> Value {
    json!({
        "tellHealth": operation("send", "health", "Tells how the service is: at connect, every 30 s and at each change",
            &["connection", "healthStatus", "serviceStatusChange"]),
        "subscribe": answered(operation("receive", "streams", "Begins a subscription", &["subscribe"]), &["subscribed", "refused"]),
        "unsubscribe": answered(operation("receive", "streams", "Ends a subscription", &["unsubscribe"]), &["unsubscribed", "refused"]),
        "bringEvents": operation("send", "streams", "Brings what is followed, no faster than the client reads",
            &["event", "caughtUp", "checkpoint", "subscriptionError"]),
        "feedStream": operation("send", "streamFeed", "Brings a stream", &["feedEvent", "feedError"]),
        "feedAll": operation("send", "allFeed", "Brings everything", &["feedEvent", "feedError"]),
    })
}

fn operation(action: &str, channel: &str, about: &str, messages: &[&str]) -> Value {
    json!({
        "action": action,
        "channel": reference(&format!("#/channels/{channel}")),
        "summary": about,
        "messages": of_channel(channel, messages),
    })
}

fn of_channel(channel: &str, messages: &[&str]) -> Value {
    messages.iter().map(|id| reference(&format!("#/channels/{channel}/messages/{id}"))).collect()
}

fn answered(mut operation: Value, messages: &[&str]) -> Value {
    operation["reply"] =
        json!({ "channel": reference("#/channels/streams"), "messages": of_channel("streams", messages) });
    operation
}

/// The document as a file.
///
/// # Errors
/// Never, for this document; the type says what writing JSON can come to.
pub fn file() -> Result<Bytes, serde_json::Error> {
    Ok((serde_json::to_string_pretty(&document())? + "\n").into())
}

/// Serves it at `/api/docs/asyncapi`.
pub fn router(text: Bytes) -> Router {
    let answer = move || std::future::ready(json_answer(text.clone()));
    Router::new().route("/api/docs/asyncapi", get(answer))
}

fn json_answer(text: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
