//! Waiting for a condition, instead of sleeping for a fixed time.

use std::time::{Duration, Instant};

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
