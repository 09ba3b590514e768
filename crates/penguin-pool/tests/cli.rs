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
