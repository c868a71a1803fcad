//! Preparation of restores: opens the stores, determines the position from which each changelog is read, and opens its
//! queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::{join, join_all};
use tokio::sync::{mpsc, oneshot, watch};

use super::check::{CheckedTable, RestoreStart};
use super::in_flight::InFlight;
use super::leases::{StoreLease, StoreReservation};
use super::own_parts::OwnParts;
use super::predecessors::Predecessors;
use super::progress::RestoreListener;
use super::published::PublishedTables;
use super::stores::WorkerStores;
use crate::config::{Compression, Settings};
use crate::error::{Error, TransportError};
use crate::message::Offset;
use crate::offsets::{CommitMetadata, CommitNumber, CommittedTable, TableMark};
use crate::stage::tables::TaskTable;
use crate::stats::Stats;
use crate::store::mark::StoreIdentity;
use crate::store::{PriorityGuard, StoreError, StoreName, StoreSet};
use crate::table_state::{PartitionCx, TableFactory};
use crate::time::Clock;
use crate::transport::{
    PartitionQueue, Retries, StartAt, TailPace, TopicConfigs, TopicPartition, Transport, Watermarks,
};

/// The parts that [`Recovery`] is created from.
pub(crate) struct RecoverySetup {
    pub(crate) transport: Arc<dyn Transport>,
    /// Stores of the tables; `None` if tables are kept in memory only.
    pub(crate) stores: Option<Arc<dyn StoreSet>>,
    /// The app with its version.
    pub(crate) group: String,
    pub(crate) stats: Arc<Stats>,
    pub(crate) listener: Arc<dyn RestoreListener>,
    /// Reports broken stores to the worker.
    pub(crate) failed: mpsc::UnboundedSender<Error>,
    /// The configurations of the topics, as far as they could be looked up.
    pub(crate) configs: TopicConfigs,
    pub(crate) predecessors: Arc<Predecessors>,
}

/// Maximum size of the parts of a batch that surround a record.
const BATCH_FRAMING: u64 = 256;

/// Restores the tables of a worker's tasks.
pub(crate) struct Recovery {
    pub(super) transport: Arc<dyn Transport>,
    pub(crate) stores: WorkerStores,
    pub(crate) published: Arc<PublishedTables>,
    pub(crate) own_parts: Arc<OwnParts>,
    pub(crate) in_flight: Arc<InFlight>,
    /// The app with its version.
    group: String,
    clock: Clock,
    stats: Arc<Stats>,
    /// Notifies the control loop when a table has many changed keys.
    commit_soon: Arc<tokio::sync::Notify>,
    /// Maximum size of a message, in bytes.
    max_message: u64,
    /// Messages are compressed: the limit of a topic, which is about compressed batches, may allow larger ones.
    is_compressed: bool,
    /// The configurations of the topics, as far as they could be looked up.
    configs: TopicConfigs,
    /// Reports broken stores to the worker.
    failed: mpsc::UnboundedSender<Error>,
    pub(crate) listener: Arc<dyn RestoreListener>,
    pub(crate) predecessors: Arc<Predecessors>,
    /// Number of tasks whose tables are not restored yet.
    restoring: watch::Sender<usize>,
}

/// Guard: counts a task as restoring while it is held.
#[must_use = "the task counts as restoring until the value is dropped"]
pub(crate) struct Restoring {
    recovery: Arc<Recovery>,
    _rest: PriorityGuard,
}

impl Drop for Restoring {
    fn drop(&mut self) {
        self.recovery.restoring.send_modify(|count| *count -= 1);
    }
}

/// The receiver of a task's prepared tables.
pub(crate) type Preparation = oneshot::Receiver<Result<PreparedTask, Error>>;

/// The tables of a task, ready to be restored.
pub(crate) struct PreparedTask {
    pub(crate) tables: Vec<PreparedTable>,
    /// The leases of their stores, for as long as the task lives.
    pub(crate) leases: Vec<StoreLease>,
}

/// A table that is ready to be restored.
pub(crate) struct PreparedTable {
    pub(crate) table: TaskTable,
    pub(crate) factory: Arc<dyn TableFactory>,
    /// Queue of the changelog records to read; `None` if there are none.
    pub(crate) queue: Option<Box<dyn PartitionQueue>>,
    /// First offset to read.
    pub(crate) from: Offset,
    /// End of the changelog when the restore started.
    pub(crate) end: Offset,
    /// `true` if the changelog is read from its beginning.
    pub(crate) full: bool,
    /// Number of the last cut in the store.
    pub(crate) cut: CommitNumber,
    /// The committed state of the table; `None` before the first commit.
    pub(crate) committed: Option<CommittedTable>,
    /// A standby has kept the store up to date.
    pub(crate) from_standby: bool,
}

