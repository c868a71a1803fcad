//! Waiting for a condition, instead of sleeping for a fixed time.

use std::time::{Duration, Instant};

use faust::transport::TransportError;

/// A timeout that is long enough on a busy machine for everything that happens at all.
pub(crate) const LONG: Duration = Duration::from_secs(180);

/// Checks the condition every few milliseconds until it holds. Panics with `what` if it does not hold within
/// `deadline`.
pub(crate) async fn wait_for(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < deadline, "timed out after {deadline:?} waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks the broker until it answers. A broker that has just started, or has much to do, may refuse for a while, for example
/// because it moves the coordinator of a group.
pub(crate) async fn answer<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, TransportError>) -> T {
    let began = Instant::now();
    loop {
        match ask().await {
            Err(error) if error.is_retriable() && began.elapsed() < LONG => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            answered => return answered.unwrap_or_else(|error| panic!("{what}: {error}")),
        }
    }
}
