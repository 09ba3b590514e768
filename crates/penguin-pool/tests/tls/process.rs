//! The binary: what it says where TLS is on, and how it refuses a pair that is no good.

use crate::bed::{Files, client, pair};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A port that was free a moment ago.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

fn command(directory: &Path, files: &Files) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penguin-pool"));
    command.env_clear().current_dir(directory);
    command.envs([("HTTP_PORT", "0"), ("WS_PORT", "0"), ("DATA_DIR", ":memory:")]);
    command.env("KURRENTDB_PORT", free_port());
    command.envs([("LOG_FORMAT", "json"), ("UPTIME_WATCH", "false")]);
    command.env("TLS_CERT", files.certificate()).env("TLS_KEY", files.key());
    command
}

/// A process that ends with the test, however that ends.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn it_says_where_it_is_by_tls() {
    let (pair, directory) = (pair(), tempfile::tempdir().unwrap());
    let files = Files::with(&pair);
    let mut process = Ends(command(directory.path(), &files).stdout(Stdio::piped()).spawn().unwrap());
    let log = BufReader::new(process.0.stdout.take().unwrap());
    let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let ready = lines.find(|line| line["message"] == "penguin-pool is ready").expect("it was never ready");
    let url = ready["url"].as_str().unwrap();
    assert!(url.starts_with("https://"), "{ready}");
    assert!(ready["kurrentdb"].as_str().unwrap().ends_with("?tls=true"), "{ready}");
    let response = client(&pair).get(format!("{url}/health")).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[test]
fn a_pair_that_is_no_good_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let files = Files::with(&pair());
    std::fs::write(files.key(), pair().signing_key.serialize_pem()).unwrap();
    let output = command(directory.path(), &files).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("penguin-pool: TLS_KEY: ") && said.contains("is not the key of"), "{said}");
}
