//! The standbys of a worker: which of them it keeps, their start and stop, and the look-ups of what is committed.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::placement::GroupPlace;
use super::shared::{Key, WorkerState};
use crate::error::{Error, TransportError, panic_text};
use crate::offsets::CommitMetadata;
use crate::plan::{Plan, TopicPlan};
use crate::store::StoreName;
use crate::table_state::TableFactory;
use crate::task::{Standby, StandbyFault, StandbyProgress, StandbyRequest, TaskCommits, TaskCx};
use crate::transport::{Admin, TopicPartition};

/// Interval at which the group's committed offsets are looked up, in one request for all standbys.
const COMMITS_LOOK: Duration = Duration::from_secs(1);
/// Interval at which the members of the group are looked up, beside each assignment of this worker.
const MEMBERS_LOOK: Duration = Duration::from_secs(5);
/// Pause before a standby that could not be started is tried again, which doubles up to the longest after each fault.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The keeper of a worker's standbys, in a Tokio task of its own. Dropping it ends them.
pub(super) struct StandbyKeeper {
    cx: Arc<TaskCx>,
    plan: Arc<Plan>,
    shared: Arc<WorkerState>,
    admin: Arc<dyn Admin>,
    /// Notified after each assignment of this worker.
    assigned: Arc<Notify>,
    standbys: BTreeMap<StoreName, WantedStandby>,
    /// The commits of the tasks of which standbys are kept.
    commits: BTreeMap<Key, watch::Sender<TaskCommits>>,
    running: JoinSet<(StoreName, Result<(), StandbyFault>)>,
    /// The failed look-up that was reported, until one succeeds.
    reported: Option<String>,
}

/// A standby that this worker is to keep.
struct WantedStandby {
    key: Key,
    factory: Arc<dyn TableFactory>,
    progress: Arc<StandbyProgress>,
    /// Time of the next start; `None` while it runs.
    start_at: Option<Instant>,
    pause: Duration,
}

impl StandbyKeeper {
    /// Creates the keeper; `None` if there is nothing to keep: no tables, no stores on disk, or no replicas.
    pub(super) fn new(
        cx: &Arc<TaskCx>,
        plan: &Arc<Plan>,
        shared: &Arc<WorkerState>,
        assigned: &Arc<Notify>,
    ) -> Option<Self> {
        let has_tables = plan.sets().iter().any(|set| !set.tables.is_empty());
        if cx.settings.table_standby_replicas == 0 || !has_tables || !cx.recovery.has_stores() {
            return None;
        }
        Some(Self {
            // The client has been opened by the start of the worker.
            admin: cx.transport.admin().ok()?,
            cx: Arc::clone(cx),
            plan: Arc::clone(plan),
            shared: Arc::clone(shared),
            assigned: Arc::clone(assigned),
            standbys: BTreeMap::new(),
            commits: BTreeMap::new(),
            running: JoinSet::new(),
            reported: None,
        })
    }

    /// Keeps the standbys until the worker ends.
    pub(super) async fn run(mut self) {
        let (mut members, mut commits) = (interval(MEMBERS_LOOK), interval(COMMITS_LOOK));
        members.set_missed_tick_behavior(MissedTickBehavior::Delay);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let assigned = Arc::clone(&self.assigned);
        loop {
            let looked = tokio::select! {
                biased;
                () = assigned.notified() => Some(self.place().await),
                _ = members.tick() => Some(self.place().await),
                Some(ended) = self.running.join_next() => {
                    // An error means that it was cancelled, with the keeper.
                    if let Ok((store, outcome)) = ended {
                        self.ended(&store, outcome.err());
                    }
                    None
                }
                _ = commits.tick(), if !self.commits.is_empty() => Some(self.look_at_commits().await),
            };
            looked.into_iter().for_each(|looked| self.report_look_up(looked.err()));
            self.start().await;
            self.describe();
        }
    }

    /// Determines by the members of the group which standbys this worker keeps, and stops the others. Their stores are kept: they
    /// may become standbys again.
    async fn place(&mut self) -> Result<(), TransportError> {
        let Some(own) = self.cx.group.member_id().await else { return Ok(()) };
        let members = self.admin.group_members(&self.plan.group).await?;
        // A member that the group has expelled keeps what it has, until it is a member again.
        let Some(place) = GroupPlace::find(&own, &members) else { return Ok(()) };
        let mut former = std::mem::take(&mut self.standbys);
        for (store, key, factory) in self.placed(place) {
            let wanted = former.remove(&store).unwrap_or_else(|| {
                let progress = StandbyProgress::new(Arc::clone(&factory.info().name), store.partition);
                let (progress, pause) = (Arc::new(progress), FIRST_PAUSE);
                WantedStandby { key, factory, progress, start_at: Some(Instant::now()), pause }
            });
            self.standbys.insert(store, wanted);
        }
        former.keys().for_each(|store| self.cx.recovery.stop_standby(store));
        let is_kept = |key: &Key| self.standbys.values().any(|standby| standby.key == *key);
        self.commits.retain(|key, _| is_kept(key));
        let before = self.commits.len();
        for standby in self.standbys.values() {
            self.commits.entry(standby.key).or_default();
        }
        if self.commits.len() > before { self.look_at_commits().await } else { Ok(()) }
    }

