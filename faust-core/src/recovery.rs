//! How tables come back: opens stores, decides from where each changelog has to be read, and watches it being read.

mod check;
mod listener;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::{mpsc, oneshot};

use self::check::{Found, Source};
use crate::config::Settings;
use crate::transport::Delivery;
use crate::error::Error;
use crate::offsets::CutMark;
use crate::store::mark::Marking;
use crate::stage::tables::TaskTable;
use crate::stats::Stats;
use crate::store::{Store, StoreError, StoreName, StoreSet, StoreWriter, Wish};
use crate::table_state::AnyTablePartition;
use crate::table_state::PartitionCx;
use crate::table_state::CacheBudget;
use crate::table_state::TableFactory;
use crate::time::Clock;
use crate::transport::{PartitionQueue, Sink, StartAt, TopicPartition, Transport, Watermarks};
use crate::error::TransportError;

pub(crate) use self::listener::Progress;
pub use self::listener::{RestoreListener, RestoreProgress, log_listener};

/// What a worker's tables need of it.
pub(crate) struct Needs {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) sink: Arc<dyn Sink>,
    /// Where tables are kept on disk, if anywhere.
    pub(crate) stores: Option<Arc<dyn StoreSet>>,
    /// The app with its version.
    pub(crate) group: String,
    pub(crate) stats: Arc<Stats>,
    pub(crate) listener: Arc<dyn RestoreListener>,
    /// Tells the worker that a store is broken.
    pub(crate) failed: mpsc::UnboundedSender<Error>,
}

/// The tables that are here, by name and partition.
type Cells = BTreeMap<(Arc<str>, i32), Weak<dyn AnyTablePartition>>;

/// Everything that a worker's tables have in common.
pub(crate) struct Recovery {
    transport: Arc<dyn Transport>,
    sink: Arc<dyn Sink>,
    stores: Option<Arc<dyn StoreSet>>,
    writer: StoreWriter,
    budget: Arc<CacheBudget>,
    /// The app with its version.
    group: String,
    clock: Clock,
    stats: Arc<Stats>,
    /// Wakes the control loop when a table has many changed keys.
    commit_soon: Arc<tokio::sync::Notify>,
    /// Tells the worker that a store is broken.
    failed: mpsc::UnboundedSender<Error>,
    pub(crate) listener: Arc<dyn RestoreListener>,
    /// What tasks have sent to changelogs and was not acknowledged when it was last looked at.
    under_way: Mutex<BTreeMap<TopicPartition, Vec<Arc<Delivery>>>>,
    /// Tasks whose tables are not restored yet.
    restoring: AtomicUsize,
    /// Calls to stores that are under way on other threads.
    #[cfg(feature = "testing")]
    calls: Arc<AtomicUsize>,
    /// The tables that are here now, for whoever looks in from outside.
    cells: Mutex<Cells>,
}

/// A task waits for its tables.
pub(crate) struct Restoring {
    recovery: Arc<Recovery>,
    _rest: Wish,
}

