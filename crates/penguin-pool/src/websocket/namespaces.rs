//! The namespaces of Socket.IO: what is emitted, and what is listened to.

use super::{
    ending::{Ending, Speaker},
    flow::Refused,
    health::HealthFeed,
    session::{Session, Sessions},
    socket_io::no_place,
    subscriptions::{Library, Outlet, Reader},
};
use crate::{
    http::ApiError,
    ops::{Limiter, rate_limit},
    security::{Admitted, Credentials, Identity},
};
use event_store::ErrorCode;
use models::{SubscribeAnswer, UnsubscribeAnswer};
use serde::Serialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use socketioxide::{
    SendError, SocketError, SocketIo,
    adapter::Adapter,
    extract::{AckSender, SocketRef, TryData},
    handler::{ConnectHandler as _, FromMessageParts, Value as Packet},
    socket::Socket,
};
use std::{convert::Infallible, sync::Arc};
use tokio::sync::{broadcast::error::RecvError, watch};

/// The namespace that tells how the service is.
pub(super) const HEALTH: &str = "/ws/health";

/// Those of it that were greeted: what is told before would come first.
const GREETED: &str = "greeted";

/// The namespace that follows streams.
pub(super) const STREAMS: &str = "/ws/streams";

/// Greets whoever connects to `/ws/health`.
pub(super) fn health(io: &SocketIo, feed: &HealthFeed) {
    let feed = feed.clone();
    io.ns(HEALTH, async move |socket: SocketRef| {
        feed.welcome(|greeting| {
            // One that cannot take its greeting is closed by its heartbeat.
            greeting.iter().for_each(|message| _ = socket.emit(message.name, &message.body));
            socket.join(GREETED);
        });
    });
}

/// Tells every socket of `/ws/health` what the feed tells.
pub(super) async fn tell_health(io: SocketIo, feed: HealthFeed) {
    let (_, mut news) = feed.follow();
    loop {
        let message = match news.recv().await {
            Ok(message) => message,
            // So many changes at once that some are lost: how things are now makes up for them.
            Err(RecvError::Lagged(_)) => {
                let ([_, status], again) = feed.follow();
                news = again;
                status
            }
            Err(RecvError::Closed) => return,
        };
        if let Some(sockets) = io.of(HEALTH).map(|all| all.to(GREETED)) {
            // Whoever has no room for it does not read, and is closed by its heartbeat.
            let _ = sockets.emit(message.name, &message.body).await;
        }
    }
}

/// Listens to whoever connects to `/ws/streams`.
///
/// A browser's page cannot send headers with a WebSocket, so credentials may come when the namespace is connected to, as
/// `auth: { token }`: a token or an API key. What came with the handshake wins.
pub(super) fn streams(
    io: &SocketIo,
    library: Arc<Library>,
    known_by: Option<KnownBy>,
    sessions: Sessions,
    ending: Ending,
) {
    // Listened to before the client hears that it is connected, since what it says then may come at once; and answered
    // only when the library knows it as connected, since nothing can be emitted before.
    let listen = async move |socket: SocketRef, TryData(auth): TryData<Value>| {
        // Every connection has one: see `socket_io`.
        let session =
            socket.req_parts().extensions.get::<Arc<Session>>().ok_or_else(|| "no session".to_owned())?;
        let admitted = match &known_by {
            Some(known_by) => session.origin.clone().around(known(known_by, session, auth.ok())).await?,
            None => by_handshake(session),
        };
        // Who came as a stranger is none any more.
        let own = session.place.belongs_to(&admitted.caller, session.origin.address());
        own.map_err(|full| format!("{}: {}", ErrorCode::RateLimited, no_place(full)))?;
        sessions.register(socket.id.as_str(), session);
        let (connected, connection) = watch::channel(false);
        socket.extensions.insert(Connected(Arc::new(connected)));
        // The reader does not hold the socket: the socket holds the reader, by its handlers.
        let reader = Reader::new(library, Arc::clone(session), admitted);
        socket.extensions.insert(Reads(Arc::clone(&reader)));
        let subscriber = Arc::clone(&reader);
        let mut ready = connection.clone();
        socket.on(
            "subscribe",
            async move |socket: SocketRef, answered: Answered, TryData(request), ack: AckSender| {
                if ready.wait_for(|connected| *connected).await.is_err() {
                    return;
                }
                let taken = match text(request) {
                    Ok(request) => subscriber.subscribe(&request).await,
                    Err(refused) => Err(refused),
                };
                match taken {
                    Ok(subscription) => {
                        let answer =
                            SubscribeAnswer { success: true, subscription_id: subscription.id.clone() };
                        acknowledge(&subscriber, ack, &answer);
                        let speaker = ending.speaker();
                        subscriber.run(subscription, Carrier(socket, speaker), ending.comes());
                    }
                    Err(refused) if answered.0 => {
                        acknowledge(&subscriber, ack, &refused.body_at(subscriber.now()));
                    }
                    Err(refused) => subscriber.refuse(refused, &Carrier(socket, None)),
                }
            },
        );
        let unsubscriber = Arc::clone(&reader);
        let mut ready = connection;
        socket.on("unsubscribe", async move |TryData(request), ack: AckSender| {
            if ready.wait_for(|connected| *connected).await.is_err() {
                return;
            }
            match text(request).and_then(|request| unsubscriber.unsubscribe(&request)) {
                Ok(ended) => acknowledge(&unsubscriber, ack, &UnsubscribeAnswer { success: true, ended }),
                Err(refused) => acknowledge(&unsubscriber, ack, &refused.body_at(unsubscriber.now())),
            }
        });
        socket.on_disconnect(async move || reader.end());
        Ok::<(), String>(())
    };
    let greet = async move |socket: SocketRef| {
        if let Some(Connected(connected)) = socket.extensions.get::<Connected>() {
            connected.send_replace(true);
        }
        if let Some(Reads(reader)) = socket.extensions.get::<Reads>() {
            let parting = Arc::clone(&reader);
            reader.when_lost(async move {
                parting.done().await;
                // One that is gone needs no parting.
                let _ = socket.disconnect();
                parting.is_a_stranger();
            });
        }
    };
    io.ns(STREAMS, greet.with(listen));
}