    /// Returns the standbys of this place in the group: each with its store, its task and its table.
    fn placed(&self, place: GroupPlace) -> Vec<(StoreName, Key, Arc<dyn TableFactory>)> {
        let mut placed = Vec::new();
        for (set, of_set) in self.plan.sets().iter().enumerate() {
            let topics = self.plan.topics().filter(|topic| of_set.topics.contains(topic.name()));
            let partitions = topics.filter_map(TopicPlan::partitions).max().unwrap_or(0);
            for partition in place.standbys(partitions, self.cx.settings.table_standby_replicas) {
                for table in of_set.tables.iter().filter_map(|table| self.plan.table(table)) {
                    let store = StoreName::new(table.name(), partition);
                    placed.push((store, (set, partition), Arc::clone(&table.factory)));
                }
            }
        }
        placed
    }

    /// Looks up what the tasks have committed of which standbys are kept.
    async fn look_at_commits(&mut self) -> Result<(), TransportError> {
        let all = self.commits.keys().flat_map(|key| self.topics(*key)).collect();
        let committed = self.admin.committed_now(&self.plan.group, all).await?;
        for (key, commits) in &self.commits {
            let metadata = |of: TopicPartition| CommitMetadata::from_text(&committed.get(&of)?.metadata, &of.topic);
            commits.send_replace(Arc::new(self.topics(*key).into_iter().filter_map(metadata).collect()));
        }
        Ok(())
    }

    /// Returns the partitions that a task reads.
    fn topics(&self, (set, partition): Key) -> Vec<TopicPartition> {
        let topics = self.plan.sets().get(set).map(|set| &set.topics);
        let topics = self.plan.topics().filter(|topic| topics.is_some_and(|of_set| of_set.contains(topic.name())));
        let has_partition = |topic: &&TopicPlan| topic.partitions().is_none_or(|count| partition < count);
        topics.filter(has_partition).map(|topic| TopicPartition::new(topic.name(), partition)).collect()
    }

    /// Starts the standbys that are due.
    async fn start(&mut self) {
        let now = Instant::now();
        let mut due = Vec::new();
        for (store, standby) in &mut self.standbys {
            let commits = self.commits.get(&standby.key).filter(|commits| !commits.borrow().is_empty());
            let Some(commits) = commits.filter(|_| standby.start_at.is_some_and(|at| at <= now)) else { continue };
            // If the store is in use, or there is no commit yet.
            standby.start_at = Some(now + FIRST_PAUSE);
            due.push(StandbyRequest {
                factory: Arc::clone(&standby.factory),
                partition: store.partition,
                commits: commits.subscribe(),
                progress: Arc::clone(&standby.progress),
            });
        }
        if due.is_empty() {
            return;
        }
        for (store, started) in self.cx.recovery.start_standbys(due).await {
            match started {
                Ok(standby) => {
                    if let Some(wanted) = self.standbys.get_mut(&store) {
                        wanted.start_at = None;
                    }
                    self.running.spawn(async move { (store, caught(standby).await) });
                }
                Err(fault) => self.ended(&store, Some(fault)),
            }
        }
    }

    /// Schedules the next start of a standby, which comes the later, the more often it has failed.
    fn ended(&mut self, store: &StoreName, fault: Option<StandbyFault>) {
        let Some(standby) = self.standbys.get_mut(store) else { return };
        let Some(fault) = fault else {
            // A task needs the store, or needed it.
            (standby.start_at, standby.pause) = (Some(Instant::now() + FIRST_PAUSE), FIRST_PAUSE);
            return;
        };
        let (table, partition, pause) = (&standby.progress.table, store.partition, standby.pause);
        if pause == FIRST_PAUSE {
            tracing::warn!(%table, partition, "the standby has stopped, and is tried again in {pause:?}, then less often: {fault}");
        } else {
            tracing::debug!(%table, partition, "the standby has stopped again, and is tried again in {pause:?}: {fault}");
        }
        standby.start_at = Some(Instant::now() + pause);
        standby.pause = (pause * 2).min(LONGEST_PAUSE);
    }

    /// Reports a failed look-up once, and that look-ups succeed again.
    fn report_look_up(&mut self, error: Option<TransportError>) {
        match (error.map(|error| error.to_string()), &self.reported) {
            (Some(error), None) => {
                tracing::warn!("the standbys of tables wait, because the group cannot be looked up: {error}");
                self.reported = Some(error);
            }
            (None, Some(_)) => {
                tracing::info!("the group can be looked up again: the standbys of tables go on");
                self.reported = None;
            }
            _ => {}
        }
    }

    /// Describes the standbys in the worker's status and to the other workers.
    fn describe(&self) {
        let all: Vec<_> = self.standbys.values().map(|standby| Arc::clone(&standby.progress)).collect();
        self.cx.directory.set_standbys(all.iter().map(|standby| (&*standby.table, standby.partition, standby.lag())));
        *self.shared.standbys.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

/// Runs a standby. Its panic is a fault like any other.
async fn caught(standby: Standby) -> Result<(), StandbyFault> {
    let outcome = AssertUnwindSafe(standby).catch_unwind().await;
    outcome.unwrap_or_else(|panic| {
        let place = "a standby".to_owned();
        Err(Error::Panicked { place, message: panic_text(&*panic) }.into())
    })
}
