//! The command line.

use crate::config::{self, Config};
use clap::{Parser, Subcommand};
use std::{io::Write as _, process::ExitCode};

/// Why the program ends with a failure: the code it ends with, and one line for each reason.
///
/// The codes are part of the command line's contract: scripts and service managers decide by them.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: FailureCode,
    /// What to tell the caller, on stderr.
    pub message: String,
}

/// The exit codes of failures. 0 is success, and 2 a wrong command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FailureCode {
    /// Something failed that none of the others names.
    Other = 1,
    /// A setting cannot be used.
    Settings = 3,
    /// The address cannot be bound: the port is taken, or not allowed, or the address is not this machine's.
    Address = 4,
    /// The data directory cannot be used: it is in use, not writable, or damaged.
    Data = 5,
}

impl From<config::Refusal> for Failure {
    fn from(refusal: config::Refusal) -> Self {
        Self { code: FailureCode::Settings, message: refusal.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { code: FailureCode::Other, message: error.to_string() }
    }
}

/// The backend of the Penguin Pool lending app: event streams over HTTP, safe on disk.
#[derive(Debug, Parser)]
#[command(name = "penguin-pool", version, about, after_help = EXAMPLES, after_long_help = long_help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the settings in force and where each came from; secrets are masked.
    ///
    /// Nothing is started. A setting that cannot be used is reported as it would be at start.
    Config {
        /// As JSON, for programs.
        #[arg(long, conflicts_with_all = ["markdown", "example"])]
        json: bool,
        /// Every setting as the README's table, whatever is in force.
        #[arg(long, conflicts_with = "example")]
        markdown: bool,
        /// Every setting as `.env.example`, whatever is in force.
        #[arg(long)]
        example: bool,
    },
}

const EXAMPLES: &str = "\
Examples:
  penguin-pool config                      What is in force, and why
  HTTP_PORT=8080 penguin-pool config       The environment wins over every file
  penguin-pool config --json | jq          The same for programs

Exit codes:
  0 success   1 failure   2 wrong command line   3 a setting cannot be used
  4 the address cannot be bound   5 the data directory cannot be used";

fn long_help() -> String {
    format!("{EXAMPLES}\n\n{}", config::help_section())
}

/// Runs the program on the process's arguments. What goes wrong is said on stderr, a line for each reason.
#[must_use]
pub fn run() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut stderr = std::io::stderr().lock();
            for line in failure.message.lines() {
                // Nobody is left to tell if stderr is gone.
                let _ = writeln!(stderr, "penguin-pool: {line}");
            }
            ExitCode::from(failure.code as u8)
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Config { markdown: true, .. } => print(&config::markdown_table()),
        Command::Config { example: true, .. } => print(&config::env_example()),
        Command::Config { json, .. } => {
            let config = Config::load()?;
            for warning in &config.warnings {
                writeln!(std::io::stderr(), "penguin-pool: warning: {warning}")?;
            }
            if json { print(&format!("{:#}\n", config.to_json())) } else { print(&config.to_text()) }
        }
    }
}

/// Prints to stdout. A reader that went away (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
