//! The handle of a running worker.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::control::Control;
use super::group::Listener;
use super::options::WorkerOptions;
use super::shared::{Phase, WorkerState};
use super::status::{Description, StandbyStatus, Status};
use super::view::{TableView, WindowedView};
use crate::config::{ByteSize, MIN_FETCH_SHARE, OffsetReset, ProcessingGuarantee, Settings};
use crate::directory::{Directory, DirectorySetup};
use crate::error::{Error, panic_text};
use crate::local::{Connection, WorkerDir};
use crate::plan::{Plan, ensure_topics};
use crate::stage::dead_letter;
use crate::stage::observer::StageObserver;
use crate::stage::outbox::Outbox;
use crate::stage::staging::OutputBudget;
use crate::stage::timestamps::{TimestampLimits, TimestampRules};
use crate::store::StoreSet;
use crate::table_state::TableValue;
use crate::task::{
    Ownership, Predecessors, Recovery, RecoverySetup, StandbyProgress, TaskCx, Transactor, ensure_commits, log_listener,
};
use crate::transport::{Group, Subscription, Transactions, Transport, transactional_id};

/// A running worker. Dropping it begins a shutdown without waiting for it; [`stop`](Self::stop) waits.
pub struct Worker {
    shared: Arc<WorkerState>,
    plan: Arc<Plan>,
    outbox: Arc<Outbox>,
    outputs: Option<Arc<OutputBudget>>,
    description: Description,
    /// Group and control loop, for the test driver to kill the worker.
    lifeline: Mutex<Option<Lifeline>>,
    failed: mpsc::UnboundedSender<Error>,
    recovery: Arc<Recovery>,
}

/// A worker's group membership, and the Tokio task of its control loop.
type Lifeline = (Arc<dyn Group>, tokio::task::JoinHandle<()>);

/// The parts that a worker is started with.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) plan: Plan,
    pub(crate) transport: Arc<dyn Transport>,
    /// Stores of the tables; `None` if tables are kept in memory only.
    pub(crate) stores: Option<Arc<dyn StoreSet>>,
    /// Connection and directory, closed when the worker ends; `None` with the test driver.
    pub(crate) home: Option<(Connection, WorkerDir)>,
    /// Name of the worker, and a number that distinguishes this start of it.
    pub(crate) name: (String, u64),
    pub(crate) options: WorkerOptions,
    /// The test driver's observer.
    pub(crate) observer: Option<Arc<dyn StageObserver>>,
}

