//! The cause of an outage, for reports about waiting.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// The brokers' address, and the last error of a connection to them since a broker has answered.
///
/// Requests to unavailable brokers end in timeouts, which do not show the reason.
#[derive(Debug)]
pub struct Outage {
    address: String,
    cause: Mutex<Option<String>>,
    /// Notified when a connection has failed.
    failed: Notify,
}

impl Outage {
    /// Creates the state of a connection that has not failed so far.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), cause: Mutex::default(), failed: Notify::new() }
    }

    /// Returns the last error since a broker has answered, if there was one.
    pub fn cause(&self) -> Option<String> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the advice that fits the last error, if there was one.
    pub fn advice(&self) -> Option<&'static str> {
        let cause = self.cause()?.to_lowercase();
        let mentions = |words: &[&str]| words.iter().any(|word| cause.contains(word));
        Some(if mentions(&["ssl", "sasl", "authentication"]) {
            "check `broker_security_protocol` and the settings for it"
        } else if mentions(&["resolve"]) {
            "set `broker` (FAUST_BROKER=host:port) to the address of a broker"
        } else {
            "start the broker, or set `broker` (FAUST_BROKER=host:port) to the address of another"
        })
    }

    /// Waits until a connection has failed, unless one has failed since a broker has answered.
    pub(super) async fn failure(&self) {
        loop {
            // Created before the check, so that no failure in between is missed.
            let failed = self.failed.notified();
            if self.cause().is_some() {
                return;
            }
            failed.await;
        }
    }

    /// Records the error of a connection.
    pub(super) fn failed(&self, cause: &str) {
        // librdkafka appends how long the connection took, and how often the error was repeated.
        let cause = cause.split(" (after ").next().unwrap_or(cause);
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause.to_owned());
        self.failed.notify_waiters();
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
        assert_eq!((outage.to_string(), outage.advice()), ("a:1".to_owned(), None));
    }

    #[test]
    fn the_advice_fits_the_cause() {
        let advice = |cause: &str| {
            let outage = Outage::new("a:1");
            outage.failed(cause);
            outage.advice().unwrap_or_default()
        };
        assert!(advice("a:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused").contains("start"));
        assert!(
            advice("x:1/bootstrap: Failed to resolve 'x:1': Name or service not known").starts_with("set `broker`")
        );
        assert!(advice("a:1/bootstrap: SSL handshake failed: Disconnected").contains("`broker_security_protocol`"));
    }
}