/// A request to restore the tables of a task.
pub(crate) struct RestoreRequest {
    pub(crate) partition: i32,
    pub(crate) tables: Vec<(Arc<dyn TableFactory>, i32)>,
    /// Metadata of the last commits of the task's topics, without those of other programs.
    pub(crate) commits: Vec<CommitMetadata>,
    pub(crate) reply: oneshot::Sender<Result<PreparedTask, Error>>,
}

/// State of the changelogs on the broker.
pub(super) struct Logs {
    /// Id of each topic.
    ids: BTreeMap<String, String>,
    /// Log start offset and high watermark of each partition.
    bounds: Watermarks,
}

impl Recovery {
    pub(crate) fn new(needs: RecoverySetup, settings: &Settings) -> Result<Self, Error> {
        let RecoverySetup { transport, stores, group, stats, listener, failed, configs, predecessors } = needs;
        let stores = WorkerStores::new(stores, settings)?;
        let clock = transport.clock();
        stats.stores_set_aside(stores.set_aside());
        Ok(Self {
            transport,
            stores,
            published: Arc::default(),
            own_parts: Arc::default(),
            in_flight: Arc::default(),
            group,
            clock,
            stats,
            commit_soon: Arc::default(),
            max_message: settings.producer_max_request_size.0,
            is_compressed: settings.producer_compression_type != Compression::None,
            configs,
            failed,
            listener,
            predecessors,
            restoring: watch::Sender::new(0),
        })
    }

    /// Returns the maximum size of a record in a changelog, in bytes.
    fn max_record(&self, changelog: &str) -> u64 {
        let limit = self
            .configs
            .get(changelog)
            .filter(|_| !self.is_compressed)
            .and_then(|configs| configs.get("max.message.bytes")?.parse::<u64>().ok());
        limit.map_or(self.max_message, |limit| self.max_message.min(limit.saturating_sub(BATCH_FRAMING)))
    }

    pub(crate) fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Returns the notification of a table with many changed keys.
    pub(crate) fn commit_soon(&self) -> &tokio::sync::Notify {
        &self.commit_soon
    }

    /// Counts a task as restoring until the returned guard is dropped.
    pub(crate) fn begin_restore(self: &Arc<Self>) -> Restoring {
        self.restoring.send_modify(|count| *count += 1);
        Restoring { recovery: Arc::clone(self), _rest: self.stores.writer().rest() }
    }

    /// Returns the number of partitions whose tables are being restored.
    pub(crate) fn restoring(&self) -> usize {
        *self.restoring.borrow()
    }

    /// Waits until no table is being restored.
    pub(crate) async fn restored(&self) {
        // Cannot fail: `self` owns the sender.
        drop(self.restoring.subscribe().wait_for(|count| *count == 0).await);
    }

    /// Prepares the tables of each task for their restore. The tasks whose stores are not in use share one reader of the
    /// changelogs; the others follow once the former task has ended, and delay none of them.
    pub(crate) async fn prepare(self: Arc<Self>, wanted: Vec<RestoreRequest>) {
        // First of all, so that standbys stop meanwhile.
        let reserved: Vec<Vec<_>> = wanted.iter().map(|task| self.reserve(task)).collect();
        let changelogs: Vec<_> = wanted.iter().flat_map(RestoreRequest::changelogs).collect();
        for changelog in &changelogs {
            self.in_flight.settled(changelog).await;
        }
        let logs = match self.look_up(changelogs).await {
            Ok(logs) => logs,
            Err(error) => return refuse(wanted, &error),
        };
        let (mut free, mut late) = (Vec::new(), Vec::new());
        for (task, reserved) in wanted.into_iter().zip(reserved) {
            let (mut leases, mut in_use) = (Vec::new(), Vec::new());
            for store in reserved {
                match store.try_lease() {
                    Ok(lease) => leases.push(lease),
                    Err(reserved) => in_use.push(reserved),
                }
            }
            if in_use.is_empty() {
                free.push((task, leases));
            } else {
                late.push((task, leases, in_use));
            }
        }
        let late = late.into_iter().map(async |(mut task, mut leases, in_use)| {
            for store in in_use {
                tokio::select! {
                    biased;
                    // The assignment has ended.
                    () = task.reply.closed() => return,
                    lease = store.lease() => leases.push(lease),
                }
            }
            self.prepare_leased(vec![(task, leases)], &logs).await;
        });
        join(self.prepare_leased(free, &logs), join_all(late)).await;
    }

