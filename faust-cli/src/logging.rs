//! Log lines on standard error, as text or as JSON objects.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::global::{Global, LogFormat, LogLevel};
use crate::output::LogLine;

/// Installs the `tracing` subscriber, unless the program has installed its own, which is then kept. Returns the
/// destination and level of the log, for the start-up table.
pub(crate) fn install(global: &Global, worker: bool) -> String {
    let layer = match global.log_format {
        LogFormat::Json => None,
        LogFormat::Pretty => {
            let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            Some(fmt::layer().with_writer(|| LogLine).with_ansi(color).with_target(false).compact())
        }
    };
    let json = layer.is_none().then(|| fmt::layer().json().flatten_event(true).with_writer(|| LogLine));
    let filter = filter(global, worker);
    let level = filter.max_level_hint().map_or("set by RUST_LOG".to_owned(), |level| level.to_string());
    match tracing_subscriber::registry().with(filter).with(layer).with(json).try_init() {
        Ok(()) => format!("-stderr- ({level})"),
        Err(_) => "the program's own subscriber".to_owned(),
    }
}

/// Returns the filter of log lines. A level on the command line takes precedence over RUST_LOG, which can set levels
/// by module.
fn filter(global: &Global, worker: bool) -> EnvFilter {
    let default = match (global.quiet, worker) {
        (true, _) => LogLevel::Error,
        (false, true) => LogLevel::Info,
        (false, false) => LogLevel::Warn,
    };
    match (global.loglevel, std::env::var("RUST_LOG")) {
        (None, Ok(directives)) if !directives.is_empty() => EnvFilter::new(directives),
        (level, _) => EnvFilter::new(directives(level.unwrap_or(default))),
    }
}

/// Returns the filter directives for a level. librdkafka logs its internals one level too high, so fewer of its lines
/// are shown.
fn directives(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Crit | LogLevel::Error => "error",
        LogLevel::Warn => "warn,librdkafka=error,rdkafka=error",
        LogLevel::Info => "info,librdkafka=warn,rdkafka=warn",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}
