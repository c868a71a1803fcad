//! The start of standbys: leases and opens their stores, and reads their changelogs.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::check::CheckedTable;
use super::follower::{Follower, FollowerState, StandbyFault, StandbyProgress, TaskCommits};
use super::leases::StandbyLease;
use super::recovery::Recovery;
use super::replay::Replay;
use crate::offsets::CommittedTable;
use crate::store::StoreName;
use crate::table_state::TableFactory;
use crate::transport::{PartitionQueue, TailPace, TopicPartition};

/// A standby to start.
pub(crate) struct StandbyRequest {
    pub(crate) factory: Arc<dyn TableFactory>,
    pub(crate) partition: i32,
    /// The commits of the task that owns the partition, which are looked up again and again.
    pub(crate) commits: watch::Receiver<TaskCommits>,
    pub(crate) progress: Arc<StandbyProgress>,
}

impl StandbyRequest {
    /// Returns the name of the standby's store.
    pub(crate) fn store(&self) -> StoreName {
        StoreName::new(self.factory.info().name.to_string(), self.partition)
    }

    fn changelog(&self) -> TopicPartition {
        TopicPartition::new(self.factory.info().changelog.as_str(), self.partition)
    }
}

/// A running standby. It ends once a task needs the store, or [`Recovery::stop_standby`] is called.
pub(crate) type Standby = BoxFuture<'static, Result<(), StandbyFault>>;

/// A standby whose store is open.
type OpenStandby = (StandbyRequest, StandbyLease, CheckedTable);

impl Recovery {
    /// Returns whether tables have stores on disk. Standbys need them: a table in memory is restored from its whole changelog.
    pub(crate) fn has_stores(&self) -> bool {
        self.stores.are_there()
    }

    /// Stops the standby that uses a store, if any. It ends soon afterwards; the store is kept.
    pub(crate) fn stop_standby(&self, store: &StoreName) {
        self.stores.leases().stop_standby(store);
    }

    /// Starts standbys, which share one reader of their changelogs. Those whose stores are in use are left out, and so are those
    /// without a commit so far, or with a later one in their stores; all of them can be started later. Returns the others, and the
    /// faults of those that cannot be started.
    pub(crate) async fn start_standbys(
        self: &Arc<Self>,
        wanted: Vec<StandbyRequest>,
    ) -> Vec<(StoreName, Result<Standby, StandbyFault>)> {
        let names: Vec<_> = wanted.iter().map(StandbyRequest::store).collect();
        let logs = match self.look_up(wanted.iter().map(StandbyRequest::changelog).collect()).await {
            Ok(logs) => logs,
            Err(error) => return names.into_iter().map(|name| (name, Err(error.clone().into()))).collect(),
        };
        let (mut open, mut started) = (Vec::new(), Vec::new());
        for request in wanted {
            let commit = CommittedTable::of(&request.factory.info().name, &request.commits.borrow());
            let Some(commit) = commit else { continue };
            let name = request.store();
            let Some(lease) = self.stores.leases().lease_for_standby(&name) else { continue };
            match self.look_at_standby((&request.factory, request.partition), commit, &logs).await {
                Ok(Some(found)) => open.push((request, lease, found)),
                Ok(None) => {}
                Err(error) => started.push((name, Err(error.into()))),
            }
        }
        let from = open.iter().map(|(_, _, found): &OpenStandby| found.start_at()).collect();
        match self.transport.tail(from, TailPace::Steady).await {
            Ok(queues) => {
                started.extend(open.into_iter().zip(queues).filter_map(|(open, queue)| self.follow(open, queue)))
            }
            Err(error) => {
                started.extend(open.into_iter().map(|(request, ..)| (request.store(), Err(error.clone().into()))));
            }
        }
        started
    }

    fn follow(
        self: &Arc<Self>,
        (request, lease, found): OpenStandby,
        queue: Box<dyn PartitionQueue>,
    ) -> Option<(StoreName, Result<Standby, StandbyFault>)> {
        let StandbyRequest { factory, partition, commits, progress } = request;
        let name = lease.name().clone();
        let follower = Follower {
            recovery: Arc::clone(self),
            name: name.clone(),
            state: FollowerState::at(found.from, found.records_end),
            replay: Replay::new(factory, partition, found.identity, found.from),
            // The worker has ended if there is none.
            store: found.store?,
            queue,
            commits,
            progress,
        };
        Some((name, Ok(Box::pin(follower.run(lease)))))
    }
}