impl Worker {
    /// Ensures that the topics exist, joins the group and starts the control loop in the background.
    pub(crate) async fn start(parts: Parts) -> Result<Self, Error> {
        let Parts { settings, mut plan, transport, stores, home, name, options, observer } = parts;
        // First of all: the transaction that a crash of this worker has left open is aborted now, and not after its timeout.
        let producer = open_transactions(&*transport, &settings, &name.0).await?;
        let configs = ensure_topics(&mut plan, &*transport, &settings).await?;
        let sink = transport.sink()?;
        let (failed, failures) = mpsc::unbounded_channel();
        ensure_commits(&plan, &*transport).await?;
        let mut description = describe(&plan, &*transport, stores.as_deref(), home.as_ref());
        description.notices.extend(fetch_notice(subscription(&plan, &settings).partitions, settings.fetch_memory));
        let plan = Arc::new(plan);
        let shared = Arc::new(WorkerState::starting());
        let dead_letter = dead_letter::topic(&plan.group);
        let (clock, stats) = (transport.clock(), Arc::clone(&shared.stats));
        let limits = TimestampLimits::of_topics(&configs);
        let timestamps = TimestampRules::new(settings.on_timestamp_error, clock.clone(), Arc::clone(&stats), limits);
        let outbox = Outbox::new(Arc::clone(&sink), stats, dead_letter.clone(), Arc::clone(&timestamps));
        let directory = Arc::new(Directory::start(DirectorySetup {
            transport: Arc::clone(&transport),
            sink: Arc::clone(&sink),
            plan: &plan,
            worker: name,
            session_timeout: settings.broker_session_timeout,
            failed: failed.clone(),
        }));
        let (listener, stats) = (options.restore_listener.clone(), Arc::clone(&shared.stats));
        let needs = RecoverySetup {
            transport: Arc::clone(&transport),
            stores,
            group: plan.group.clone(),
            stats: Arc::clone(&stats),
            listener: listener.map_or_else(log_listener, |listener| listener.0),
            failed: failed.clone(),
            configs,
            predecessors: Predecessors::new(Arc::clone(&transport), plan.group.clone(), Arc::clone(&directory)),
        };
        let recovery = Arc::new(Recovery::new(needs, &settings)?);
        let (events, receiver) = mpsc::unbounded_channel();
        let ownership = Arc::<Ownership>::default();
        let listener = Listener::new(events, Arc::clone(&ownership));
        let group = transport.join(subscription(&plan, &settings), Arc::new(listener))?;
        let outputs = producer.as_ref().map(|_| output_budget(&plan, &settings));
        let transactor = producer.map(|producer| {
            let of_group = (Arc::clone(&group), plan.group.clone());
            Transactor::new(producer, Arc::clone(&transport), of_group, Arc::clone(&ownership), &stats, &failed)
        });
        let cx = Arc::new(TaskCx {
            transport: Arc::clone(&transport),
            sink,
            outputs: outputs.clone(),
            transactor,
            stats,
            dead_letter,
            failed: failed.clone(),
            clock,
            timestamps,
            recovery: Arc::clone(&recovery),
            group: Arc::clone(&group),
            ownership,
            plan_fingerprint: directory.fingerprint(),
            directory,
            begun_logs: Arc::default(),
            has_reported_plan: AtomicBool::new(false),
            refusals: Mutex::default(),
            observer,
            settings,
        });
        let control = Control::new(cx, Arc::clone(&plan), Arc::clone(&group), Arc::clone(&shared), options, receiver);
        let running = tokio::spawn(supervised(control.run(failures, home), Arc::clone(&shared)));
        let lifeline = Mutex::new(Some((group, running)));
        Ok(Self { shared, plan, outbox, outputs, description, lifeline, failed, recovery })
    }

    /// Returns the size of the tables' stores on disk in bytes; `None` if tables are kept in memory, or there are none.
    ///
    /// # Errors
    /// Fails if the size cannot be determined.
    pub async fn state_on_disk(&self) -> Result<Option<u64>, Error> {
        self.recovery.stores.on_disk().await
    }

    /// Returns a view to read a table from outside the agents. It covers the partitions that are on this worker.
    ///
    /// # Errors
    /// Fails if there is no such table, or if its key or value type differs.
    pub fn table<K: crate::codec::Data, V: TableValue>(&self, name: &str) -> Result<TableView<K, V>, Error> {
        TableView::open(name, &self.plan, &self.recovery.published)
    }

    /// Returns a view to read a windowed table from outside the agents, like [`table`](Self::table).
    ///
    /// # Errors
    /// Fails in the same cases as [`table`](Self::table).
    pub fn windowed_table<K: crate::codec::Data, V: TableValue>(
        &self,
        name: &str,
    ) -> Result<WindowedView<K, V>, Error> {
        WindowedView::open(name, &self.plan, &self.recovery.published)
    }

    /// Waits until the worker has its first assignment and has restored the tables of its partitions, or has ended.
    pub async fn ready(&self) {
        self.reach(Phase::Ready).await;
        tokio::select! {
            () = self.recovery.restored() => {}
            () = self.reach(Phase::Done) => {}
        }
    }

    /// Waits until the messages that were sent by [`topic`](Self::topic) are acknowledged. Messages of agents belong to commits
    /// instead.
    ///
    /// # Errors
    /// Returns the error of the first message that was not delivered, or a timeout after `within`.
    pub async fn flush(&self, within: Duration) -> Result<(), Error> {
        Ok(self.outbox.settle(within).await?)
    }

