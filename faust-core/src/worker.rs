//! The worker: plans, subscribes, runs the tasks of its partitions, commits, drains.

mod commit;
mod control;
mod group;
mod upkeep;
mod view;
mod watch;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch as channel};
use tokio::time::Instant;

use self::control::Control;
use self::group::Listener;
pub use self::view::{TableView, WindowedView};
use crate::config::Settings;
use crate::error::Error;
use crate::local::{Connection, WorkerDir};
use crate::plan::Plan;
use crate::plan::ensure_topics;
use crate::stage::dead_letter;
use crate::stage::outbox::Outputs;
use crate::stats::{Counts, Stats};
use crate::store::StoreSet;
use crate::table_state::TableValue;
use crate::task::TaskCx;
use crate::task::{Needs, Recovery};
use crate::task::{RestoreListener, log_listener};
#[cfg(feature = "testing")]
use crate::transport::Group;
use crate::transport::{Subscription, TopicPartition, Transport};

/// How a worker runs, beyond its settings.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// End by itself when every partition has been read to its end and nothing happened for this long.
    pub until_idle: Option<Duration>,
    /// Who hears how tables are restored, instead of the log.
    restore_listener: Option<SharedListener>,
}

/// A listener that can be shown as part of its options.
#[derive(Clone)]
struct SharedListener(Arc<dyn RestoreListener>);

impl std::fmt::Debug for SharedListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RestoreListener")
    }
}

impl WorkerOptions {
    /// Ends when everything has been read and nothing came for `quiet`.
    #[must_use]
    pub fn until_idle(mut self, quiet: Duration) -> Self {
        self.until_idle = Some(quiet);
        self
    }

    /// Tells this listener how tables are restored, instead of the log.
    #[must_use]
    pub fn restore_listener(mut self, listener: Arc<dyn RestoreListener>) -> Self {
        self.restore_listener = Some(SharedListener(listener));
        self
    }
}

/// A running worker. Dropping it begins a stop and does not wait for it; [`stop`](Self::stop) does.
pub struct Worker {
    shared: Arc<Shared>,
    plan: Arc<Plan>,
    outputs: Arc<Outputs>,
    description: Description,
    /// How the test driver kills it.
    #[cfg(feature = "testing")]
    lifeline: Mutex<Option<Lifeline>>,
    failed: mpsc::UnboundedSender<Error>,
    recovery: Arc<Recovery>,
}

/// What holds a worker in its group, and what runs it.
#[cfg(feature = "testing")]
type Lifeline = (Arc<dyn Group>, tokio::task::JoinHandle<()>);

/// What a person is told when a worker starts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Description {
    /// The consumer group.
    pub group: String,
    /// The broker's address, and whose it is.
    pub broker: String,
    /// This worker's own directory.
    pub directory: Option<std::path::PathBuf>,
    /// Where tables are kept; nothing for an app without tables.
    pub store: Option<String>,
    /// What people should be told, one line each.
    pub notices: Vec<String>,
}

/// What the handle and the control loop share.
pub(crate) struct Shared {
    pub(crate) stats: Arc<Stats>,
    pub(crate) phase: channel::Sender<Phase>,
    /// Why it ended, until somebody has asked.
    outcome: Mutex<Option<Error>>,
    /// When its end was asked for.
    stopping: OnceLock<Instant>,
    pub(crate) assignment: Mutex<Vec<TopicPartition>>,
    /// Agents that stay in one event for too long.
    pub(crate) stuck: Mutex<Vec<String>>,
}

/// How far a worker is; only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Has joined the group and waits for partitions.
    Starting,
    /// Has its first assignment.
    Ready,
    /// Was asked to stop, or has to.
    Stopping,
    /// Is over.
    Done,
}

/// What a worker is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Whether it has its partitions with their tables, is not stopping, and no agent is stuck.
    pub ready: bool,
    /// Partitions whose tables are being restored.
    pub restoring: usize,
    /// Bytes of changed entries that wait to be written to the stores of tables.
    pub state_backlog: u64,
    /// Bytes that tables hold in memory.
    pub state_memory: u64,
    /// The partitions it has.
    pub assignment: Vec<TopicPartition>,
    /// Agents that have stayed in one event longer than `stream_processing_timeout`, with the event's place.
    pub stuck: Vec<String>,
    /// What it has done so far.
    pub counts: Counts,
}

