//! The clients: a process of its own, whose clients cost as little as they can.

use super::now;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    sync::Semaphore,
};

/// What the clients are to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) kind: String,
    pub(crate) address: SocketAddr,
    pub(crate) clients: usize,
    /// How many measured messages each is to get.
    pub(crate) messages: usize,
}

/// What they saw. Times are in milliseconds, from the message's making to its being read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) received: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Until the last client had it, over all messages.
    pub(crate) all_p50: f64,
    pub(crate) all_p99: f64,
    /// Added by the server.
    #[serde(default)]
    pub(crate) cpu_us: f64,
}

/// Clients that are connected.
pub(crate) struct Clients {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Load {
    /// Starts them, and waits until all are connected.
    pub(crate) async fn begin(self) -> Clients {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["clients", &serde_json::to_string(&self).unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
        Clients { child, lines }
    }
}

impl Clients {
    /// Waits until they have everything, and gives what they saw.
    pub(crate) async fn end(&mut self) -> Report {
        let line = self.lines.next_line().await.unwrap().unwrap();
        self.child.wait().await.unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

/// By the moment of a message's making: how long it took to each client.
type Seen = Mutex<HashMap<i64, Vec<i64>>>;

pub(crate) fn run(load: &Load) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let seen = Arc::new(Seen::default());
        let ready = Arc::new(Semaphore::new(0));
        let opening = Arc::new(Semaphore::new(64));
        let clients: Vec<_> = (0..load.clients)
            .map(|n| {
                let client =
                    Client { seen: Arc::clone(&seen), ready: Arc::clone(&ready), messages: load.messages };
                tokio::spawn(client.run(load.kind.clone(), load.address, n, Arc::clone(&opening)))
            })
            .collect();
        let _ = ready.acquire_many(u32::try_from(load.clients).unwrap()).await.unwrap();
        println!("ready");
        if load.kind == "stopped" {
            tokio::time::sleep(std::time::Duration::from_secs(7)).await;
        } else {
            // What does not come is missed in the report, and not waited for.
            let all = futures::future::try_join_all(clients);
            if let Ok(all) = tokio::time::timeout(std::time::Duration::from_secs(60), all).await {
                all.unwrap();
            }
        }
        println!("{}", serde_json::to_string(&report(&seen)).unwrap());
    });
}

fn report(seen: &Seen) -> Report {
    let seen = seen.lock().unwrap();
    let mut each: Vec<i64> = seen.values().flatten().copied().collect();
    let mut all: Vec<i64> = seen.values().filter_map(|took| took.iter().max().copied()).collect();
    each.sort_unstable();
    all.sort_unstable();
    let at = |sorted: &[i64], part: f64| {
        let index = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
        sorted.get(index).copied().unwrap_or(0) as f64 / 10_000.0
    };
    Report {
        received: each.len(),
        p50: at(&each, 0.5),
        p99: at(&each, 0.99),
        all_p50: at(&all, 0.5),
        all_p99: at(&all, 0.99),
        cpu_us: 0.0,
    }
}

struct Client {
    seen: Arc<Seen>,
    ready: Arc<Semaphore>,
    messages: usize,
}

const HANDSHAKE: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: bench\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

impl Client {
    async fn run(self, kind: String, address: SocketAddr, n: usize, opening: Arc<Semaphore>) {
        let turn = opening.acquire().await.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut frames = Frames { buffer: Vec::new(), read: 0 };
        if kind != "bare" {
            stream.write_all(HANDSHAKE.as_bytes()).await.unwrap();
            frames.skip_head(&mut stream).await;
            let namespace = if kind == "health" { "/ws/health" } else { "/ws/streams" };
            send(&mut stream, &format!("40{namespace},")).await;
            frames.until(&mut stream, &format!("40{namespace},{{")).await;
            let (stream_name, from, last) = match kind.as_str() {
                "health" => (None, "", "42/ws/health,[\"health_status\""),
                "streams" => (Some(format!("s-{n}")), "", "42/ws/streams,[\"caught_up\""),
                "one-stream" => (Some("s-0".to_owned()), "", "42/ws/streams,[\"caught_up\""),
                _ => (Some("large".to_owned()), ",\"from\":0", "43/ws/streams,1[{\"success\":true"),
            };
            if let Some(name) = stream_name {
                let request = format!("42/ws/streams,1[\"subscribe\",{{\"streamName\":\"{name}\"{from}}}]");
                send(&mut stream, &request).await;
            }
            frames.until(&mut stream, last).await;
        }
        drop(turn);
        self.ready.add_permits(1);
        if kind == "stopped" {
            std::future::pending::<()>().await;
        }
        let mut received = 0;
        while received < self.messages {
            let frame = frames.next(&mut stream).await;
            if frame == b"2" {
                send(&mut stream, "3").await;
                continue;
            }
            if let Some(made) = made(frame) {
                let took = now() - made;
                self.seen.lock().unwrap().entry(made).or_default().push(took);
                received += 1;
            }
        }
    }
}

/// The moment that stands in a message.
fn made(frame: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(frame).ok()?;
    let (_, digits) = text.split_once("\"at\":").or_else(|| text.split_once("at="))?;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A text frame, masked with zeros.
async fn send(stream: &mut TcpStream, text: &str) {
    let mut frame = vec![0x81];
    match text.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        long => frame.extend([0x80 | 126, (long >> 8) as u8, (long & 255) as u8]),
    }
    frame.extend([0; 4]);
    frame.extend(text.bytes());
    stream.write_all(&frame).await.unwrap();
}

struct Frames {
    buffer: Vec<u8>,
    /// What was read of the buffer.
    read: usize,
}

impl Frames {
    async fn fill(&mut self, stream: &mut TcpStream) {
        self.buffer.drain(..std::mem::take(&mut self.read));
        assert!(stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the server hung up");
    }

    async fn skip_head(&mut self, stream: &mut TcpStream) {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                assert!(self.buffer.starts_with(b"HTTP/1.1 101"));
                self.read = end + 4;
                return;
            }
            self.fill(stream).await;
        }
    }

    async fn until(&mut self, stream: &mut TcpStream, start: &str) {
        while !self.next(stream).await.starts_with(start.as_bytes()) {}
    }

    async fn next(&mut self, stream: &mut TcpStream) -> &[u8] {
        loop {
            if let Some((head, length)) = measure(&self.buffer[self.read..])
                && self.buffer.len() - self.read >= head + length
            {
                let body = self.read + head;
                self.read = body + length;
                return &self.buffer[body..body + length];
            }
            self.fill(stream).await;
        }
    }
}

/// How long a frame's head is, and its body.
fn measure(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes.get(1)? {
        126 => Some((4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)))),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            Some((10, usize::try_from(length).ok()?))
        }
        &short => Some((2, usize::from(short))),
    }
}