    /// Requests shutdown: the streams end, finished events are committed, and the worker leaves the group.
    pub fn begin_stop(&self) {
        self.shared.advance(Phase::Stopping);
    }

    /// Requests shutdown and waits until the worker has ended.
    ///
    /// # Errors
    /// Returns the error that ended the worker, if any; [`Error::ShutdownTimeout`] if it did not drain in time; or the error of
    /// a message that was sent by [`topic`](Self::topic) and not delivered.
    pub async fn stop(&self) -> Result<(), Error> {
        self.begin_stop();
        self.wait().await?;
        // The end of the worker has flushed the producer, as long as the time allowed.
        self.flush(Duration::from_secs(1)).await
    }

    /// Waits until the worker ends: by [`begin_stop`](Self::begin_stop), `until_idle`, or an error.
    ///
    /// # Errors
    /// Returns the error that ended the worker. Only the first call returns it.
    pub async fn wait(&self) -> Result<(), Error> {
        self.reach(Phase::Done).await;
        self.shared.outcome.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Returns the worker's current status.
    pub fn status(&self) -> Status {
        let stuck = self.shared.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let failing = self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let has_agents = *self.shared.phase.borrow() == Phase::Ready && self.recovery.restoring() == 0;
        Status {
            ready: has_agents && stuck.is_empty() && failing.is_empty() && waiting.is_empty(),
            restoring: self.recovery.restoring(),
            state_backlog: self.recovery.stores.backlog(),
            state_memory: self.recovery.stores.memory(),
            assignment: self.shared.assignment.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            stuck,
            failing,
            waiting,
            standbys: self.standbys(),
            counts: self.shared.stats.counts(),
        }
    }

    fn standbys(&self) -> Vec<StandbyStatus> {
        let standbys = self.shared.standbys.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |standby: &Arc<StandbyProgress>| StandbyStatus {
            table: standby.table.to_string(),
            partition: standby.partition,
            lag: standby.lag(),
            records: standby.records(),
        };
        standbys.iter().map(status).collect()
    }

    /// Returns the plan that the worker runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the worker's description for display at start-up.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Returns a topic to send to from outside the agents, such as from `main`. The messages are not part of any
    /// commit.
    ///
    /// # Errors
    /// Fails if a type has no codec, or if the producer rejects the topic name.
    pub fn topic<K: crate::codec::Data, V: crate::codec::Data>(
        &self,
        name: &str,
    ) -> Result<crate::topic::Topic<K, V>, Error> {
        crate::topic::Topic::outside(name, &self.outbox)
    }

    /// Makes the pending writes to stores, and returns whether any was completed. For the test driver, whose stores have no
    /// thread that writes.
    #[doc(hidden)]
    pub fn step_stores(&self) -> bool {
        self.recovery.stores.step()
    }

    /// Requests a commit of the messages that wait for one under exactly-once. Returns the number of groups that have any. For the
    /// test driver, whose clock does not move by itself.
    #[doc(hidden)]
    pub fn commit_outputs(&self) -> u64 {
        self.outputs.as_ref().map_or(0, |outputs| outputs.request_commit())
    }

    /// Simulates the crash of a process: nothing is drained or committed, and the worker does not leave the group.
    /// For the test driver.
    #[doc(hidden)]
    pub fn crash(&self) {
        if let Some((group, running)) = self.lifeline.lock().unwrap_or_else(PoisonError::into_inner).take() {
            group.abandon();
            running.abort();
        }
        self.shared.advance(Phase::Done);
    }

    /// Ends the worker with an error, as if an agent had failed permanently.
    pub fn fail(&self, error: Error) {
        // An error means that the worker has ended already.
        drop(self.failed.send(error));
    }

    async fn reach(&self, phase: Phase) {
        let mut phases = self.shared.phase.subscribe();
        // Cannot fail: `self` owns the sender.
        drop(phases.wait_for(|now| *now >= phase).await);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.begin_stop();
    }
}

/// Memory for the finished messages of a worker that wait for a commit, in bytes.
const STAGED_OUTPUTS: u64 = 32 << 20;

/// Creates the budget of the messages that wait for a commit.
fn output_budget(plan: &Plan, settings: &Settings) -> Arc<OutputBudget> {
    OutputBudget::new((STAGED_OUTPUTS, settings.event_output_max.0), plan.subscribed().into_iter().collect())
}

/// Opens the producer of the worker's transactions under exactly-once, and returns it with its id.
async fn open_transactions(
    transport: &dyn Transport,
    settings: &Settings,
    name: &str,
) -> Result<Option<(String, Arc<dyn Transactions>)>, Error> {
    if settings.processing_guarantee != ProcessingGuarantee::ExactlyOnce {
        return Ok(None);
    }
    let id = transactional_id(&settings.group(), name);
    let producer = transport.transactions(&id).await.map_err(|error| error.error)?;
    Ok(Some((id, producer)))
}

/// Runs the control loop. Its panic ends the worker with an error.
async fn supervised(control: impl Future<Output = ()>, shared: Arc<WorkerState>) {
    if let Err(panic) = AssertUnwindSafe(control).catch_unwind().await {
        shared.fail(Error::Panicked { place: "the worker".to_owned(), message: panic_text(&*panic) });
        shared.advance(Phase::Done);
    }
}

/// Topics that the app itself forwards to are read from their start: what an earlier stage has written and committed
/// would be lost otherwise.
fn subscription(plan: &Plan, settings: &Settings) -> Subscription {
    let topics = plan.subscribed();
    let reset = |topic: &str| match plan.forwards_to(topic) {
        true => OffsetReset::Earliest,
        false => settings.consumer_auto_offset_reset,
    };
    let count = |topic: &crate::plan::TopicPlan| usize::try_from(topic.partitions.unwrap_or(1)).unwrap_or(1);
    let partitions = plan.topics().filter(|topic| topics.iter().any(|name| **name == *topic.name())).map(count).sum();
    let topics = topics.into_iter().map(|topic| (Arc::clone(&topic), reset(&topic))).collect();
    Subscription { group: plan.group.clone(), topics, partitions }
}

/// Returns a notice if prefetched messages may take more memory than the setting says.
fn fetch_notice(partitions: usize, memory: ByteSize) -> Option<String> {
    let least = (partitions * MIN_FETCH_SHARE) as u64;
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    (least > memory.0).then(|| {
        format!(
            "prefetched messages may take {} MiB if all {partitions} partitions are assigned to this worker, although `fetch_memory` is {} MiB: each partition takes at least {} KiB",
            mebibytes(least),
            mebibytes(memory.0),
            MIN_FETCH_SHARE >> 10
        )
    })
}

fn describe(
    plan: &Plan,
    transport: &dyn Transport,
    stores: Option<&dyn StoreSet>,
    home: Option<&(Connection, WorkerDir)>,
) -> Description {
    let store = || stores.map_or_else(|| "memory".to_owned(), StoreSet::describe);
    Description {
        group: plan.group.clone(),
        broker: home.map_or_else(|| transport.describe(), |(connection, _)| connection.describe()),
        directory: home.map(|(_, directory)| directory.path().to_owned()),
        store: plan.tables().next().map(|_| store()),
        notices: home.map_or_else(Vec::new, |(connection, _)| connection.notices().to_vec()),
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("group", &self.plan.group).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_beyond_the_setting_is_mentioned() {
        assert_eq!(fetch_notice(512, ByteSize(32 << 20)), None);
        let notice = fetch_notice(1000, ByteSize(32 << 20)).unwrap_or_default();
        assert!(notice.starts_with("prefetched messages may take 63 MiB if all 1000 partitions"), "{notice}");
    }
}
