//! The former owners of partitions. A worker that has crashed in a transaction leaves it open, and its successor would wait until
//! the brokers end it: ten seconds after its begin, and up to ten more. So the successor ends it, by initializing the transactional
//! id of the dead worker, which fences that one if it should still run.
//!
//! The former owner is found in the app's directory rather than in the metadata of the last commit: the open transaction may be the
//! first one of its owner, and the last commit then names the owner before that. An entry that is missing or late costs time, and
//! nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::directory::Directory;
use crate::error::TransportError;
use crate::transport::{Transport, transactional_id};

/// Maximum time for the end of one worker's transaction.
const FENCE_WITHIN: Duration = Duration::from_secs(10);
/// Time after which a worker is fenced again if it still is no member, and a transaction is open.
const AGAIN: Duration = Duration::from_secs(30);

/// The former owners of a worker's partitions.
pub(crate) struct Predecessors {
    transport: Arc<dyn Transport>,
    /// Name of the group.
    group: String,
    directory: Arc<Directory>,
    /// The workers that were fenced. IMPORTANT: locked for as long as one is being fenced, so that several partitions that wait
    /// for the same worker fence it once.
    fenced: tokio::sync::Mutex<BTreeMap<String, Instant>>,
}

/// The workers that may have left a transaction open.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Suspects {
    /// Those that are no members of the group any more, and silent. Their transactions are ended.
    pub(crate) dead: BTreeSet<String>,
    /// Those that are members of the group, or alive by the directory.
    pub(crate) members: BTreeSet<String>,
}

impl Predecessors {
    /// Creates the former owners in this group, as the directory knows them.
    pub(crate) fn new(transport: Arc<dyn Transport>, group: String, directory: Arc<Directory>) -> Arc<Self> {
        Arc::new(Self { transport, group, directory, fenced: tokio::sync::Mutex::default() })
    }

    /// Ends the open transactions of the workers that had partitions of these numbers, and are no members of the group any more.
    pub(crate) async fn fence(&self, partitions: &BTreeSet<i32>) -> Suspects {
        let mut fenced = self.fenced.lock().await;
        let suspects = match self.suspects(partitions).await {
            Ok(suspects) => suspects,
            Err(error) => {
                // It is tried again while the transaction is open.
                tracing::debug!("the former owners of partitions that wait for a transaction are not known: {error}");
                return Suspects::default();
            }
        };
        fenced.retain(|_, at| at.elapsed() < AGAIN);
        for worker in &suspects.dead {
            if fenced.contains_key(worker) {
                continue;
            }
            match timeout(FENCE_WITHIN, self.transport.transactions(&transactional_id(&self.group, worker))).await {
                Ok(Ok(_)) => {
                    fenced.insert(worker.clone(), Instant::now());
                    tracing::info!(
                        "worker `{worker}`, which has left the group without a stop, is fenced: the transaction that it may have left open is ended"
                    );
                }
                Ok(Err(error)) => tracing::debug!("worker `{worker}` cannot be fenced: {error}"),
                Err(_) => tracing::debug!("worker `{worker}` was not fenced within {FENCE_WITHIN:?}"),
            }
        }
        suspects
    }

    /// Finds the other workers that had partitions of these numbers.
    async fn suspects(&self, partitions: &BTreeSet<i32>) -> Result<Suspects, TransportError> {
        let former = self.directory.owners(partitions);
        if former.is_empty() {
            return Ok(Suspects::default());
        }
        let members = self.transport.admin()?.group_members(&self.group).await?;
        // With `broker_client_id`, the ids of clients do not name their workers, but a live one writes to the directory.
        let is_alive =
            |(worker, is_live): &(String, bool)| *is_live || members.iter().any(|member| member.is_of(worker));
        let (alive, dead): (Vec<_>, Vec<_>) = former.into_iter().partition(is_alive);
        let names = |workers: Vec<(String, bool)>| workers.into_iter().map(|(worker, _)| worker).collect();
        Ok(Suspects { dead: names(dead), members: names(alive) })
    }
}

impl std::fmt::Display for Suspects {
    /// Describes whose transaction is waited for.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |workers: &BTreeSet<String>| {
            workers.iter().map(|worker| format!("`{worker}`")).collect::<Vec<_>>().join(", ")
        };
        match (self.dead.is_empty(), self.members.is_empty()) {
            (true, true) => f.write_str("of an unknown program"),
            (true, false) => write!(f, "of {}, in the group", names(&self.members)),
            (false, true) => write!(f, "of {}, which has left the group and is fenced", names(&self.dead)),
            (false, false) => write!(
                f,
                "of {}, in the group, or of {}, which has left it and is fenced",
                names(&self.members),
                names(&self.dead)
            ),
        }
    }
}
