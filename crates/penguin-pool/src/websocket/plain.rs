//! `/ws/health` as a plain WebSocket: the messages of the Socket.IO namespace as JSON text.

use super::{health::HealthFeed, health::Message, session::Session, transport::Transport};
use futures::{SinkExt as _, StreamExt as _};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::broadcast::error::RecvError,
    time::{Instant, interval_at, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Error, Message as Frame, Utf8Bytes,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

/// The largest message that a client may send; it has nothing to say.
const MAX_INCOMING: usize = 4 << 10;

/// How long a message may take to be sent, and the farewell to be answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one connection until either side ends it, or `stopped` comes.
///
/// A client that does not answer pings, or does not take what is sent to it, is cut off: its view of the service would be wrong.
pub(super) async fn serve<T>(
    io: Transport<T>,
    session: Arc<Session>,
    feed: HealthFeed,
    ping: Duration,
    stopped: impl Future<Output = ()>,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(MAX_INCOMING)
        .max_message_size(Some(MAX_INCOMING))
        .max_frame_size(Some(MAX_INCOMING));
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let stop = converse(&mut socket, &feed, ping, stopped).await;
    let (code, reason) = match stop {
        Stop::Stopping => (CloseCode::Away, "the service is stopping"),
        Stop::Silent => (CloseCode::Policy, "no answer to a ping"),
        Stop::Gone => return,
        Stop::Malformed => (CloseCode::Protocol, "malformed"),
        Stop::TooLarge => (CloseCode::Size, "too large"),
    };
    let farewell = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
    // Whoever does not take the farewell is gone; there is nobody left to tell.
    let _ = timeout(PATIENCE, async {
        socket.send(Frame::Close(Some(farewell))).await?;
        while socket.next().await.is_some_and(|frame| frame.is_ok()) {}
        Ok::<_, Error>(())
    })
    .await;
    drop(session);
}

/// Why a conversation ended.
enum Stop {
    Stopping,
    Silent,
    Gone,
    Malformed,
    TooLarge,
}

async fn converse<T>(
    socket: &mut WebSocketStream<Transport<T>>,
    feed: &HealthFeed,
    ping: Duration,
    stopped: impl Future<Output = ()>,
) -> Stop
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (welcome, mut news) = feed.follow();
    for message in welcome {
        if !sent(socket, text(&message)).await {
            return Stop::Gone;
        }
    }
    let mut pings = interval_at(Instant::now() + ping, ping);
    let mut answered = true;
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => return Stop::Stopping,
            frame = socket.next() => match frame {
                Some(Ok(Frame::Pong(_))) => answered = true,
                Some(Ok(_)) => {}
                Some(Err(Error::Capacity(_))) => return Stop::TooLarge,
                Some(Err(Error::Protocol(_) | Error::Utf8(_))) => return Stop::Malformed,
                Some(Err(_)) | None => return Stop::Gone,
            },
            _ = pings.tick() => {
                if !std::mem::take(&mut answered) {
                    return Stop::Silent;
                }
                if !sent(socket, Frame::Ping(Bytes::new())).await {
                    return Stop::Gone;
                }
            }
            message = news.recv() => match message {
                Ok(message) => {
                    if !sent(socket, text(&message)).await {
                        return Stop::Gone;
                    }
                }
                // It missed changes: how things are now makes up for it.
                Err(RecvError::Lagged(_)) => {
                    let ([_, status], again) = feed.follow();
                    news = again;
                    if !sent(socket, text(&status)).await {
                        return Stop::Gone;
                    }
                }
                Err(RecvError::Closed) => return Stop::Stopping,
            },
        }
    }
}

fn text(message: &Message) -> Frame {
    Frame::text(message.body.get())
}

async fn sent<T>(socket: &mut WebSocketStream<Transport<T>>, frame: Frame) -> bool
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    matches!(timeout(PATIENCE, socket.send(frame)).await, Ok(Ok(())))
}