impl Drop for Restoring {
    fn drop(&mut self) {
        self.recovery.restoring.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a task is told when its tables can be restored.
pub(crate) type Preparation = oneshot::Receiver<Result<Vec<PreparedTable>, Error>>;

/// A table that can be restored.
pub(crate) struct PreparedTable {
    pub(crate) table: TaskTable,
    /// Where the rest of the changelog is read; `None` if there is nothing to read.
    pub(crate) queue: Option<Box<dyn PartitionQueue>>,
    /// The first offset to read.
    pub(crate) from: i64,
    /// The end as it was when the restore began.
    pub(crate) end: i64,
    /// Whether the changelog is read from its beginning.
    pub(crate) full: bool,
    /// The last cut that is in the store.
    pub(crate) cut: u64,
}

/// A task whose tables are wanted.
pub(crate) struct Wanted {
    pub(crate) partition: i32,
    pub(crate) tables: Vec<(Arc<dyn TableFactory>, i32)>,
    /// What the last commit says; `None` without a commit, or with one that is not ours.
    pub(crate) mark: Option<CutMark>,
    pub(crate) reply: oneshot::Sender<Result<Vec<PreparedTable>, Error>>,
}

/// Changelogs as the broker has them.
struct Logs {
    /// The id of each topic.
    ids: BTreeMap<String, String>,
    /// The first offset of each partition, and the one after its last.
    bounds: Watermarks,
}

/// The pause between two attempts to reach a broker.
const RETRY: Duration = Duration::from_millis(500);

impl Recovery {
    pub(crate) fn new(needs: Needs, settings: &Settings) -> Result<Self, Error> {
        let Needs { transport, sink, stores, group, stats, listener, failed } = needs;
        let writer = StoreWriter::spawn(settings.state_memory.0)
            .map_err(|error| Error::Misuse(format!("cannot start the store writer's thread: {error}")))?;
        let clock = transport.clock();
        if let Some(stores) = &stores {
            stats.stores_set_aside(stores.set_aside());
        }
        Ok(Self {
            transport,
            sink,
            stores,
            writer,
            budget: CacheBudget::new(settings.table_cache_memory.0),
            group,
            clock,
            stats,
            commit_soon: Arc::default(),
            failed,
            listener,
            under_way: Mutex::default(),
            restoring: AtomicUsize::new(0),
            #[cfg(feature = "testing")]
            calls: Default::default(),
            cells: Mutex::default(),
        })
    }

    pub(crate) fn writer(&self) -> &StoreWriter {
        &self.writer
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Notified when a table has many changed keys.
    pub(crate) fn commit_soon(&self) -> &tokio::sync::Notify {
        &self.commit_soon
    }

    /// The table's cell in a partition, if it is here.
    pub(crate) fn cell(&self, table: &str, partition: i32) -> Option<Arc<dyn AnyTablePartition>> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.get(&(Arc::from(table), partition)).and_then(Weak::upgrade)
    }

    /// The partitions of a table that are here.
    pub(crate) fn cells(&self, table: &str) -> Vec<Arc<dyn AnyTablePartition>> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.iter().filter(|((name, _), _)| **name == *table).filter_map(|(_, cell)| cell.upgrade()).collect()
    }

    /// The numbers of a table's partitions that are here.
    pub(crate) fn partitions(&self, table: &str) -> Vec<i32> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells
            .iter()
            .filter(|((name, _), cell)| **name == *table && cell.strong_count() > 0)
            .map(|((_, p), _)| *p)
            .collect()
    }

