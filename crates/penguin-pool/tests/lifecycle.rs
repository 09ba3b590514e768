//! The real binary: how it begins, how it refuses to, how it ends. Unix signals are sent by `kill`.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

use event_store::{Clock as _, SystemClock};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

/// Generous: only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(directory: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penguin-pool"));
    command.env_clear().current_dir(directory);
    command.envs([("HTTP_PORT", "0"), ("WS_PORT", "0"), ("KURRENTDB_PORT", "off"), ("DATA_DIR", "data")]);
    command.envs([("LOG_LEVEL", "info"), ("LOG_FORMAT", "json")]);
    // What a process writes about itself is not what these tests count.
    command.env("UPTIME_WATCH", "false");
    command.envs(variables.iter().copied());
    command
}

/// A service in a process of its own.
struct Process {
    child: Child,
    log: BufReader<ChildStdout>,
    /// The line that it said when it was ready.
    ready: Value,
}

impl Process {
    fn start(directory: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child =
            command(directory, variables).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let log = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, log, ready: Value::Null };
        process.ready = process.log_until("penguin-pool is ready");
        process
    }

    /// Reads the log up to a line with this message.
    fn log_until(&mut self, message: &str) -> Value {
        let mut line = String::new();
        while self.log.read_line(&mut line).unwrap() > 0 {
            let entry: Value = serde_json::from_str(&line).unwrap();
            if entry["message"] == message {
                return entry;
            }
            line.clear();
        }
        panic!("the log ended without '{message}'");
    }

    fn url(&self) -> &str {
        self.ready["url"].as_str().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.url().strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    fn wait(self) -> ExitStatus {
        self.wait_and_read().0
    }

    /// How it ended, and what it said until then.
    fn wait_and_read(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that failed leaves nobody behind; one that did not has waited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refused(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty(), "no noise: {}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr.strip_prefix("penguin-pool: ").unwrap().trim_end().to_owned()
}

fn create(stream: &str) -> String {
    json!({ "streamName": stream, "eventType": "LoanRequested", "eventData": { "amount": 5 } }).to_string()
}

#[test]
fn a_service_says_where_it_is_and_ends_cleanly_at_each_signal() {
    for signal in ["TERM", "INT", "HUP"] {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::start(directory.path(), &[]);
        assert_eq!(process.ready["docs"], format!("{}/api/docs", process.url()));
        let data = directory.path().canonicalize().unwrap().join("data");
        assert_eq!(process.ready["data"], data.to_str().unwrap());
        assert!(process.ready["elapsed_ms"].is_u64());
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_signal_ends_a_service_whose_store_takes_long_to_open() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path(), &[]);
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    // Opening waits for this lock for many seconds.
    let index = rusqlite::Connection::open(directory.path().join("data/index.sqlite")).unwrap();
    index.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let mut child = command(directory.path(), &[("LOG_LEVEL", "debug")])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stdout.take().unwrap());
    let mut process = Process { child, log, ready: Value::Null };
    process.log_until("opening the store");
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(143));
}

#[test]
fn a_port_that_is_taken_is_one_line_and_code_4() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let line = refused(&command(directory.path(), &[("HTTP_PORT", &port)]).output().unwrap(), 4);
    assert_eq!(
        line,
        format!(
            "HTTP_PORT: 127.0.0.1:{port} is taken by another program; stop that one, or write another HTTP_PORT"
        )
    );
    assert!(!directory.path().join("data").exists(), "it did not get as far as the data");
    let line =
        refused(&command(directory.path(), &[]).args(["kurrentdb", "--port", &port]).output().unwrap(), 4);
    assert_eq!(
        line,
        format!(
            "--port: 127.0.0.1:{port} is taken by another program; stop that one, or give another port (0 for any that is free)"
        )
    );
    let line = refused(&command(directory.path(), &[("HOST", "192.0.2.1")]).output().unwrap(), 4);
    assert_eq!(
        line,
        "HOST: 192.0.2.1 is no address of this machine; write one that is, or 0.0.0.0 for all of them"
    );
}

#[test]
fn a_data_directory_in_use_is_one_line_and_code_5() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path(), &[]);
    let data = process.ready["data"].as_str().unwrap().to_owned();
    for mut second in [command(directory.path(), &[]), {
        let mut rebuild = command(directory.path(), &[]);
        rebuild.arg("rebuild");
        rebuild
    }] {
        let line = refused(&second.output().unwrap(), 5);
        assert_eq!(
            line,
            format!(
                "DATA_DIR: {data} is in use by another process; stop that one, or write another DATA_DIR"
            )
        );
    }
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_data_directory_that_cannot_be_written_is_one_line_and_code_5() {
    let directory = tempfile::tempdir().unwrap();
    // Not a matter of permissions, which do not bind the superuser that tests often run as.
    std::fs::write(directory.path().join("file"), "").unwrap();
    let line = refused(&command(directory.path(), &[("DATA_DIR", "file/data")]).output().unwrap(), 5);
    assert!(line.starts_with("DATA_DIR: file/data cannot be used: "), "{line}");
    assert!(line.ends_with("; write a directory that can be written"), "{line}");
}

