//! Whether the brokers are there: told once per change, with librdkafka's own log lines at levels that fit.

use std::sync::atomic::{AtomicU8, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tracing::{debug, trace, warn};

/// What is known of the brokers.
#[derive(Debug, Default)]
pub(super) struct Connection(AtomicU8);

const UNKNOWN: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

impl Connection {
    /// Notes that a broker has answered; whether that is news.
    pub(super) fn came_up(&self) -> bool {
        self.0.swap(UP, Ordering::Relaxed) != UP
    }

    /// Notes that no broker answers; whether that is news.
    pub(super) fn went_down(&self) -> bool {
        self.0.swap(DOWN, Ordering::Relaxed) != DOWN
    }

    /// Whether a broker has answered since the last fault.
    pub(super) fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == UP
    }

    /// Whether no broker has ever answered or failed to.
    pub(super) fn is_unknown(&self) -> bool {
        self.0.load(Ordering::Relaxed) == UNKNOWN
    }

    /// Whether the brokers are known to be away.
    pub(super) fn is_down(&self) -> bool {
        self.0.load(Ordering::Relaxed) == DOWN
    }
}

/// Writes one of librdkafka's own log lines. It repeats a failed connection every second or so, so only what nobody
/// else tells is a warning.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        _ if matches!(facility, "FAIL" | "ERROR" | "CONFWARN" | "DISCONNECT" | "GETPID") => {
            debug!(target: "faust::kafka", "{facility} {line}")
        }
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => {
            warn!(target: "faust::kafka", "{facility} {line}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => debug!(target: "faust::kafka", "{facility} {line}"),
        RDKafkaLogLevel::Debug => trace!(target: "faust::kafka", "{facility} {line}"),
    }
}

/// The context of clients whose connection nobody waits on: look-ups and readers.
#[derive(Debug, Default)]
pub(super) struct Bystander;

impl ClientContext for Bystander {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "faust::kafka", "{error}: {reason}");
    }
}

impl ConsumerContext for Bystander {}

/// Whether `error` says that no broker can be reached.
pub(super) fn means_down(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_news() {
        let connection = Connection::default();
        assert!(connection.is_unknown());
        assert_eq!((connection.went_down(), connection.went_down()), (true, false));
        assert_eq!((connection.came_up(), connection.came_up(), connection.is_up()), (true, false, true));
    }
}
