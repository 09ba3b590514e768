//! Writers that append at the same time, and note what they are answered.

use super::{
    Dice,
    book::{Answered, Book, append},
};
use event_store::{Error, EventStore, ExpectedState, StreamName};
use std::sync::Arc;

/// A commit as it is sent: its name, and how many events go to which streams.
#[derive(Debug, Clone)]
pub struct Order {
    pub commit: String,
    pub streams: Vec<(String, ExpectedState, u64)>,
}

/// What became of an order.
#[derive(Debug, Clone)]
pub enum Said {
    Answered(Answered),
    /// Nothing was written, the store said.
    Refused(String),
    /// Nobody knows: it can be sent again.
    Open(Order),
}

/// Sends one order.
pub async fn send(store: &dyn EventStore, order: Order) -> Said {
    let streams: Vec<_> =
        order.streams.iter().map(|(name, state, count)| (name.as_str(), *state, *count)).collect();
    match append(store, &order.commit, &streams).await {
        Ok(answered) => Said::Answered(answered),
        Err(Error::WrongExpectedRevision { .. } | Error::StorageFull(_)) => Said::Refused(order.commit),
        Err(_) => Said::Open(order),
    }
}

/// One writer: it appends to two streams of its own and to one that all share; single events, batches and both
/// its streams at once. It says what became of each before it goes on, and stops when the store stops.
pub async fn write(
    store: Arc<dyn EventStore>,
    run: String,
    writer: u64,
    commits: u64,
    mut dice: Dice,
    say: impl Fn(Said),
) {
    let (a, b, shared) = (format!("writer-{writer}-a"), format!("writer-{writer}-b"), "shared".to_owned());
    for number in 0..commits {
        let exactly = match store.stream_info(&StreamName::new(a.as_str()).unwrap()).await {
            Ok(info) => ExpectedState::Exact(info.last_revision),
            Err(Error::StreamNotFound(_)) => ExpectedState::NoStream,
            Err(_) => return,
        };
        let (a, b, shared, any) = (a.clone(), b.clone(), shared.clone(), ExpectedState::Any);
        let streams = match dice.below(6) {
            0 => vec![(a, exactly, 1)],
            1 => vec![(a, any, 1 + dice.below(8))],
            2 => vec![(shared, any, 1 + dice.below(3))],
            3 => vec![(a, exactly, 2), (b, any, 1 + dice.below(3))],
            4 => vec![(b, any, 1), (shared, any, 1), (a, exactly, 1)],
            // This one is wrong whatever the stream is.
            _ => vec![(b, any, 1), (a, ExpectedState::Exact(1 << 40), 1)],
        };
        let said = send(&*store, Order { commit: format!("{run}-{writer}-{number}"), streams }).await;
        let stopped = matches!(said, Said::Open(_));
        say(said);
        if stopped {
            return;
        }
    }
}

/// Lets so many writers work until each is done or stopped, and notes what they were told. Gives the orders of which
/// nobody knows what became.
pub async fn write_all(
    store: &Arc<dyn EventStore>,
    book: &mut Book,
    run: &str,
    writers: u64,
    commits: u64,
    dice: &mut Dice,
) -> Vec<Order> {
    let (sender, mut said) = tokio::sync::mpsc::unbounded_channel();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let sender = sender.clone();
            let say = move |said| sender.send(said).unwrap();
            let dice = Dice::new(dice.next());
            tokio::spawn(write(Arc::clone(store), run.to_owned(), writer, commits, dice, say))
        })
        .collect();
    drop(sender);
    for task in tasks {
        task.await.unwrap();
    }
    let mut open = Vec::new();
    while let Some(said) = said.recv().await {
        open.extend(book.note(said));
    }
    open
}

impl Book {
    /// Notes what became of an order; gives it back if nobody knows.
    pub fn note(&mut self, said: Said) -> Option<Order> {
        match said {
            Said::Answered(answered) => self.answered.push(answered),
            Said::Refused(commit) => drop(self.refused.insert(commit)),
            Said::Open(order) => return Some(order),
        }
        None
    }
}