#[test]
fn a_bad_setting_is_one_line_and_code_3() {
    let directory = tempfile::tempdir().unwrap();
    for (name, value) in
        [("HTTP_PORT", "http"), ("EVENT_STORE", "postgres"), ("NODE_ENV", "moon"), ("LOG_FORMAT", "x")]
    {
        let line = refused(&command(directory.path(), &[(name, value)]).output().unwrap(), 3);
        assert!(line.starts_with(&format!("{name}: ")), "{line}");
    }
    std::fs::write(directory.path().join(".env.local"), "REQUEST_TIMEOUT=soon\n").unwrap();
    let line = refused(&command(directory.path(), &[]).output().unwrap(), 3);
    assert_eq!(
        line,
        "REQUEST_TIMEOUT: 'soon' (from .env.local) is no whole number; write milliseconds from 1 to 3600000"
    );
}

#[test]
fn a_request_under_way_is_answered_and_kept_before_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path(), &[]);
    let mut slow = process.connect();
    let body = create("loans-1");
    let (first, rest) = body.split_at(10);
    write!(
        slow,
        "POST /api/streams/create HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         expect: 100-continue\r\n\r\n",
        body.len()
    )
    .unwrap();
    // The service asks for the body once a handler wants it: from then on the request is under way.
    let mut answer = BufReader::new(slow.try_clone().unwrap());
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    slow.write_all(first.as_bytes()).unwrap();
    process.signal("TERM");
    // When no more connections are taken, the service is draining.
    let from = SystemClock.monotonic();
    while TcpStream::connect(process.url().strip_prefix("http://").unwrap()).is_ok() {
        assert!(SystemClock.monotonic() - from < PATIENCE, "the listener never closed");
        std::thread::yield_now();
    }
    slow.write_all(rest.as_bytes()).unwrap();
    let mut whole = String::new();
    answer.read_to_string(&mut whole).unwrap();
    assert!(whole.contains("HTTP/1.1 201 Created"), "{whole}");
    assert_eq!(process.wait().code(), Some(0));
    let again = Process::start(directory.path(), &[]);
    let mut stream = again.connect();
    write!(stream, "GET /api/streams/loans-1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut events = String::new();
    stream.read_to_string(&mut events).unwrap();
    assert!(events.contains("LoanRequested"), "{events}");
}

#[test]
fn a_feed_ends_when_the_service_does() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path(), &[]);
    let mut creating = process.connect();
    let body = create("loans-1");
    write!(
        creating,
        "POST /api/streams/create HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    creating.read_to_string(&mut String::new()).unwrap();
    let mut feed = process.connect();
    write!(feed, "GET /api/streams/loans-1/subscribe?from=0 HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut lines = BufReader::new(feed);
    let mut line = String::new();
    while !line.contains("LoanRequested") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the feed ended early");
    }
    process.signal("TERM");
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the feed's end is a proper one: {rest:?}");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn each_request_is_logged_with_its_id_and_without_its_query() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(directory.path(), &[]);
    let mut stream = process.connect();
    write!(
        stream,
        "GET /api/streams/browse?prefix=hush HTTP/1.1\r\nhost: x\r\nx-request-id: abc-1\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    stream.read_to_string(&mut String::new()).unwrap();
    let entry = process.log_until("answered");
    assert_eq!(entry["span"]["request_id"], "abc-1");
    assert_eq!(
        (&entry["method"], &entry["path"], &entry["status"]),
        (&json!("GET"), &json!("/api/streams/browse"), &json!(200))
    );
    assert!(entry["ms"].is_f64());
    assert!(!entry.to_string().contains("hush"), "{entry}");
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn connections_that_ask_nothing_hold_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path(), &[]);
    let _silent = process.connect();
    let mut idle = process.connect();
    write!(idle, "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = [0; 1024];
    assert!(idle.read(&mut answer).unwrap() > 0);
    process.signal("TERM");
    let (status, log) = process.wait_and_read();
    assert_eq!(status.code(), Some(0));
    assert!(log.contains("\"stopped\"") && !log.contains("cut off"), "{log}");
}

#[test]
fn readiness_fails_first_and_a_second_signal_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(directory.path(), &[("SHUTDOWN_DELAY", "600000")]);
    process.signal("TERM");
    process.log_until("stopping; a second signal ends at once");
    let mut answer = String::new();
    let mut stream = process.connect();
    write!(stream, "GET /health/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("\"status\":\"shutting_down\""), "{answer}");
    process.signal("INT");
    assert_eq!(process.wait().code(), Some(130));
}

#[test]
fn the_catalogue_is_rebuilt_from_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path(), &[]);
    let mut stream = process.connect();
    write!(stream, "GET /health/kurrentdb HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut String::new()).unwrap();
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    let catalogue = directory.path().join("data/catalogue.sqlite");
    std::fs::write(&catalogue, "damaged").unwrap();
    let output = command(directory.path(), &[]).arg("rebuild").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("The catalogue was rebuilt from 4 events in "), "{text}");
    assert!(std::fs::read(&catalogue).unwrap().starts_with(b"SQLite format 3"));
    let nowhere = command(directory.path(), &[("DATA_DIR", "elsewhere")]).arg("rebuild").output().unwrap();
    assert_eq!(
        refused(&nowhere, 5),
        "DATA_DIR: there is no event store to rebuild from; write the directory of one"
    );
}

