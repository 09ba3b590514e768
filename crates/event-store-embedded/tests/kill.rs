//! A process that is killed in the middle of concurrent appends, again and again, on one directory.
//!
//! The child is this test binary, run again; it says each answer on its standard output after the store gave it. It is
//! killed after a number of answers, so that nothing here depends on time.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{
    Dice,
    book::{Answered, Book, Part},
    work::{Said, write},
};
use event_store::EventStore;
use event_store_embedded::{Engine, Options};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

const DIRECTORY: &str = "KILL_TEST_DIRECTORY";
const ROUND: &str = "KILL_TEST_ROUND";
const ROUNDS: u64 = 24;

/// Small segments and index batches, so that the kill also meets their changes.
fn options(directory: &Path) -> Options {
    Options::at(directory).segment_bytes(64 << 10).index_batches(200, Duration::from_millis(20))
}

fn spawn_child(directory: &Path, round: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test: what the test below runs as a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the test below"]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let store: Arc<dyn EventStore> = Arc::new(Engine::open(options(Path::new(&directory))).unwrap());
    let writers = (0..6).map(|writer| {
        let say = |said: Said| {
            let line = match said {
                Said::Answered(answered) => format!("answered {}\n", encode(&answered)),
                Said::Refused(commit) => format!("refused {commit}\n"),
                Said::Open(order) => panic!("the store stopped at {order:?}"),
            };
            // One write, so that lines of different writers do not mix.
            std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
        };
        let dice = Dice::new(round * 100 + writer);
        tokio::spawn(write(Arc::clone(&store), format!("r{round}"), writer, u64::MAX, dice, say))
    });
    futures::future::join_all(writers.collect::<Vec<_>>()).await;
}

fn encode(answered: &Answered) -> String {
    let part = |p: &Part| format!(" {} {} {} {}", p.stream, p.events, p.last_revision, p.position);
    format!("{}{}", answered.commit, answered.parts.iter().map(part).collect::<String>())
}

fn decode(line: &str) -> Answered {
    let mut words = line.split(' ');
    let commit = words.next().unwrap().to_owned();
    let words: Vec<&str> = words.collect();
    let number = |word: &str| word.parse().unwrap();
    let part = |p: &[&str]| Part {
        stream: p[0].to_owned(),
        events: number(p[1]),
        last_revision: number(p[2]),
        position: number(p[3]),
    };
    Answered { commit, parts: words.chunks(4).map(part).collect() }
}

/// Notes what the child says, and kills it after so many answers.
fn kill_after(mut child: Child, answers: u64, book: &mut Book) {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut seen) = (String::new(), 0);
    loop {
        line.clear();
        output.read_line(&mut line).unwrap();
        // The last line may have been cut off by the kill: it was not said.
        let Some(line) = line.strip_suffix('\n') else { break };
        if let Some(answered) = line.strip_prefix("answered ") {
            book.answered.push(decode(answered));
            seen += 1;
            if seen == answers {
                child.kill().unwrap();
            }
        } else if let Some(refused) = line.strip_prefix("refused ") {
            book.refused.insert(refused.to_owned());
        }
    }
    let status = child.wait().unwrap();
    assert!(seen >= answers, "the child ended by itself after {seen} answers: {status}");
}

#[tokio::test]
async fn what_was_answered_outlives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let (mut dice, mut book) = (Dice::new(7), Book::default());
    for round in 0..ROUNDS {
        let answers = 1 + dice.below(if round % 3 == 0 { 10 } else { 120 });
        kill_after(spawn_child(directory.path(), round), answers, &mut book);
        let store = Engine::open(options(directory.path())).unwrap();
        book.check(&store).await;
        if dice.coin() {
            store.close().await.unwrap();
        }
    }
    assert!(book.answered.len() as u64 > ROUNDS);
}