/// Whether who emitted an event waits for its acknowledgement: the library drops one that nobody waits for.
struct Answered(bool);

impl<A: Adapter> FromMessageParts<A> for Answered {
    type Error = Infallible;

    fn from_message_parts(
        _: &Arc<Socket<A>>,
        _: &mut Packet,
        acknowledgement: &Option<i64>,
    ) -> Result<Self, Infallible> {
        Ok(Self(acknowledgement.is_some()))
    }
}

/// What finds out who connects.
#[derive(Debug, Clone)]
pub(super) struct KnownBy {
    pub(super) identity: Identity,
    /// How many credentials of an address may be refused: one connection can bring as many as it likes.
    pub(super) limiter: Option<Limiter>,
}

/// Who connects, by the handshake or by what came with the connection; or why nobody is known.
async fn known(by: &KnownBy, session: &Session, auth: Option<Value>) -> Result<Admitted, String> {
    // What the handshake said may hold no longer: what comes now counts then.
    if session.caller.is_known() && session.standing.holds() {
        return Ok(by_handshake(session));
    }
    let token = auth.as_ref().and_then(|auth| auth.get("token")).and_then(Value::as_str);
    let credentials = token.map_or(Credentials::None, Credentials::token);
    let from = session.origin.address();
    match rate_limit::admit(&by.identity, by.limiter.as_ref(), &credentials, from).await {
        Ok(admitted) if admitted.caller.is_known() => Ok(admitted),
        Ok(_) => Err("authentication-failed: connect with auth: { token }, or send Authorization".to_owned()),
        Err(refused) => Err(format!("{}: {refused}", refused.code())),
    }
}

fn by_handshake(session: &Session) -> Admitted {
    Admitted { caller: session.caller.clone(), standing: session.standing.clone() }
}

/// What a socket reads.
#[derive(Debug, Clone)]
struct Reads(Arc<Reader>);

/// Where it is said that a socket is connected.
#[derive(Debug, Clone)]
struct Connected(Arc<watch::Sender<bool>>);

/// What came with an event, as text.
fn text(request: Result<Value, impl std::error::Error>) -> Result<String, ApiError> {
    let message = "The event carries one JSON object";
    request
        .map(|request| request.to_string())
        .map_err(|_| ApiError::new(ErrorCode::ValidationFailed, message))
}

fn acknowledge(reader: &Reader, ack: AckSender, answer: &impl Serialize) {
    let Ok(answer) = to_raw_value(answer) else { return };
    // Who has no room for an answer does not read, and who is gone needs none.
    if ack.send(&answer).is_ok() {
        reader.answered(answer.get().len());
    }
}

/// Carries a subscription's messages to a socket, and holds the end off until the last was said.
struct Carrier(SocketRef, #[expect(dead_code, reason = "held, not used")] Option<Speaker>);

impl Outlet for Carrier {
    fn emit(&self, event: &'static str, body: &RawValue) -> Result<(), Refused> {
        self.0.emit(event, body).map_err(|error| match error {
            SendError::Socket(SocketError::InternalChannelFull) => Refused::Full,
            _ => Refused::Gone,
        })
    }
}