#[test]
fn a_log_that_lost_events_is_refused_until_a_person_gives_them_up() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start(directory.path(), &[]);
    let mut stream = process.connect();
    write!(stream, "GET /health/kurrentdb HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut String::new()).unwrap();
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    let log = directory.path().join("data/log/segment-00000000.log");
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 10]).unwrap();
    for arguments in [&[][..], &["rebuild"]] {
        let line = refused(&command(directory.path(), &[]).args(arguments).output().unwrap(), 5);
        assert!(
            line.starts_with("DATA_DIR: events that were safe on disk are gone: log/segment-00000000.log"),
            "{line}"
        );
        assert!(line.ends_with("penguin-pool rebuild --accept-loss"), "{line}");
        assert_eq!(std::fs::read(&log).unwrap().len(), bytes.len() - 10, "nothing was touched");
    }
    let output = command(directory.path(), &[]).args(["rebuild", "--accept-loss"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.starts_with("penguin-pool: given up, as asked: events that were safe on disk are gone"),
        "{told}"
    );
    let process = Process::start(directory.path(), &[]);
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn documents_are_written_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let openapi =
        |arguments: &[&str]| command(directory.path(), &[]).arg("openapi").args(arguments).output().unwrap();
    assert!(
        refused(&openapi(&["--check"]), 1).starts_with("openapi: not what the models say: openapi.json, ")
    );
    assert!(openapi(&["--out", "made/here"]).status.success());
    assert!(openapi(&["--out", "made/here", "--check"]).status.success());
    let document = std::fs::read_to_string(directory.path().join("made/here/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    for path in ["/health", "/health/kurrentdb", "/api/status", "/metrics", "/api/streams/create"] {
        assert!(document["paths"].get(path).is_some(), "{path}");
    }
    assert!(document["components"]["schemas"].get("DatabaseHealth").is_some());
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn kurrentdb_s_protocol_is_served_beside_the_api() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let process = Process::start(directory.path(), &[("KURRENTDB_PORT", &port.to_string())]);
    assert_eq!(process.ready["kurrentdb"], format!("kurrentdb://127.0.0.1:{port}?tls=false"));
    let mut node = TcpStream::connect(("127.0.0.1", port)).unwrap();
    node.set_read_timeout(Some(PATIENCE)).unwrap();
    node.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    node.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_taken_kurrentdb_port_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output =
        command(directory.path(), &[("KURRENTDB_PORT", &port.to_string()), ("LOG_LEVEL", "error")]).output();
    let line = refused(&output.unwrap(), 4);
    assert!(line.starts_with(&format!("KURRENTDB_PORT: 127.0.0.1:{port} is taken")), "{line}");
    assert!(line.contains("EVENT_STORE=kurrentdb") && line.contains("KURRENTDB_PORT=off"), "{line}");
}

#[test]
fn where_credentials_are_needed_the_first_start_shows_some_once_and_the_protocol_asks_for_them() {
    let directory = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let variables = [
        ("NODE_ENV", "staging"),
        ("KURRENTDB_PORT", &*port),
        ("KURRENTDB_PASSWORD", "my own"),
        ("HOST", "127.0.0.1"),
        ("SHUTDOWN_DELAY", "0"),
    ];
    let start = || {
        let mut child = command(directory.path(), &variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let log = BufReader::new(child.stdout.take().unwrap());
        let mut process = Process { child, log, ready: Value::Null };
        process.ready = process.log_until("penguin-pool is ready");
        (process, said)
    };
    let (process, mut said) = start();
    let mut lines = [(); 3].map(|()| String::new());
    lines.iter_mut().for_each(|line| _ = said.read_line(line).unwrap());
    let [_, login_name, password] = lines.each_ref().map(|line| line.split_whitespace().last().unwrap());
    assert_eq!(login_name, "admin");
    let ask = |credentials: &str| {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /streams/nobody HTTP/1.1\r\nhost: x\r\n{credentials}connection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_whitespace().nth(1).unwrap().to_owned()
    };
    let basic =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("admin:{password}"));
    assert_eq!(ask(""), "401");
    assert_eq!(
        ask(&format!("authorization: Basic {basic}\r\n")),
        "404",
        "who is known is told that it is not there"
    );
    process.signal("TERM");
    let (status, log) = process.wait_and_read();
    assert_eq!(status.code(), Some(0));
    assert!(!log.contains(password), "the log is kept");
    let (process, mut said) = start();
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "it is shown once");
}

#[test]
fn the_protocol_alone_prints_its_address_and_ends_cleanly() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_penguin-pool"))
        .args(["kurrentdb", "--port", "0", "--data", "events"])
        .env_clear()
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("kurrentdb://").unwrap().strip_suffix("?tls=false").unwrap();
    TcpStream::connect(address).unwrap();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(directory.path().join("events/log").is_dir());
}
