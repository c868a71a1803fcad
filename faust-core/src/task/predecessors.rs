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
    /// Those that are members of the group, or alive by the directory.
    members: BTreeSet<String>,
    /// Those that are no members of the group any more, and silent. Their transactions are ended.
    fenced: BTreeSet<String>,
    /// Those of them that could not be fenced, with the reason.
    unfenced: BTreeMap<String, String>,
}

impl Predecessors {
    /// Creates the former owners in this group, as the directory knows them.
    pub(crate) fn new(transport: Arc<dyn Transport>, group: String, directory: Arc<Directory>) -> Arc<Self> {
        Arc::new(Self { transport, group, directory, fenced: tokio::sync::Mutex::default() })
    }

    /// Ends the open transactions of the workers that had partitions of these numbers, and are no members of the group any more.
    pub(crate) async fn fence(&self, partitions: &BTreeSet<i32>) -> Suspects {
        let mut fenced = self.fenced.lock().await;
        let former = match timeout(FENCE_WITHIN, self.former_owners(partitions)).await {
            Ok(Ok(former)) => former,
            // It is tried again while the transaction is open.
            Ok(Err(error)) => {
                tracing::debug!("the former owners of partitions that wait for a transaction are not known: {error}");
                return Suspects::default();
            }
            Err(_) => {
                tracing::debug!("the members of the group were not known within {FENCE_WITHIN:?}");
                return Suspects::default();
            }
        };
        let mut suspects = Suspects { members: former.alive, ..Suspects::default() };
        fenced.retain(|_, at| at.elapsed() < AGAIN);
        for worker in former.dead {
            if !fenced.contains_key(&worker) {
                if let Err(why) = self.end_transaction(&worker).await {
                    suspects.unfenced.insert(worker, why);
                    continue;
                }
                fenced.insert(worker.clone(), Instant::now());
                tracing::info!(
                    "worker `{worker}`, which has left the group without a stop, is fenced: the transaction that it may have left open is ended"
                );
            }
            suspects.fenced.insert(worker);
        }
        suspects
    }

    async fn end_transaction(&self, worker: &str) -> Result<(), String> {
        match timeout(FENCE_WITHIN, self.transport.transactions(&transactional_id(&self.group, worker))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {FENCE_WITHIN:?}")),
        }
    }

    /// Finds the other workers that had partitions of these numbers.
    async fn former_owners(&self, partitions: &BTreeSet<i32>) -> Result<FormerOwners, TransportError> {
        let former = self.directory.owners(partitions);
        if former.is_empty() {
            return Ok(FormerOwners::default());
        }
        let members = self.transport.admin()?.group_members(&self.group).await?;
        // With `broker_client_id`, the ids of clients do not name their workers, but a live one writes to the directory.
        let is_alive =
            |(worker, is_live): &(String, bool)| *is_live || members.iter().any(|member| member.is_of(worker));
        let (alive, dead): (Vec<_>, Vec<_>) = former.into_iter().partition(is_alive);
        let names = |workers: Vec<(String, bool)>| workers.into_iter().map(|(worker, _)| worker).collect();
        Ok(FormerOwners { alive: names(alive), dead: names(dead) })
    }
}

/// The names of the former owners of partitions.
#[derive(Default)]
struct FormerOwners {
    alive: BTreeSet<String>,
    dead: BTreeSet<String>,
}

impl std::fmt::Display for Suspects {
    /// Describes whose transaction is waited for.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |workers: &BTreeSet<String>| {
            workers.iter().map(|worker| format!("`{worker}`")).collect::<Vec<_>>().join(", ")
        };
        let mut all = Vec::new();
        if !self.members.is_empty() {
            all.push(format!("of {}, in the group", names(&self.members)));
        }
        if !self.fenced.is_empty() {
            all.push(format!("of {}, which has left the group and is fenced", names(&self.fenced)));
        }
        for (worker, why) in &self.unfenced {
            all.push(format!("of `{worker}`, which has left the group and cannot be fenced ({why})"));
        }
        if all.is_empty() {
            all.push("of an unknown program".to_owned());
        }
        f.write_str(&all.join(", or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_the_workers_and_why_one_is_not_fenced() {
        assert_eq!(Suspects::default().to_string(), "of an unknown program");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let unfenced = BTreeMap::from([("d".to_owned(), "no right".to_owned())]);
        let all = Suspects { members: names(&["a", "b"]), fenced: names(&["c"]), unfenced };
        assert_eq!(
            all.to_string(),
            "of `a`, `b`, in the group, or of `c`, which has left the group and is fenced, or of `d`, which has left the group and cannot be fenced (no right)"
        );
    }
}
