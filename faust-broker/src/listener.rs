//! The broker on a socket: accept, read requests, answer them in order.

mod api;
mod connection;
mod fault;
mod router;
#[cfg(test)]
#[path = "../tests/support/samples.rs"]
mod samples;
mod shape;
mod shared;

use std::{net::TcpListener, sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::JoinSet, time};

use self::connection::Connection;
pub(crate) use self::router::answer;
pub(crate) use self::shared::{Shared, wall_ms};

/// How often members that have fallen silent are looked for: far below any sensible session timeout.
const TICK: Duration = Duration::from_millis(50);
/// How often old segments are looked for, and first after the start; as in Kafka.
const CLEAN: Duration = Duration::from_secs(300);
/// For others to get at the broker between two steps of a compaction.
const COMPACT_PAUSE: Duration = Duration::from_millis(1);
/// How long to wait when the system has no more sockets for us.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves until `stopped` is dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the broker cannot watch its socket");
            return;
        }
    };
    // Dropping the set ends every connection. All that was acknowledged has been written by then.
    let mut connections = JoinSet::new();
    let mut tick = time::interval(TICK);
    let mut clean = time::interval_at(time::Instant::now() + CLEAN, CLEAN);
    // A task of its own: it may take long, and members that have fallen silent must be missed meanwhile.
    connections.spawn(compact(Arc::clone(&shared)));
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            _ = tick.tick() => shared.tick(),
            _ = clean.tick() => shared.clean(),
            // Reaps connections that have ended.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(Connection::new(stream, peer, Arc::clone(&shared)).run());
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    time::sleep(ACCEPT_BACKOFF).await;
                }
            },
        }
    }
}

/// Compacts logs for as long as it is let live.
async fn compact(shared: Arc<Shared>) {
    let every = shared.config.compaction_interval.max(COMPACT_PAUSE);
    loop {
        time::sleep(every).await;
        shared.compact(COMPACT_PAUSE).await;
    }
}