    fn reserve(&self, task: &RestoreRequest) -> Vec<StoreReservation> {
        task.stores().map(|name| self.stores.leases().reserve(name)).collect()
    }

    /// Prepares the tables of tasks that have the leases of their stores, and opens one reader for their changelogs.
    async fn prepare_leased(&self, wanted: Vec<(RestoreRequest, Vec<StoreLease>)>, logs: &Logs) {
        let looks = wanted.into_iter().filter(|(task, _)| !task.reply.is_closed()).map(async |(task, leases)| {
            let found = self.look(&task, logs).await;
            (task, leases, found)
        });
        let mut tasks = Vec::new();
        for (task, leases, found) in join_all(looks).await {
            // A fault is reported to its own task only; the others continue.
            match found {
                Ok(found) => tasks.push((task, leases, found)),
                Err(error) => drop(task.reply.send(Err(error))),
            }
        }
        let from: Vec<_> = tasks.iter().flat_map(|(_, _, found)| found).filter_map(CheckedTable::start).collect();
        let mut queues = match self.tail(from).await {
            Ok(queues) => queues.into_iter(),
            Err(error) => return refuse(tasks.into_iter().map(|(task, ..)| task), &error),
        };
        for (task, leases, found) in tasks {
            // IMPORTANT: all of the task's queues are taken, even if a table cannot be prepared: the next ones are those of
            // other tables.
            let found: Vec<_> = found
                .into_iter()
                .map(|found| {
                    let queue = if found.start().is_some() { queues.next() } else { None };
                    (found, queue)
                })
                .collect();
            let prepare = |(found, queue): (CheckedTable, _)| {
                let of_store = |lease: &&StoreLease| lease.is_of(&found.factory.info().name);
                let was_standby = leases.iter().find(of_store).is_some_and(|lease| lease.was_standby);
                let prepared = self.prepared(task.partition, found, queue)?;
                Ok(PreparedTable { from_standby: was_standby && !prepared.full, ..prepared })
            };
            let prepared: Result<Vec<_>, Error> = found.into_iter().map(prepare).collect();
            // A task that has ended needs no answer.
            drop(task.reply.send(prepared.map(|tables| PreparedTask { tables, leases })));
        }
    }

    async fn tail(&self, from: Vec<(TopicPartition, StartAt)>) -> Result<Vec<Box<dyn PartitionQueue>>, TransportError> {
        if from.is_empty() {
            return Ok(Vec::new());
        }
        let mut retries = Retries::default().of(self.transport.outage());
        retries.run("the broker to read the changelogs", || self.transport.tail(from.clone(), TailPace::Fast)).await
    }

    /// Looks up the state of changelogs on the broker.
    pub(super) async fn look_up(&self, changelogs: Vec<TopicPartition>) -> Result<Logs, TransportError> {
        let admin = self.transport.admin()?;
        let topics: BTreeSet<_> = changelogs.iter().map(|changelog| changelog.topic.to_string()).collect();
        let topics: Vec<_> = topics.into_iter().collect();
        let mut retries = Retries::default().of(self.transport.outage());
        let ids = retries.run("the broker to look up the changelogs", || admin.topic_ids(topics.clone())).await?;
        let ends = "the broker to look up the changelogs' ends";
        let bounds = retries.run(ends, || admin.watermarks(changelogs.clone())).await?;
        Ok(Logs { ids, bounds })
    }

    /// Opens the stores of one task, and checks them against their changelogs and the last commit.
    async fn look(&self, task: &RestoreRequest, logs: &Logs) -> Result<Vec<CheckedTable>, Error> {
        let mut found = Vec::new();
        for (factory, partitions) in &task.tables {
            let commit = CommittedTable::of(&factory.info().name, &task.commits);
            found.push(self.look_at((factory, task.partition), *partitions, commit, logs).await?);
        }
        Ok(found)
    }

    /// Like [`look_at`](Self::look_at) for a standby. Returns `None` if the store has a later commit than this one, which was looked
    /// up without waiting for transactions, and possibly before the store was free: the next look-up finds the other one.
    pub(super) async fn look_at_standby(
        &self,
        (factory, partition): (&Arc<dyn TableFactory>, i32),
        commit: CommittedTable,
        logs: &Logs,
    ) -> Result<Option<CheckedTable>, Error> {
        let table = &factory.info().name;
        let fault = |error: StoreError| Error::State { table: table.to_string(), partition, why: error.to_string() };
        let store = self.stores.open(&StoreName::new(table.to_string(), partition)).await.map_err(fault)?;
        let held = store.map(|store| store.mark()).transpose().map_err(fault)?.flatten();
        if held.is_some_and(|held| super::check::has_later_commit(&held, commit)) {
            tracing::debug!(%table, partition, "the standby waits until the last commit in its store can be looked up");
            return Ok(None);
        }
        self.look_at((factory, partition), 0, Some(commit), logs).await.map(Some)
    }

