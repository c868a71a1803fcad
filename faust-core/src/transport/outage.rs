//! The cause of an outage, for reports about waiting.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// The brokers' address, and the last error of a connection to them since a broker has answered.
///
/// Requests to unavailable brokers end in timeouts, which do not show the reason.
#[derive(Debug)]
pub struct Outage {
    address: String,
    cause: Mutex<Option<String>>,
}

impl Outage {
    /// Creates the state of a connection that has not failed so far.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), cause: Mutex::default() }
    }

    /// Returns the last error since a broker has answered, if there was one.
    pub fn cause(&self) -> Option<String> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records the error of a connection.
    pub(super) fn failed(&self, cause: &str) {
        // librdkafka appends how long the connection took, and how often the error was repeated.
        let cause = cause.split(" (after ").next().unwrap_or(cause);
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause.to_owned());
    }

    /// Records that a broker has answered.
    pub(super) fn answered(&self) {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Formats the address and the cause.
impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)?;
        let Some(cause) = self.cause() else { return Ok(()) };
        // librdkafka begins with the broker, as `host:port/id` or `host:port/bootstrap`.
        let why = match cause.split_once(": ") {
            Some((broker, why)) if broker.split('/').next() == Some(&self.address) => why,
            _ => &cause,
        };
        write!(f, ": {why}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cause_is_shown_once_with_its_address_until_a_broker_answers() {
        let outage = Outage::new("a:1");
        assert_eq!(outage.to_string(), "a:1");
        outage.failed(
            "a:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
        );
        assert_eq!(outage.to_string(), "a:1: Connect to ipv4#127.0.0.1:1 failed: Connection refused");
        outage.failed("b:2/7: Disconnected");
        assert_eq!(outage.to_string(), "a:1: b:2/7: Disconnected");
        outage.answered();
        assert_eq!(outage.to_string(), "a:1");
    }
}
