//! Following the stream of accounts into the book: the only way that anything comes into it, after a restart and from
//! other instances too.

use super::{Book, Known};
use crate::security::BoundStore;
use event_store::{Error, ReadFrom, StreamName, SubscribeStream, SubscriptionMessage};
use futures::StreamExt as _;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// How long to wait before following again after the store failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Follows until the store is closed; drop it to end it.
pub(super) async fn follow(store: BoundStore, stream: StreamName, known: watch::Sender<Known>) {
    // Until the end is reached once, nobody is shown half of the accounts.
    let mut reading = Some(Book::default());
    let mut last = None;
    let mut complained = false;
    loop {
        let from = last.map_or(ReadFrom::Start, ReadFrom::Past);
        let error = match store
            .subscribe_stream(&stream, SubscribeStream { from, ..SubscribeStream::default() })
            .await
        {
            Err(error) => error,
            Ok(mut messages) => loop {
                match messages.next().await {
                    Some(Ok(SubscriptionMessage::Event(event))) => {
                        let Some(event) = event.event else { continue };
                        last = Some(event.revision);
                        match &mut reading {
                            Some(book) => book.take(&event),
                            None => known.send_modify(|known| Arc::make_mut(&mut known.book).take(&event)),
                        }
                    }
                    Some(Ok(SubscriptionMessage::CaughtUp { .. })) => {
                        complained = false;
                        if let Some(book) = reading.take() {
                            known.send_replace(Known { book: Arc::new(book), whole: true });
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error,
                    None => break Error::Closed,
                }
            },
        };
        match error {
            Error::Closed => return,
            error => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(%stream, %error, "accounts cannot be followed now; trying again every second");
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}
