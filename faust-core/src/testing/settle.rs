//! Running the workers of a driver until they are idle.

use crate::transport::memory::MemoryCluster;
use crate::worker::Worker;

/// Number of scheduler turns without activity after which a driver counts as idle: more than any chain of wake-ups in
/// the engine takes.
const QUIET_TURNS: u32 = 40;

/// Runs all tasks until there has been no activity for [`QUIET_TURNS`] turns, and nothing is left to write to stores.
pub(super) async fn settle(cluster: &MemoryCluster, workers: &[&Worker]) {
    let mut seen = cluster.activity();
    let mut quiet = 0;
    while quiet < QUIET_TURNS {
        // The runtime is never idle while this task yields, so the paused clock does not advance.
        tokio::task::yield_now().await;
        let now = cluster.activity();
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
        if quiet == QUIET_TURNS && step_stores(workers) {
            quiet = 0;
        }
    }
}

/// Number of requests in a row that publish nothing after which the messages wait for time to pass: the commits of a worker that the
/// group has expelled fail. Each moves the ends of logs, which other workers commit, so that the number of commits proves nothing.
pub(super) const VAIN_REQUESTS: u32 = 10;

/// Requests commits of the messages that wait for one. Returns the number of groups that have any.
pub(super) fn commit_outputs(workers: &[&Worker]) -> u64 {
    workers.iter().map(|worker| worker.commit_outputs()).sum()
}

/// Writes to the stores of all workers. Returns whether anything was written.
pub(super) fn step_stores(workers: &[&Worker]) -> bool {
    workers.iter().fold(false, |wrote, worker| worker.step_stores() | wrote)
}