    /// Opens the store of a table's partition, and checks it against its changelog and the last commit.
    pub(super) async fn look_at(
        &self,
        (factory, partition): (&Arc<dyn TableFactory>, i32),
        partitions: i32,
        commit: Option<CommittedTable>,
        logs: &Logs,
    ) -> Result<CheckedTable, Error> {
        let info = factory.info();
        let fault =
            |error: StoreError| Error::State { table: info.name.to_string(), partition, why: error.to_string() };
        let changelog = TopicPartition::new(info.changelog.as_str(), partition);
        let identity = StoreIdentity {
            group: self.group.clone(),
            kind: info.kind(),
            topic_id: logs.ids.get(&*changelog.topic).cloned().unwrap_or_default(),
            clock: self.clock.clone(),
        };
        let (low, high) = logs.bounds.get(&changelog).copied().unwrap_or_default();
        let name = StoreName::new(info.name.to_string(), partition);
        let mut store = self.stores.open(&name).await.map_err(fault)?;
        let held = match &store {
            Some(store) => store.mark().map_err(fault)?,
            None => None,
        };
        let records_end = held.as_deref().map_or(Offset(0), super::check::records_end);
        let facts = super::check::Facts { identity: &identity, held, commit, low, high, changelog: &changelog };
        let source = super::check::check(info, partition, facts)?;
        if source.is_ahead {
            self.stats.stores_set_aside(1);
        }
        if source.is_stale && store.is_some() {
            store = self.stores.recreate(&name).await.map_err(fault)?;
        }
        let RestoreStart { from, full, cut, .. } = source;
        let (factory, end) = (Arc::clone(factory), high);
        let records_end = if full { Offset(0) } else { records_end };
        Ok(CheckedTable {
            factory,
            partitions,
            changelog,
            store,
            identity,
            from,
            end,
            full,
            cut,
            records_end,
            committed: commit,
        })
    }

    fn prepared(
        &self,
        partition: i32,
        found: CheckedTable,
        queue: Option<Box<dyn PartitionQueue>>,
    ) -> Result<PreparedTable, Error> {
        let CheckedTable { factory, partitions, changelog, store, identity, from, end, full, cut, committed, .. } =
            found;
        let cx = PartitionCx {
            partition,
            partitions,
            store,
            budget: Arc::clone(self.stores.budget()),
            stats: Arc::clone(&self.stats),
            commit_soon: Arc::clone(&self.commit_soon),
            max_record: self.max_record(&changelog.topic),
            failed: Some(self.failed.clone()),
        };
        let state = factory.make(cx);
        if full {
            state.begin_whole();
        }
        let number = committed.map_or(CommitNumber::default(), |committed| committed.mark.number);
        let restored = TableMark { end, length: end, number };
        let table = TaskTable::new(state, partition, self.stores.writer().clone(), identity, restored);
        Ok(PreparedTable { table, factory, queue, from, end, full, cut, committed, from_standby: false })
    }
}

impl RestoreRequest {
    /// Returns the name of each table's store, in the order of the tables.
    fn stores(&self) -> impl Iterator<Item = StoreName> {
        self.tables.iter().map(|(factory, _)| self.store(factory))
    }

    fn store(&self, factory: &Arc<dyn TableFactory>) -> StoreName {
        StoreName::new(factory.info().name.to_string(), self.partition)
    }

    /// Returns the changelog partition of each table, in the order of the tables.
    fn changelogs(&self) -> impl Iterator<Item = TopicPartition> {
        let changelog = |(factory, _): &(Arc<dyn TableFactory>, i32)| {
            TopicPartition::new(factory.info().changelog.as_str(), self.partition)
        };
        self.tables.iter().map(changelog)
    }
}

/// Answers requests with an error. A task that has ended needs no answer.
fn refuse(tasks: impl IntoIterator<Item = RestoreRequest>, error: &TransportError) {
    tasks.into_iter().for_each(|task| drop(task.reply.send(Err(error.clone().into()))));
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovery").field("group", &self.group).finish_non_exhaustive()
    }
}
