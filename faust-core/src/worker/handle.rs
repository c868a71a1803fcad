//! The handle of a running worker.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{mpsc, watch as channel};

use super::control::Control;
use super::group::Listener;
use super::options::WorkerOptions;
use super::shared::{Phase, WorkerState};
use super::status::{Description, Status};
use super::view::{TableView, WindowedView};
use crate::config::Settings;
use crate::error::Error;
use crate::local::{Connection, WorkerDir};
use crate::plan::{Plan, ensure_topics};
use crate::stage::dead_letter;
use crate::stage::outbox::Outbox;
use crate::store::StoreSet;
use crate::table_state::TableValue;
use crate::task::{Recovery, RecoverySetup, TaskCx, log_listener};
#[cfg(feature = "testing")]
use crate::transport::Group;
use crate::transport::{Subscription, Transport};

/// A running worker. Dropping it begins a stop and does not wait for it; [`stop`](Self::stop) does.
pub struct Worker {
    shared: Arc<WorkerState>,
    plan: Arc<Plan>,
    outbox: Arc<Outbox>,
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
        let shared = Arc::new(WorkerState {
            stats: Arc::default(),
            phase: channel::Sender::new(Phase::Starting),
            outcome: Mutex::default(),
            stopping: OnceLock::new(),
            assignment: Mutex::default(),
            stuck: Mutex::default(),
        });
        let sink = transport.sink()?;
        let dead_letter = dead_letter::topic(&plan.group);
        let outbox = Outbox::new(Arc::clone(&sink), Arc::clone(&shared.stats), dead_letter.clone());
        let (failed, failures) = mpsc::unbounded_channel();
        let (listener, stats) = (options.restore_listener.clone(), Arc::clone(&shared.stats));
        let needs = RecoverySetup {
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
            outbox,
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
        crate::topic::Topic::outside(name, &self.outbox)
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
