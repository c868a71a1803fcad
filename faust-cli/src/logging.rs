//! Log lines on standard error: for people, or one JSON object each.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{Global, LogFormat, LogLevel};
use crate::output::LogLine;

/// Starts logging, unless the program has installed a subscriber of its own: then that one wins. Returns, for the
/// start-up table, where the log goes.
pub(crate) fn install(global: &Global, worker: bool) -> String {
    let layer = match global.log_format {
        LogFormat::Json => None,
        LogFormat::Pretty => {
            let colour =
                io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            Some(fmt::layer().with_writer(|| LogLine).with_ansi(colour).with_target(false).compact())
        }
    };
    let json = layer.is_none().then(|| fmt::layer().json().flatten_event(true).with_writer(|| LogLine));
    let filter = filter(global, worker);
    let level = filter.max_level_hint().map_or("by RUST_LOG".to_owned(), |level| level.to_string());
    match tracing_subscriber::registry().with(filter).with(layer).with(json).try_init() {
        Ok(()) => format!("-stderr- ({level})"),
        Err(_) => "by the program's own subscriber".to_owned(),
    }
}

/// A level on the command line wins over RUST_LOG, which can say more.
fn filter(global: &Global, worker: bool) -> EnvFilter {
    let usual = match (global.quiet, worker) {
        (true, _) => LogLevel::Error,
        (false, true) => LogLevel::Info,
        (false, false) => LogLevel::Warn,
    };
    match (global.loglevel, std::env::var("RUST_LOG")) {
        (None, Ok(directives)) if !directives.is_empty() => EnvFilter::new(directives),
        (level, _) => EnvFilter::new(directives(level.unwrap_or(usual))),
    }
}

/// librdkafka speaks of its own affairs one level too loudly.
fn directives(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Crit | LogLevel::Error => "error",
        LogLevel::Warn => "warn,librdkafka=error,rdkafka=error",
        LogLevel::Info => "info,librdkafka=warn,rdkafka=warn",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}