/// What a worker is made from.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) plan: Plan,
    pub(crate) transport: Arc<dyn Transport>,
    /// Where tables are kept on disk, if anywhere.
    pub(crate) stores: Option<Arc<dyn StoreSet>>,
    /// The connection and the directory that end with the worker; absent on the test driver.
    pub(crate) home: Option<(Connection, WorkerDir)>,
    pub(crate) options: WorkerOptions,
}

impl Worker {
    /// Settles topics, joins the group and runs in the background.
    pub(crate) async fn start(parts: Parts) -> Result<Self, Error> {
        let Parts { settings, mut plan, transport, stores, home, options } = parts;
        let description = describe(&plan, &*transport, stores.as_deref(), home.as_ref());
        let admin = transport.admin()?;
        ensure_topics(&mut plan, &*admin, &settings).await?;
        let plan = Arc::new(plan);
        let shared = Arc::new(Shared {
            stats: Arc::default(),
            phase: channel::Sender::new(Phase::Starting),
            outcome: Mutex::default(),
            stopping: OnceLock::new(),
            assignment: Mutex::default(),
            stuck: Mutex::default(),
        });
        let sink = transport.sink()?;
        let dead_letter = dead_letter::topic(&plan.group);
        let outputs = Outputs::new(Arc::clone(&sink), Arc::clone(&shared.stats), dead_letter.clone());
        let (failed, failures) = mpsc::unbounded_channel();
        let (listener, stats) = (options.restore_listener.clone(), Arc::clone(&shared.stats));
        let needs = Needs {
            transport: Arc::clone(&transport),
            sink: Arc::clone(&sink),
            stores,
            group: plan.group.clone(),
            stats: Arc::clone(&stats),
            listener: listener.map_or_else(log_listener, |listener| listener.0),
            failed: failed.clone(),
        };
        let recovery = Recovery::new(needs, &settings)?;
        let recovery = Arc::new(recovery);
        let (events, receiver) = mpsc::unbounded_channel();
        let group = transport.join(subscription(&plan), Arc::new(Listener::new(events)))?;
        let cx = TaskCx {
            settings,
            transport: Arc::clone(&transport),
            sink,
            stats,
            dead_letter,
            failed: failed.clone(),
            clock: transport.clock(),
            recovery: Arc::clone(&recovery),
            group: Arc::clone(&group),
        };
        let control = Control::new(Arc::new(cx), Arc::clone(&plan), Arc::clone(&group), Arc::clone(&shared), options);
        #[cfg_attr(not(feature = "testing"), allow(unused_variables, reason = "only the test driver kills a worker"))]
        let running = tokio::spawn(control.run(receiver, failures, home));
        Ok(Self {
            shared,
            plan,
            outputs,
            description,
            #[cfg(feature = "testing")]
            lifeline: Mutex::new(Some((group, running))),
            failed,
            recovery,
        })
    }

    /// Bytes that the stores of its tables take on disk; `None` if tables are in memory, or there are none.
    ///
    /// # Errors
    /// The stores cannot say.
    pub async fn state_on_disk(&self) -> Result<Option<u64>, Error> {
        self.recovery.stores.on_disk().await
    }

    /// A table to read from outside the agents, as far as its partitions are on this worker.
    ///
    /// # Errors
    /// There is no such table, or it has other types.
    pub fn table<K: crate::codec::Data, V: TableValue>(&self, name: &str) -> Result<TableView<K, V>, Error> {
        TableView::open(name, &self.plan, &self.recovery.published)
    }

    /// A windowed table to read from outside the agents, as [`table`](Self::table).
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub fn windowed_table<K: crate::codec::Data, V: TableValue>(
        &self,
        name: &str,
    ) -> Result<WindowedView<K, V>, Error> {
        WindowedView::open(name, &self.plan, &self.recovery.published)
    }

