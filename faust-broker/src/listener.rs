//! The network layer of the broker: accepts connections, and reads and answers requests in order.

mod answer;
mod api;
mod connection;
mod endpoint;
mod fault;
mod log_dir;
mod router;
#[cfg(test)]
#[path = "../tests/support/samples.rs"]
mod samples;
mod shape;
mod shared;
mod topic_ids;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time;

use self::connection::Connection;
pub(crate) use self::endpoint::Endpoint;
pub(crate) use self::log_dir::LogDir;
pub(crate) use self::router::{Link, answer};
pub(crate) use self::shared::{Shared, wall_ms};
use crate::core::advice::{TOO_MANY_FILES, advice, is_out_of_files};

/// Interval of the checks for expired sessions, far below any reasonable session timeout.
const TICK: Duration = Duration::from_millis(50);
/// Pause between two steps of compaction, in which requests can lock the broker.
const COMPACT_PAUSE: Duration = Duration::from_millis(1);
/// Delay after a failed accept, for example because the process has no free file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves at most `max_connections` connections at a time until the sender of `stopped` is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    max_connections: usize,
    mut stopped: oneshot::Receiver<()>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot register the listening socket");
            return;
        }
    };
    // Dropping the set closes all connections. Acknowledged writes have been stored by then.
    let mut connections = JoinSet::new();
    let mut tick = time::interval(TICK);
    // The first check is one interval after the start.
    let every = |period: Duration| time::interval_at(time::Instant::now() + period, period);
    let mut clean = every(shared.settings.retention_check);
    let mut expire = every(shared.settings.offsets_check);
    // The first checkpoint is that of the recovery.
    let mut checkpoint = time::interval(shared.settings.checkpoint.max(TICK));
    // Separate tasks, because they may take long and session timeouts must be checked meanwhile.
    let mut upkeep = JoinSet::new();
    upkeep.spawn(compact(Arc::clone(&shared)));
    upkeep.spawn(verify(Arc::clone(&shared)));
    let mut accept_at = time::Instant::now();
    let mut is_failing = false;
    loop {
        let has_room = connections.len() < max_connections;
        if !has_room && !std::mem::replace(&mut is_failing, true) {
            tracing::error!(
                max_connections,
                advice = TOO_MANY_FILES,
                "there are as many connections as the limit of open files permits; other clients have to wait"
            );
        }
        tokio::select! {
            _ = &mut stopped => return,
            _ = tick.tick() => shared.tick(),
            _ = clean.tick() => shared.clean(),
            _ = expire.tick() => shared.expire_offsets(),
            _ = checkpoint.tick() => shared.checkpoint(),
            // Removes closed connections from the set.
            Some(_) = connections.join_next() => {}
            accepted = accept(&listener, accept_at), if has_room => match accepted {
                Ok((stream, peer)) => {
                    is_failing = false;
                    connections.spawn(Connection::new(stream, peer, Arc::clone(&shared)).run());
                }
                Err(error) => {
                    // Reported once, not with each attempt.
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, advice = advice(&error), "cannot accept connections; clients have to wait");
                    }
                    if is_out_of_files(&error) {
                        shared.lock().broker.release_files();
                    }
                    accept_at = time::Instant::now() + ACCEPT_BACKOFF;
                }
            },
        }
    }
}

/// Accepts a connection, not before the time `at`.
async fn accept(listener: &tokio::net::TcpListener, at: time::Instant) -> io::Result<(TcpStream, SocketAddr)> {
    time::sleep_until(at).await;
    listener.accept().await
}

/// Verifies the checksums that the start has not verified.
async fn verify(shared: Arc<Shared>) {
    shared.verify().await;
}

/// Compacts logs periodically until the task is aborted.
async fn compact(shared: Arc<Shared>) {
    loop {
        wait_for_compaction(&shared).await;
        shared.compact(COMPACT_PAUSE).await;
    }
}

/// Waits for the interval of compaction. A new interval applies at once: it counts from the beginning of the wait.
async fn wait_for_compaction(shared: &Shared) {
    let begun = time::Instant::now();
    loop {
        let left = shared.compaction_interval().max(COMPACT_PAUSE).saturating_sub(begun.elapsed());
        tokio::select! {
            () = time::sleep(left) => return,
            () = shared.configs_changed.notified() => {}
        }
    }
}
