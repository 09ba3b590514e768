//! The binary.

fn main() -> std::process::ExitCode {
    penguin_pool::cli::run()
}
