//! The command line, as the shell sees it: the real binary, its exit code, its lines.
#![expect(clippy::unwrap_used, reason = "a test's helpers may panic")]

use std::process::{Command, Output};

fn penguin_pool(directory: &std::path::Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penguin-pool"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(directory)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn config_prints_what_is_in_force_and_why() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("env.dev"), "WS_PORT=4444\n").unwrap();
    let output = penguin_pool(dir.path(), &[("HTTP_PORT", "8080")], &["config"]);
    assert!(output.status.success());
    let lines: Vec<Vec<&str>> = text(&output.stdout)
        .lines()
        .map(|l| l.split("  ").filter(|w| !w.is_empty()).map(str::trim).collect())
        .collect();
    assert!(lines.contains(&vec!["HTTP_PORT", "8080", "(the environment)"]));
    assert!(lines.contains(&vec!["WS_PORT", "4444", "(env.dev)"]));
    assert!(lines.contains(&vec!["KURRENTDB_PASSWORD", "********", "(the default)"]));
    assert!(output.stderr.is_empty());
}

#[test]
fn config_speaks_json_too() {
    let dir = tempfile::tempdir().unwrap();
    let output = penguin_pool(dir.path(), &[("NODE_ENV", "test")], &["config", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["environment"], "test");
    let port = json["settings"].as_array().unwrap().iter().find(|s| s["name"] == "HTTP_PORT").unwrap();
    assert_eq!(port["value"], "3001");
    assert_eq!(port["from"], "the default");
}

#[test]
fn a_bad_setting_is_one_line_on_stderr_and_code_3() {
    let dir = tempfile::tempdir().unwrap();
    let output = penguin_pool(dir.path(), &[("HTTP_PORT", "99999")], &["config"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        text(&output.stderr),
        "penguin-pool: HTTP_PORT: '99999' (from the environment) is no port; write a port from 0 (any free one) to \
         65535\n"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_wrong_command_line_is_code_2() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(penguin_pool(dir.path(), &[], &["sevre"]).status.code(), Some(2));
    assert_eq!(penguin_pool(dir.path(), &[], &["--prot", "1"]).status.code(), Some(2));
}

#[test]
fn help_names_every_setting_and_the_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let output = penguin_pool(dir.path(), &[], &["--help"]);
    assert!(output.status.success());
    for setting in penguin_pool::config::Settings::TABLE {
        assert!(text(&output.stdout).contains(&format!("\n  {}\n", setting.name)), "{}", setting.name);
    }
    assert!(text(&output.stdout).contains("Exit codes:"));
    let version = penguin_pool(dir.path(), &[], &["--version"]);
    assert_eq!(text(&version.stdout), concat!("penguin-pool ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn accounts_and_keys_are_managed_on_the_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| penguin_pool(dir.path(), &[("DATA_DIR", "data")], arguments);
    let added = run(&["user", "add", "ada", "--role", "admin", "--full-name", "Ada L."]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    assert!(text(&added.stdout).contains("\npassword: "), "{}", text(&added.stdout));
    assert!(run(&["user", "add", "bob"]).status.success());
    let twice = run(&["user", "add", "bob"]);
    assert_eq!(twice.status.code(), Some(1));
    assert_eq!(text(&twice.stderr), "penguin-pool: User 'bob' already exists.\n");
    let key = run(&["key", "add", "bob", "--label", "nightly", "--days", "0"]);
    let id = text(&key.stdout).split('_').nth(1).unwrap().to_owned();
    assert!(text(&key.stdout).starts_with("pp_"));
    assert_eq!(run(&["key", "add", "bob", "--scope", "admin"]).status.code(), Some(1), "bob is no admin");
    assert_eq!(text(&run(&["key", "ls"]).stdout), format!("{id}\tbob\tread\tnever ends\tnightly\n"));
    assert!(run(&["user", "disable", "bob"]).status.success());
    assert_eq!(text(&run(&["user", "ls"]).stdout), "ada\tenabled\tadmin\tAda L.\nbob\tdisabled\t\t\n");
    assert!(run(&["key", "rm", &id]).status.success());
    assert!(run(&["key", "add", "bob"]).status.success());
    let passwd = run(&["user", "passwd", "bob"]);
    assert!(text(&passwd.stdout).starts_with("The account 'bob' has another password\npassword: "));
    assert!(!run(&["key", "ls"]).stdout.is_empty(), "keys stay");
    let passwd = run(&["user", "passwd", "bob", "--revoke-keys"]);
    let told = "The account 'bob' has another password, and its API keys are revoked\n";
    assert!(text(&passwd.stdout).starts_with(told), "{}", text(&passwd.stdout));
    assert!(run(&["key", "ls"]).stdout.is_empty());
    assert!(run(&["user", "rm", "bob"]).status.success());
    assert_eq!(run(&["user", "rm", "bob"]).status.code(), Some(1));
    assert_eq!(text(&run(&["user", "ls"]).stdout), "ada\tenabled\tadmin\tAda L.\n");
    assert!(run(&["key", "ls"]).stdout.is_empty());
}

#[test]
fn a_password_comes_from_stdin_and_accounts_need_a_directory() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let add = |name: &str, password: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_penguin-pool"))
            .args(["user", "add", name, "--password-stdin"])
            .env_clear()
            .current_dir(dir.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let added = add("bob", "correct horse\n");
    assert_eq!(text(&added.stdout), "The account 'bob' was made\n", "what is known already is not printed");
    let short = add("eve", "short\n");
    assert_eq!(text(&short.stderr), "penguin-pool: A password has at least 8 characters\n");
    let nowhere = penguin_pool(dir.path(), &[("DATA_DIR", ":memory:")], &["user", "ls"]);
    assert_eq!(nowhere.status.code(), Some(5));
    let store =
        event_store_embedded::Engine::open(event_store_embedded::Options::at(dir.path().join("data")))
            .unwrap();
    let busy = penguin_pool(dir.path(), &[], &["user", "ls"]);
    assert_eq!(busy.status.code(), Some(5));
    assert!(text(&busy.stderr).contains("is in use by another process"), "{}", text(&busy.stderr));
    drop(store);
}
