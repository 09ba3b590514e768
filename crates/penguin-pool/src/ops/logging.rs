//! The log: to stdout, by `tracing`.

use crate::config::{LogFilter, LogFormat};
use std::io::IsTerminal as _;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Begins to log. Only the first call of a process counts.
pub fn init(filter: &LogFilter, format: LogFormat) {
    let filter = EnvFilter::new(filter.as_str());
    let registry = tracing_subscriber::registry().with(filter);
    let begun = match format {
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false),
            )
            .try_init(),
        LogFormat::Pretty => registry
            .with(tracing_subscriber::fmt::layer().with_ansi(std::io::stdout().is_terminal()))
            .try_init(),
    };
    if begun.is_err() {
        tracing::debug!("the log was begun before");
    }
}