    /// A table can be looked at from outside now.
    pub(crate) fn publish(&self, table: &TaskTable) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|_, cell| cell.strong_count() > 0);
        let name = Arc::clone(&table.cell.info().name);
        cells.insert((name, table.partition), Arc::downgrade(&table.cell));
    }

    /// A task waits for its tables, until this is dropped.
    pub(crate) fn begin_restore(self: &Arc<Self>) -> Restoring {
        self.restoring.fetch_add(1, Ordering::AcqRel);
        Restoring { recovery: Arc::clone(self), _rest: self.writer.rest() }
    }

    /// Records are on their way to a changelog.
    pub(crate) fn under_way(&self, changelog: TopicPartition, delivery: &Arc<Delivery>) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = under_way.entry(changelog).or_default();
        of_one.retain(|delivery| delivery.pending() > 0);
        of_one.push(Arc::clone(delivery));
    }

    /// Waits until what former tasks of this worker have sent to a changelog is there, or will never be.
    async fn arrived(&self, changelog: &TopicPartition) {
        let sent = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(changelog);
        for delivery in sent.unwrap_or_default() {
            // What did not arrive is not in the changelog: nothing to be said of it.
            drop(delivery.all().await);
        }
    }

    /// How many partitions have tables that are being restored.
    pub(crate) fn restoring(&self) -> usize {
        self.restoring.load(Ordering::Acquire)
    }

    /// Bytes of the stores on disk; `None` without any.
    pub(crate) async fn on_disk(&self) -> Result<Option<u64>, Error> {
        let Some(stores) = self.stores.clone() else { return Ok(None) };
        let size = self.blocking(move || stores.size_on_disk()).await;
        size.map(Some).map_err(|error| Error::Misuse(error.to_string()))
    }

    /// Bytes that wait for the stores.
    pub(crate) fn backlog(&self) -> u64 {
        self.writer.backlog()
    }

    /// Bytes that the tables hold in memory.
    pub(crate) fn memory(&self) -> u64 {
        self.budget.used()
    }

    /// The partition counts of topics.
    pub(crate) async fn topics(&self, names: Vec<String>) -> Result<BTreeMap<String, i32>, TransportError> {
        self.transport.admin()?.topics(Some(names)).await
    }

    /// Gives up what lies before these offsets.
    pub(crate) async fn delete_records(&self, before: BTreeMap<TopicPartition, i64>) -> Result<(), TransportError> {
        self.transport.admin()?.delete_records(before).await
    }

    /// Waits for what the stores have yet to take, and lets go of them.
    pub(crate) async fn close(&self, within: Duration) {
        if let Err(unwritten) = self.writer.clone().close(within).await {
            tracing::warn!("the stores do not have everything: {unwritten}; it is read from the changelogs again");
        }
    }

    /// Finds out for each task how its tables are restored, and opens one reader for all.
    pub(crate) async fn prepare(self: Arc<Self>, wanted: Vec<Wanted>) {
        let changelogs: Vec<_> = wanted.iter().flat_map(Wanted::changelogs).collect();
        for changelog in &changelogs {
            self.arrived(changelog).await;
        }
        let logs = match self.look_up(changelogs).await {
            Ok(logs) => logs,
            Err(error) => return refuse(wanted, &error),
        };
        let looks = wanted.into_iter().map(async |task| {
            let found = self.look(&task, &logs).await;
            (task, found)
        });
        let mut tasks = Vec::new();
        for (task, found) in join_all(looks).await {
            // Each task hears of its own faults; the others go on.
            match found {
                Ok(found) => tasks.push((task, found)),
                Err(error) => drop(task.reply.send(Err(error))),
            }
        }
        let from: Vec<_> = tasks.iter().flat_map(|(_, found)| found).filter_map(Found::start).collect();
        let mut queues = match self.tail(from).await {
            Ok(queues) => queues.into_iter(),
            Err(error) => return refuse(tasks.into_iter().map(|(task, _)| task), &error),
        };
        for (task, found) in tasks {
            let prepared: Result<Vec<_>, Error> = found
                .into_iter()
                .map(|found| {
                    let queue = if found.start().is_some() { queues.next() } else { None };
                    self.prepared(task.partition, found, queue)
                })
                .collect();
            drop(task.reply.send(prepared));
        }
    }

    async fn tail(&self, from: Vec<(TopicPartition, StartAt)>) -> Result<Vec<Box<dyn PartitionQueue>>, TransportError> {
        if from.is_empty() {
            return Ok(Vec::new());
        }
        retry("read the changelogs", || self.transport.tail(from.clone())).await
    }

    /// What the broker knows of changelogs.
    async fn look_up(&self, changelogs: Vec<TopicPartition>) -> Result<Logs, TransportError> {
        let admin = self.transport.admin()?;
        let topics: BTreeSet<_> = changelogs.iter().map(|changelog| changelog.topic.to_string()).collect();
        let topics: Vec<_> = topics.into_iter().collect();
        let ids = retry("look up the changelogs", || admin.topic_ids(topics.clone())).await?;
        let bounds = retry("look up the changelogs' ends", || admin.watermarks(changelogs.clone())).await?;
        Ok(Logs { ids, bounds })
    }

    /// Looks at the stores of one task, and whether they fit their changelogs and the last commit.
    async fn look(&self, task: &Wanted, logs: &Logs) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for ((factory, partitions), changelog) in task.tables.iter().zip(task.changelogs()) {
            let fault = |error: StoreError| Error::State {
                table: factory.info().name.to_string(),
                partition: task.partition,
                why: error.to_string(),
            };
            let marking = Marking {
                group: self.group.clone(),
                kind: factory.info().kind(),
                topic_id: logs.ids.get(&*changelog.topic).cloned().unwrap_or_default(),
                clock: self.clock.clone(),
            };
            let (low, high) = logs.bounds.get(&changelog).copied().unwrap_or((0, 0));
            let name = StoreName::new(factory.info().name.to_string(), task.partition);
            let mut store = self.open_store(&name).await.map_err(fault)?;
            let held = match &store {
                Some(store) => store.mark().map_err(fault)?,
                None => None,
            };
            let commit = task.mark.as_ref();
            let facts = check::Facts { marking: &marking, held, commit, low, high, changelog: &changelog };
            let source = check::check(factory.info(), task.partition, facts)?;
            if source.is_stale && store.is_some() {
                store = self.fresh_store(&name).await.map_err(fault)?;
            }
            let Source { from, full, cut, .. } = source;
            let (factory, partitions) = (Arc::clone(factory), *partitions);
            found.push(Found { factory, partitions, changelog, store, marking, from, end: high, full, cut });
        }
        Ok(found)
    }

    /// Opens a store, once what was on its way there before has been written.
    async fn open_store(&self, name: &StoreName) -> Result<Option<Arc<dyn Store>>, StoreError> {
        let Some(stores) = self.stores.clone() else { return Ok(None) };
        self.writer.flushed(name).await;
        let name = name.clone();
        self.blocking(move || stores.open(&name)).await.map(Some)
    }

    /// Empties a store that the changelog has left too far behind.
    async fn fresh_store(&self, name: &StoreName) -> Result<Option<Arc<dyn Store>>, StoreError> {
        let Some(stores) = self.stores.clone() else { return Ok(None) };
        let name = name.clone();
        let fresh = move || {
            stores.destroy(&name)?;
            stores.open(&name)
        };
        self.blocking(fresh).await.map(Some)
    }

    fn prepared(
        &self,
        partition: i32,
        found: Found,
        queue: Option<Box<dyn PartitionQueue>>,
    ) -> Result<PreparedTable, Error> {
        let Found { factory, partitions, changelog, store, marking, from, end, full, cut } = found;
        let cx = PartitionCx {
            partition,
            partitions,
            store,
            budget: Arc::clone(&self.budget),
            stats: Arc::clone(&self.stats),
            commit_soon: Arc::clone(&self.commit_soon),
            failed: Some(self.failed.clone()),
        };
        let cell = factory.make(cx);
        if full {
            cell.begin_whole();
        }
        let topic = self.sink.topic(&changelog.topic)?;
        let table = TaskTable::new(cell, partition, topic, self.writer.clone(), marking, end);
        Ok(PreparedTable { table, queue, from, end, full, cut })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // IMPORTANT: held by the call as well as by who waits for it, who may be gone before it is over.
        #[cfg(feature = "testing")]
        let calling = Calling::begin(&self.calls);
        #[cfg(feature = "testing")]
        let call = {
            let calling = Arc::clone(&calling);
            move || {
                let _until_over = calling;
                call()
            }
        };
        let called = tokio::task::spawn_blocking(call).await;
        #[cfg(feature = "testing")]
        drop(calling);
        match called {
            Ok(result) => result,
            // The runtime ends only with the worker.
            Err(join) => std::panic::resume_unwind(join.into_panic()),
        }
    }

    /// Whether other threads work for the stores, whose time is not the test driver's.
    #[cfg(feature = "testing")]
    pub(crate) fn is_storing(&self) -> bool {
        self.calls.load(Ordering::Acquire) > 0 || self.writer.backlog() > 0
    }

    /// Until this is dropped, stores do not wait for restores, which wait for the test driver's time.
    #[cfg(feature = "testing")]
    pub(crate) fn hurry_stores(&self) -> Wish {
        self.writer.hurry()
    }
}

