//! The key store beside a data directory: wrong, lost, and older than the events.

use penguin_pool::{
    config::{Config, Inputs},
    key_store,
};
use serde_json::{Value, json};
use std::{path::Path, process::Command};
use test_support::TestService;

const KEY: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const OTHER: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

async fn ask(service: &TestService, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = service.client.request(method.parse().unwrap(), format!("{}{path}", service.url));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn put(service: &TestService, path: &str, data: Value) {
    let (status, body) = ask(service, "PUT", path, Some(json!({ "data": data }))).await;
    assert_eq!(status, 200, "{body}");
}

fn settings(data: &Path, key: &str) -> penguin_pool::config::Settings {
    let variables = [("NODE_ENV", "test"), ("DATA_DIR", data.to_str().unwrap()), ("ENCRYPTION_KEY", key)];
    let variables = variables.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    Config::from_inputs(&Inputs { variables, directory: None }).unwrap().settings
}

/// Runs the program on a data directory and a key; its exit code and what it said on stderr.
fn run(data: &Path, key: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_penguin-pool"))
        .args(arguments)
        .env_clear()
        .envs([("NODE_ENV", "test"), ("HTTP_PORT", "0"), ("WS_PORT", "0"), ("KURRENTDB_PORT", "off")])
        .envs([("DATA_DIR", data.to_str().unwrap()), ("ENCRYPTION_KEY", key)])
        .current_dir(data.parent().unwrap())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_wrong_key_stops_the_start_and_changes_nothing_and_a_new_one_takes_the_place_of_the_old() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let kept = directory.path().join("data.keys");
    let keys = key_store::open(&settings(&data, KEY)).await.unwrap();
    assert!(!kept.exists());
    keys.for_writing("bob").await.unwrap().unwrap();
    assert!(run(&data, KEY, &["keys", "rotate"]).1.contains("in use by another process"));
    drop(keys);
    let before = std::fs::read_to_string(&kept).unwrap();

    for (key, line) in [
        (OTHER, "ENCRYPTION_KEY: none of its keys is the one"),
        ("", "ENCRYPTION_KEY: it is not set, and the key store holds keys of users (1)"),
        ("abc", "ENCRYPTION_KEY: key 1 of the ring is not 32 bytes"),
    ] {
        let (code, said) = run(&data, key, &["serve"]);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains(line) && (key.is_empty() || !said.contains(key)), "{said}");
    }
    assert!(!data.exists(), "not even the directory was made");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), before);

    let (code, said) = run(&data, &format!("{OTHER},{KEY}"), &["keys", "rotate"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!data.exists(), "no trail is kept, and no store is opened");
    assert!(
        key_store::open(&settings(&data, KEY)).await.unwrap_err().to_string().starts_with("ENCRYPTION_KEY")
    );
    let keys = key_store::open(&settings(&data, OTHER)).await.unwrap();
    assert!(keys.for_reading("bob").await.unwrap().is_some());
}

#[test]
fn a_key_store_that_cannot_be_written_stops_the_start_and_not_the_first_user() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_penguin-pool"))
        .env_clear()
        .envs([("NODE_ENV", "test"), ("HTTP_PORT", "0"), ("WS_PORT", "0"), ("KURRENTDB_PORT", "off")])
        .envs([("DATA_DIR", ":memory:"), ("ENCRYPTION_KEY", KEY)])
        .env("KEY_STORE", file.join("users.keys"))
        .current_dir(directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("KEY_STORE: the key store") && said.contains("cannot be used"), "{said}");
}

/// The whole way of an operator who lost the key store, on a service that is started again and again.
#[tokio::test]
async fn a_lost_key_store_stops_the_start_and_what_it_encrypted_is_given_up_only_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let kept = directory.path().join("data.keys");
    let start =
        || TestService::builder().set("DATA_DIR", data.to_str().unwrap()).set("ENCRYPTION_KEY", KEY).start();
    let profile = "/api/users/bob/profile";
    let service = start().await;
    #[cfg(unix)]
    for private in [&data, &kept] {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(private).unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "others get at {}", private.display());
    }
    put(&service, profile, json!({ "bio": "first" })).await;
    let older = std::fs::read_to_string(&kept).unwrap();
    put(&service, "/api/users/eve/profile", json!({ "bio": "hers" })).await;
    service.stop().await;
    let newest = std::fs::read_to_string(&kept).unwrap();

    for (there, users, first) in [(None, 2, "bob"), (Some(&older), 1, "eve")] {
        std::fs::remove_file(&kept).unwrap();
        if let Some(text) = there {
            std::fs::write(&kept, text).unwrap();
        }
        let (code, said) = run(&data, KEY, &["serve"]);
        assert_eq!(code, Some(3), "{said}");
        let line = format!(
            "KEY_STORE: it does not hold the keys that encrypt the events of users ({users}, the first is '{first}')"
        );
        assert!(said.contains(&line) && said.contains("penguin-pool keys accept-loss"), "{said}");
        if there.is_none() {
            assert!(!kept.exists(), "no other is begun in its place");
            // The next round takes the file away again.
            std::fs::write(&kept, "").unwrap();
        }
    }
    std::fs::write(&kept, &newest).unwrap();
    let service = start().await;
    assert_eq!(ask(&service, "GET", "/api/users/eve/profile", None).await.1["data"]["data"]["bio"], "hers");
    service.stop().await;
    assert_eq!(
        run(&data, KEY, &["keys", "accept-loss"]).0,
        Some(0),
        "nothing is lost, and nothing is given up"
    );

    // Eve's key is lost for good: she begins anew, and bob has what he had.
    std::fs::write(&kept, &older).unwrap();
    let (code, said) = run(&data, KEY, &["keys", "accept-loss"]);
    assert_eq!((code, said.as_str()), (Some(0), "given up: user-eve-profile\n"));
    let service = start().await;
    assert_eq!(ask(&service, "GET", profile, None).await.1["data"]["data"]["bio"], "first");
    assert_eq!(ask(&service, "GET", "/api/users/eve/profile", None).await.0, 404);
    put(&service, "/api/users/eve/profile", json!({ "bio": "again" })).await;
    assert_eq!(ask(&service, "GET", "/api/users/eve/profile", None).await.1["data"]["data"]["bio"], "again");

    // Bob is erased, which an older copy of the key store does not undo.
    assert_eq!(ask(&service, "DELETE", "/api/users/bob", None).await.0, 200);
    service.stop().await;
    let now = std::fs::read_to_string(&kept).unwrap();
    let bobs = older.lines().nth(1).unwrap();
    let brought_back: Vec<_> =
        now.lines().map(|line| if line.contains("\"bob\"") { bobs } else { line }).collect();
    std::fs::write(&kept, brought_back.join("\n") + "\n").unwrap();
    let service = start().await;
    assert_eq!(ask(&service, "GET", profile, None).await.0, 410);
    service.stop().await;
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), now);
}
