//! How fast events are made durable, beside a plain file that is flushed as often. `cargo bench -p event-store-embedded --bench append`

#![allow(clippy::unwrap_used, reason = "a benchmark fails where it cannot go on")]

mod common;

use common::{EVENT_BYTES, directory, events, head, median, rate, timed};
use event_store::{EventStore, ExpectedState, StreamName};
use event_store_embedded::{Engine, Options};
use std::{fs::File, io::Write, path::Path, sync::Arc, time::Duration};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};

const BULK: u64 = 4096;
const BULK_COMMITS: u64 = 60;
const CLIENTS: u64 = 16;
const SINGLES: u64 = 600;
/// The disk is not the same from one second to the next: engine and limit take turns.
const ROUNDS: usize = 5;

fn main() {
    let runtime = Runtime::new().unwrap();
    head();
    let (mut engine, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        limit.push(plain_bulk());
        engine.push(engine_bulk(&runtime));
    }
    rate("append, 4096 events a commit", "e/s", median(engine), median(limit), ">= 25%");
    let (mut engine, mut new_streams, mut limit) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        limit.push(plain_group_commit(&runtime));
        engine.push(engine_singles(&runtime, false));
        new_streams.push(engine_singles(&runtime, true));
    }
    let limit = median(limit);
    rate("append, 16 clients, one event a commit", "e/s", median(engine), limit, ">= 60%");
    rate("the same, each event to a new stream", "e/s", median(new_streams), limit, "");
}

fn per_second(events: u64, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}

fn plain_bulk() -> f64 {
    let directory = directory();
    let mut file = File::create(directory.path().join("plain")).unwrap();
    let commit = vec![b'x'; BULK as usize * EVENT_BYTES];
    let ((), took) = timed(|| {
        for _ in 0..BULK_COMMITS {
            file.write_all(&commit).unwrap();
            file.sync_data().unwrap();
        }
    });
    per_second(BULK * BULK_COMMITS, took)
}

fn engine_bulk(runtime: &Runtime) -> f64 {
    let directory = directory();
    let store = Engine::open(Options::at(directory.path())).unwrap();
    let stream = StreamName::new("bulk").unwrap();
    let commits: Vec<_> = (0..BULK_COMMITS).map(|n| events(n * BULK, BULK)).collect();
    let ((), took) = timed(|| {
        runtime.block_on(async {
            for commit in commits {
                store.append(&stream, ExpectedState::Any, commit).await.unwrap();
            }
        });
    });
    runtime.block_on(store.close()).unwrap();
    per_second(BULK * BULK_COMMITS, took)
}

/// As many clients as there are, each with its next request when the one before was answered.
fn clients<F: Future<Output = ()> + Send + 'static>(runtime: &Runtime, client: impl Fn(u64) -> F) -> f64 {
    let ((), took) = timed(|| {
        runtime.block_on(async {
            let running: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(client(number))).collect();
            for client in running {
                client.await.unwrap();
            }
        });
    });
    per_second(CLIENTS * SINGLES, took)
}

/// The least that group commit can be: a queue, one thread, one write and one flush for all that wait.
fn plain_group_commit(runtime: &Runtime) -> f64 {
    let directory = directory();
    let (queue, requests) = mpsc::channel(4096);
    let path = directory.path().join("plain");
    let writer = std::thread::spawn(move || write_groups(&path, requests));
    let result = clients(runtime, |_| {
        let queue: mpsc::Sender<(Vec<u8>, oneshot::Sender<()>)> = queue.clone();
        async move {
            for _ in 0..SINGLES {
                let (answer, answered) = oneshot::channel();
                queue.send((vec![b'x'; EVENT_BYTES], answer)).await.unwrap();
                answered.await.unwrap();
            }
        }
    });
    drop(queue);
    writer.join().unwrap();
    result
}

fn write_groups(path: &Path, mut requests: mpsc::Receiver<(Vec<u8>, oneshot::Sender<()>)>) {
    let mut file = File::create(path).unwrap();
    let mut group = Vec::new();
    while let Some((event, answer)) = requests.blocking_recv() {
        group.clear();
        group.extend_from_slice(&event);
        let mut answers = vec![answer];
        while let Ok((event, answer)) = requests.try_recv() {
            group.extend_from_slice(&event);
            answers.push(answer);
        }
        file.write_all(&group).unwrap();
        file.sync_data().unwrap();
        answers.into_iter().for_each(|answer| answer.send(()).unwrap());
    }
}

fn engine_singles(runtime: &Runtime, new_streams: bool) -> f64 {
    let directory = directory();
    let store = Arc::new(Engine::open(Options::at(directory.path())).unwrap());
    let result = clients(runtime, |number| {
        let store = Arc::clone(&store);
        async move {
            let name = |n: usize| StreamName::new(format!("client-{number}-{n}")).unwrap();
            for (n, event) in events(number << 32, SINGLES).into_iter().enumerate() {
                let stream = name(if new_streams { n } else { 0 });
                store.append(&stream, ExpectedState::Any, vec![event]).await.unwrap();
            }
        }
    });
    runtime.block_on(store.close()).unwrap();
    result
}