/// Work for the stores on another thread, counted until it is over and heard of.
#[cfg(feature = "testing")]
struct Calling(Arc<AtomicUsize>);

#[cfg(feature = "testing")]
impl Calling {
    fn begin(calls: &Arc<AtomicUsize>) -> Arc<Self> {
        calls.fetch_add(1, Ordering::AcqRel);
        Arc::new(Self(Arc::clone(calls)))
    }
}

#[cfg(feature = "testing")]
impl Drop for Calling {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Wanted {
    /// The changelog partition of each of its tables, in their order.
    fn changelogs(&self) -> impl Iterator<Item = TopicPartition> {
        let changelog = |(factory, _): &(Arc<dyn TableFactory>, i32)| {
            TopicPartition::new(factory.info().changelog.as_str(), self.partition)
        };
        self.tables.iter().map(changelog)
    }
}

fn refuse(tasks: impl IntoIterator<Item = Wanted>, error: &TransportError) {
    tasks.into_iter().for_each(|task| drop(task.reply.send(Err(error.clone().into()))));
}

/// Tries until the broker answers (promise P7).
async fn retry<'a, T>(
    what: &str,
    attempt: impl Fn() -> BoxFuture<'a, Result<T, TransportError>>,
) -> Result<T, TransportError> {
    loop {
        match attempt().await {
            Err(error) if error.is_retriable() => {
                tracing::warn!("waiting for the broker to {what}: {error}");
                tokio::time::sleep(RETRY).await;
            }
            other => return other,
        }
    }
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovery").field("group", &self.group).finish_non_exhaustive()
    }
}