    /// Waits until the first assignment has been taken up, or the worker has ended.
    pub async fn ready(&self) {
        self.reach(Phase::Ready).await;
    }

    /// Asks the worker to end: its streams end, what is done is committed, the group is left.
    pub fn begin_stop(&self) {
        self.shared.advance(Phase::Stopping);
    }

    /// Ends the worker and waits until it has ended.
    ///
    /// # Errors
    /// Why it ended, if it was not for this call; [`Error::ShutdownTimeout`] if it would not drain in time.
    pub async fn stop(&self) -> Result<(), Error> {
        self.begin_stop();
        self.wait().await
    }

    /// Waits until the worker ends: by [`begin_stop`](Self::begin_stop), `until_idle`, or an error.
    ///
    /// # Errors
    /// Why it ended, told once.
    pub async fn wait(&self) -> Result<(), Error> {
        self.reach(Phase::Done).await;
        self.shared.outcome.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// What it is doing now.
    pub fn status(&self) -> Status {
        let copy = |list: &Mutex<Vec<String>>| list.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stuck = copy(&self.shared.stuck);
        Status {
            ready: *self.shared.phase.borrow() == Phase::Ready && stuck.is_empty() && self.recovery.restoring() == 0,
            restoring: self.recovery.restoring(),
            state_backlog: self.recovery.stores.backlog(),
            state_memory: self.recovery.stores.memory(),
            assignment: self.shared.assignment.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            stuck,
            counts: self.shared.stats.counts(),
        }
    }

    /// What it runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What to tell a person about it.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// A topic to send to from outside the agents, such as from `main`; not part of any commit.
    ///
    /// # Errors
    /// A type without a codec, a topic name the producer refuses.
    pub fn topic<K: crate::codec::Data, V: crate::codec::Data>(
        &self,
        name: &str,
    ) -> Result<crate::topic::Topic<K, V>, Error> {
        crate::topic::Topic::outside(name, &self.outputs)
    }

    /// Whether its stores are at work.
    #[cfg(feature = "testing")]
    pub(crate) fn is_storing(&self) -> bool {
        self.recovery.stores.is_busy()
    }

    /// Until this is dropped, its stores wait for nothing.
    #[cfg(feature = "testing")]
    pub(crate) fn hurry_stores(&self) -> crate::store::Wish {
        self.recovery.stores.hurry()
    }

    /// Dies as a process dies: nothing is drained, nothing committed, the group is not told.
    #[cfg(feature = "testing")]
    pub(crate) fn crash(&self) {
        if let Some((group, running)) = self.lifeline.lock().unwrap_or_else(PoisonError::into_inner).take() {
            group.abandon();
            running.abort();
        }
        self.shared.advance(Phase::Done);
    }

    /// Ends with an error, as when an agent has failed for good.
    pub fn fail(&self, error: Error) {
        drop(self.failed.send(error));
    }

    async fn reach(&self, phase: Phase) {
        let mut phases = self.shared.phase.subscribe();
        // The sender lives as long as `self`.
        drop(phases.wait_for(|now| *now >= phase).await);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.begin_stop();
    }
}

impl Shared {
    pub(crate) fn advance(&self, phase: Phase) {
        if phase >= Phase::Stopping {
            self.stopping_since();
        }
        self.phase.send_if_modified(|now| {
            let grows = phase > *now;
            *now = phase.max(*now);
            grows
        });
    }

    /// When its end was first asked for: now, if it was not.
    pub(crate) fn stopping_since(&self) -> Instant {
        *self.stopping.get_or_init(Instant::now)
    }

    /// Keeps the first error: what follows is its consequence.
    pub(crate) fn fail(&self, error: Error) {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

fn subscription(plan: &Plan) -> Subscription {
    let topics = plan.subscribed();
    let count = |topic: &crate::plan::TopicPlan| usize::try_from(topic.partitions.unwrap_or(1)).unwrap_or(1);
    let partitions = plan.topics().filter(|topic| topics.iter().any(|name| **name == *topic.name())).map(count).sum();
    Subscription { group: plan.group.clone(), topics, partitions }
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
