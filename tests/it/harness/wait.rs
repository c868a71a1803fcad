//! Waiting for a condition, instead of sleeping and hoping.

use std::time::{Duration, Instant};

/// Long enough for anything that happens at all, on a machine that is busy with other things.
pub(crate) const LONG: Duration = Duration::from_secs(180);

/// Looks every few milliseconds until the condition holds; a panic that names `what` if it does not within `deadline`.
pub(crate) async fn wait_for(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < deadline, "waited {deadline:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
