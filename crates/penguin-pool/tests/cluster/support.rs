//! A node in a process of its own, and a service on it.

use serde_json::{Value, json};
use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};
use test_support::{Proxy, TestService};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// Generous: only a test that fails waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `penguin-pool kurrentdb`: as far as its clients can tell, a KurrentDB.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Node {
    pub(crate) async fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_penguin-pool"))
            .args(["kurrentdb", "--port", "0", "--data", data.to_str().unwrap()])
            .env_clear()
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("a node").unwrap().unwrap();
        let address = line.trim_start_matches("kurrentdb://").split('?').next().unwrap().parse().unwrap();
        Self { address, child }
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A service whose store is on the other side of this wire.
pub(crate) async fn service(wire: &Proxy) -> TestService {
    TestService::builder()
        .set("EVENT_STORE", "kurrentdb")
        .set("KURRENTDB_URL", format!("http://{}", wire.address()))
        .set("RATE_LIMIT_MAX_REQUESTS", 0)
        .start()
        .await
}

pub(crate) async fn get(service: &TestService, path: &str) -> (u16, Value) {
    let response = service.get(path).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

pub(crate) async fn post(service: &TestService, path: &str, body: Value) -> (u16, Value) {
    let response = service.post(path).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

/// Asks again until the answer is as it should be.
pub(crate) async fn eventually(
    service: &TestService,
    path: &str,
    right: impl Fn(u16, &Value) -> bool,
) -> Value {
    let mut last = None;
    let asking = async {
        loop {
            let (status, body) = get(service, path).await;
            if right(status, &body) {
                return body;
            }
            last = Some((status, body));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    answer.unwrap_or_else(|_| panic!("{path} never came right: {last:?}"))
}

pub(crate) fn event(n: u64) -> Value {
    json!({ "eventType": "Added", "eventData": { "n": n }, "eventId": uuid::Uuid::from_u64_pair(1, n) })
}

/// A feed of Server-Sent Events, asked for again with the last id whenever it ends, as browsers do.
pub(crate) struct Feed<'a> {
    service: &'a TestService,
    path: String,
    last: Option<String>,
    response: Option<reqwest::Response>,
    text: String,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(service: &'a TestService, path: &str) -> Self {
        Self { service, path: path.to_owned(), last: None, response: None, text: String::new() }
    }

    /// The data of the next event.
    pub(crate) async fn next(&mut self) -> Value {
        tokio::time::timeout(PATIENCE, self.wait()).await.expect("an event")
    }

    async fn wait(&mut self) -> Value {
        loop {
            while let Some((frame, rest)) = self.text.split_once("\n\n") {
                let of = |field: &str| frame.lines().find_map(|l| l.strip_prefix(field)).map(str::to_owned);
                let (id, data, error) =
                    (of("id: "), of("data: "), of("event: ").is_some_and(|e| e == "error"));
                self.text = rest.to_owned();
                self.last = id.or(self.last.take());
                match data {
                    Some(data) if !error => return serde_json::from_str(&data).unwrap(),
                    _ => {}
                }
            }
            if let Some(response) = &mut self.response
                && let Ok(Some(chunk)) = response.chunk().await
            {
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
                continue;
            }
            self.text.clear();
            let mut request = self.service.get(&self.path);
            if let Some(last) = &self.last {
                request = request.header("last-event-id", last);
            }
            self.response = request.send().await.ok().filter(|r| r.status() == 200);
            if self.response.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
