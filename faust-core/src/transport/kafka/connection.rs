//! Tracking of whether the brokers are available, which is reported once per change, and logging of librdkafka's own
//! log lines at suitable levels.

use std::sync::atomic::{AtomicU8, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tracing::{debug, info, trace, warn};

/// The last known availability of the brokers.
#[derive(Debug, Default)]
pub(super) struct ConnectionWatch(AtomicU8);

const UNKNOWN: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

impl ConnectionWatch {
    /// Records that a broker has responded, and returns whether this is a change.
    pub(super) fn came_up(&self) -> bool {
        self.0.swap(UP, Ordering::Relaxed) != UP
    }

    /// Records that no broker is available, and returns whether this is a change.
    pub(super) fn went_down(&self) -> bool {
        self.0.swap(DOWN, Ordering::Relaxed) != DOWN
    }

    /// Records that a connection has failed, although a broker may still be available: its next response is a change.
    pub(super) fn doubt(&self) {
        // Only a known availability is in doubt.
        self.0.compare_exchange(UP, UNKNOWN, Ordering::Relaxed, Ordering::Relaxed).ok();
    }

    /// Returns whether a broker has responded since the last failure.
    pub(super) fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == UP
    }

    /// Returns whether the brokers have neither responded nor failed to respond so far.
    pub(super) fn is_unknown(&self) -> bool {
        self.0.load(Ordering::Relaxed) == UNKNOWN
    }

    /// Returns whether the brokers are known to be unavailable.
    pub(super) fn is_down(&self) -> bool {
        self.0.load(Ordering::Relaxed) == DOWN
    }
}

/// Logs one of librdkafka's own log lines. librdkafka repeats a failed connection about every second, so facilities
/// that are reported elsewhere are logged at debug level.
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

/// Logs the statistics that a client reports at `statistics.interval.ms`, as librdkafka writes them (JSON).
pub(super) fn log_statistics(json: &[u8]) {
    info!(target: "faust::kafka::statistics", "{}", String::from_utf8_lossy(json));
}

/// The context of clients whose availability is not tracked: lookups and readers.
#[derive(Debug, Default)]
pub(super) struct NoListener;

impl ClientContext for NoListener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "faust::kafka", "{error}: {reason}");
    }
}

impl ConsumerContext for NoListener {}

/// Returns whether `error` means that no broker can be reached.
pub(super) fn means_down(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_reported() {
        let connection = ConnectionWatch::default();
        assert!(connection.is_unknown());
        assert_eq!((connection.went_down(), connection.went_down()), (true, false));
        assert_eq!((connection.came_up(), connection.came_up(), connection.is_up()), (true, false, true));
        connection.doubt();
        assert_eq!((connection.is_up(), connection.came_up()), (false, true), "a response after a failure is a change");
    }
}
