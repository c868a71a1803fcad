//! The test driver and its API.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::disk::Disks;
use super::history::{History, TEST, What, WorkerObserver};
use super::settle::{VAIN_REQUESTS, commit_outputs, settle, step_stores};
use crate::app::{App, AppBuilder};
use crate::error::Error;
use crate::plan::{TopicPlan, TopicRole};
use crate::stage::outbox::Outbox;
use crate::stage::timestamps::{TimestampRules, TopicLimits};
use crate::stats::Stats;
use crate::time::{Timestamp, millis};
use crate::transport::memory::{GroupTimeouts, MemoryCluster};
use crate::transport::{TopicPartition, Transport};
use crate::worker::{Status, Worker};

/// An app under test, with its own Kafka and clock.
pub struct TestDriver {
    // IMPORTANT: declared before the runtime, because dropping workers needs it.
    pub(super) workers: Vec<Option<Worker>>,
    /// Number of workers started so far.
    starts: u64,
    disks: Disks,
    pub(super) history: Arc<History>,
    pub(super) app: App,
    pub(super) cluster: MemoryCluster,
    pub(super) outbox: Arc<Outbox>,
    pub(super) runtime: Runtime,
}

/// The identifier of a worker of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(usize);

/// The initial time of every driver's clock: 2026-01-01 00:00:00 UTC.
pub const START: Timestamp = Timestamp(1_767_225_600_000);

/// Number of turns after which the clock moves while a worker starts.
const START_TURNS: u32 = 1_000;

/// Number of turns between writes to stores in [`TestDriver::run_turns`].
const TURNS_PER_STORE_WRITE: u32 = 16;

impl TestDriver {
    /// Builds the app. No worker runs yet: [`start_worker`](Self::start_worker) starts the first.
    ///
    /// # Errors
    /// Returns an error if the app is invalid. The error lists all faults.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.start_worker()?;
    /// driver.send("numbers", &"a".to_owned(), &21)?;
    /// driver.run_until_idle();
    /// assert_eq!(driver.read::<String, i64>("doubled")?, [("a".to_owned(), 42)]);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn new(app: AppBuilder) -> Result<Self, Error> {
        Self::seeded(app, 0)
    }

    /// Like [`new`](Self::new), with a seed for the random choices of the cluster.
    ///
    /// # Errors
    /// Same as [`new`](Self::new).
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let app = App::new("lesson").only::<double>();
    /// let mut driver = TestDriver::seeded(app, 7)?;
    /// driver.start_worker()?;
    /// driver.send("numbers", &"a".to_owned(), &21)?;
    /// driver.run_until_idle();
    /// assert_eq!(driver.read::<String, i64>("doubled")?, [("a".to_owned(), 42)]);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn seeded(app: AppBuilder, seed: u64) -> Result<Self, Error> {
        let app = app.build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.map_err(|error| Error::Misuse(format!("the test driver needs a runtime: {error}")))?;
        let start = runtime.block_on(async { Instant::now() });
        let clock = move || Timestamp(START.0 + millis(start.elapsed()));
        let settings = app.settings();
        let timeouts = GroupTimeouts::new(settings.broker_session_timeout, settings.broker_rebalance_timeout);
        let cluster = MemoryCluster::new(seed, timeouts, clock).for_client(TEST);
        let history = History::new();
        cluster.observe(Arc::<History>::clone(&history));
        let (policy, stats) = (settings.on_timestamp_error, Arc::<Stats>::default());
        let timestamps = TimestampRules::new(policy, cluster.clock(), Arc::clone(&stats), TopicLimits::new());
        let outbox = Outbox::new(cluster.reliable_sink(), stats, String::new(), timestamps);
        let disks = Disks::new(&app);
        Ok(Self { workers: Vec::new(), starts: 0, disks, history, app, cluster, outbox, runtime })
    }

    /// Sets another version of the app, which workers run that are started from now on. It must have the same id.
    ///
    /// # Errors
    /// Same as [`new`](Self::new).
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let app = || App::new("lesson").only::<double>();
    /// let mut driver = TestDriver::new(app())?;
    /// let first = driver.start_worker()?;
    /// driver.set_app(app().setting("processing_guarantee", "at_least_once"))?;
    /// driver.start_worker()?;
    /// driver.stop(first)?;
    /// driver.send("numbers", &"a".to_owned(), &21)?;
    /// driver.run_until_idle();
    /// assert_eq!(driver.messages("doubled")?.len(), 1, "the second worker has the other settings");
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn set_app(&mut self, app: AppBuilder) -> Result<(), Error> {
        self.app = app.build()?;
        Ok(())
    }

    /// Starts a worker of the app and runs until it is idle.
    ///
    /// # Errors
    /// Returns an error if the worker cannot start: the topology has faults, a topic has the wrong number of partitions,
    /// or a store cannot be opened.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.create_topic("numbers", 2)?;
    /// let first = driver.start_worker()?;
    /// assert_eq!(driver.assignment(first).len(), 2);
    /// let second = driver.start_worker()?;
    /// assert_eq!((driver.assignment(first).len(), driver.assignment(second).len()), (1, 1));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn start_worker(&mut self) -> Result<WorkerId, Error> {
        let worker = self.start()?;
        self.workers.push(Some(worker));
        self.run_until_idle();
        Ok(WorkerId(self.workers.len() - 1))
    }

    fn start(&mut self) -> Result<Worker, Error> {
        let (place, stores) = self.disks.open(self.app.settings())?;
        self.starts += 1;
        let name = worker_name(self.workers.len());
        // A worker keeps its name in its directory, and so does one that is started in its place.
        let own_name = worker_name(place);
        // One app runs all workers: each has an instance id of its own, which a worker that is started in its place takes.
        let instance = self.app.settings().consumer_group_instance_id.as_ref().map(|id| format!("{id}-{}", place + 1));
        let cluster = self.cluster.for_client(&name).with_instance(instance);
        let observer = WorkerObserver { history: Arc::clone(&self.history), worker: name.as_str().into() };
        let started = self.runtime.block_on(async {
            let start = self.app.start_on(Arc::new(cluster), stores, (own_name, self.starts), Arc::new(observer));
            tokio::pin!(start);
            // Polled in a loop rather than awaited: an idle runtime would advance the paused clock. It moves only if the start waits
            // for that, as for an open transaction.
            loop {
                for _ in 0..START_TURNS {
                    if let Some(worker) = start.as_mut().now_or_never() {
                        return worker;
                    }
                    tokio::task::yield_now().await;
                }
                tokio::time::advance(Duration::from_millis(10)).await;
            }
        });
        if let Ok(worker) = &started {
            let is_internal = |topic: &&TopicPlan| matches!(topic.role(), TopicRole::Changelog | TopicRole::Control);
            self.history.hide(worker.plan().topics().filter(is_internal).map(|topic| topic.name().to_owned()));
        }
        started
    }

    /// Notes in the timeline what the test does to a worker.
    fn note(&self, worker: WorkerId, what: &'static str) {
        self.history.note(&worker_name(worker.0).into(), What::Done(what), self.now());
    }

    /// Runs all workers until nothing is left to do without time passing.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.start_worker()?;
    /// let before = driver.now();
    /// driver.send("numbers", &"a".to_owned(), &21)?;
    /// assert!(driver.messages("doubled")?.is_empty());
    /// driver.run_until_idle();
    /// assert_eq!((driver.messages("doubled")?.len(), driver.now()), (1, before));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn run_until_idle(&mut self) {
        let workers: Vec<_> = self.workers.iter().flatten().collect();
        self.runtime.block_on(async {
            settle(&self.cluster, &workers).await;
            // Under exactly-once, messages are visible once they are committed. Those of unfinished events wait.
            let mut in_vain = 0;
            while in_vain < VAIN_REQUESTS && commit_outputs(&workers) > 0 {
                let (activity, published) = (self.cluster.activity(), self.cluster.published());
                settle(&self.cluster, &workers).await;
                if self.cluster.activity() == activity {
                    break;
                }
                in_vain = if self.cluster.published() == published { in_vain + 1 } else { 0 };
            }
        });
    }

    /// Advances the clock. Timers fire in order, and after each of them the workers run until they are idle.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// let begin = driver.now();
    /// driver.advance(Duration::from_secs(5));
    /// assert_eq!(driver.now().as_millis(), begin.as_millis() + 5_000);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn advance(&mut self, by: Duration) {
        let workers: Vec<_> = self.workers.iter().flatten().collect();
        self.runtime.block_on(async {
            let end = Instant::now() + by;
            settle(&self.cluster, &workers).await;
            loop {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                // Small steps, so that the effects of one timer are visible to the next.
                tokio::time::advance(left.min(Duration::from_millis(10))).await;
                settle(&self.cluster, &workers).await;
            }
        });
    }

    /// Advances the clock by the commit interval, so that finished events are committed.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, Offset, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.start_worker()?;
    /// driver.send_with("numbers", &"a".to_owned(), &21, |message| message.partition(0))?;
    /// driver.commit();
    /// assert_eq!(driver.committed("numbers")?.get(&0), Some(&Offset(1)));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn commit(&mut self) {
        self.advance(self.app.settings().commit_interval());
    }

    /// Returns the time of the driver's clock.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{App, Timestamp, testing::{START, TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// assert_eq!(driver.now(), START);
    /// driver.advance(Duration::from_millis(1));
    /// assert_eq!(driver.now(), Timestamp(START.0 + 1));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn now(&self) -> Timestamp {
        self.runtime.block_on(async { self.cluster.time() })
    }

    /// Returns the partitions that are assigned to a worker.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.create_topic("numbers", 1)?;
    /// let worker = driver.start_worker()?;
    /// let partitions: Vec<_> = driver.assignment(worker).iter().map(ToString::to_string).collect();
    /// assert_eq!(partitions, ["numbers[0]"]);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn assignment(&self, worker: WorkerId) -> Vec<TopicPartition> {
        self.status(worker).map_or_else(Vec::new, |status| status.assignment)
    }

    /// Returns the status of a worker, or `None` once it has stopped or crashed.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// let worker = driver.start_worker()?;
    /// assert_eq!(driver.status(worker).map(|status| status.ready), Some(true));
    /// driver.stop(worker)?;
    /// assert!(driver.status(worker).is_none());
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn status(&self, worker: WorkerId) -> Option<Status> {
        self.workers.get(worker.0)?.as_ref().map(Worker::status)
    }

    /// Shuts a worker down in order: it finishes its events, commits, and leaves the group.
    ///
    /// # Errors
    /// Returns the error with which the worker ended, if it failed.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, Offset, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// let worker = driver.start_worker()?;
    /// driver.send_with("numbers", &"a".to_owned(), &21, |message| message.partition(0))?;
    /// driver.run_until_idle();
    /// driver.stop(worker)?;
    /// assert_eq!(driver.committed("numbers")?.get(&0), Some(&Offset(1)));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn stop(&mut self, worker: WorkerId) -> Result<(), Error> {
        if self.status(worker).is_none() {
            return Ok(());
        }
        self.begin_stop(worker);
        let outcome = self.outcome(worker);
        self.disks.free(worker.0);
        if let Some(worker) = self.workers.get_mut(worker.0) {
            *worker = None;
        }
        outcome
    }

    /// Requests the shutdown of a worker and runs until it is idle, without time passing. A test can thus act in the
    /// middle of the shutdown. [`stop`](Self::stop) must follow.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// let worker = driver.start_worker()?;
    /// driver.begin_stop(worker);
    /// driver.send("numbers", &"a".to_owned(), &21)?;
    /// driver.stop(worker)?;
    /// assert!(driver.messages("doubled")?.is_empty());
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn begin_stop(&mut self, worker: WorkerId) {
        if let Some(Some(running)) = self.workers.get(worker.0) {
            self.note(worker, "is stopped by the test");
            // Inside the runtime, so that the shutdown timeout starts now on the driver's clock.
            let _inside = self.runtime.enter();
            running.begin_stop();
        }
        self.run_until_idle();
    }

    /// Returns the result of a worker that has ended by itself, or `None` while it runs. Only the first call returns the
    /// error.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, Error, testing::{TestDriver, examples::double}};
    ///
    /// let app = App::new("lesson").only::<double>().setting("on_decode_error", "stop");
    /// let mut driver = TestDriver::new(app)?;
    /// let worker = driver.start_worker()?;
    /// assert!(driver.ended(worker).is_none());
    /// driver.send("numbers", &"a".to_owned(), &"not a number".to_owned())?;
    /// driver.run_until_idle();
    /// assert!(matches!(driver.ended(worker), Some(Err(Error::Decode { .. }))));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn ended(&mut self, worker: WorkerId) -> Option<Result<(), Error>> {
        let worker = self.workers.get(worker.0)?.as_ref()?;
        self.runtime.block_on(async { worker.wait().now_or_never() })
    }

    /// Waits until a worker has ended, and returns its outcome.
    fn outcome(&mut self, worker: WorkerId) -> Result<(), Error> {
        if let Some(outcome) = self.ended(worker) {
            return outcome;
        }
        // An agent that does not return is waited for up to the shutdown timeout.
        let patience = self.app.settings().shutdown_timeout + Duration::from_secs(1);
        self.advance(patience);
        self.ended(worker).unwrap_or(Ok(()))
    }

    /// Kills a worker: it finishes and commits nothing, and the group removes it only after the session timeout.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// let worker = driver.start_worker()?;
    /// driver.cluster().hold_commits();
    /// driver.send("numbers", &"a".to_owned(), &21)?;
    /// driver.run_until_idle();
    /// driver.crash(worker);
    /// assert!(driver.status(worker).is_none());
    /// assert!(driver.messages("doubled")?.is_empty(), "the message was sent, but not committed");
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn crash(&mut self, worker: WorkerId) {
        if let Some(running) = self.workers.get_mut(worker.0).and_then(Option::take) {
            self.note(worker, "is killed by the test");
            let _inside = self.runtime.enter();
            running.crash();
            self.disks.free(worker.0);
        }
        self.run_until_idle();
    }

    /// Lets the group expel a worker, as if its heartbeats had not arrived: other workers take its partitions over at once.
    /// The worker continues; it learns of it after `delay`, drops what it has not committed, and joins again. Returns
    /// `false` if the worker does not run, or is expelled already.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.create_topic("numbers", 2)?;
    /// let (first, second) = (driver.start_worker()?, driver.start_worker()?);
    /// assert!(driver.expel(first, Duration::from_secs(1)));
    /// driver.run_until_idle();
    /// assert_eq!(driver.assignment(second).len(), 2);
    /// assert_eq!(driver.assignment(first).len(), 1, "it does not know yet");
    /// driver.advance(Duration::from_secs(1));
    /// assert_eq!((driver.assignment(first).len(), driver.assignment(second).len()), (1, 1));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn expel(&mut self, worker: WorkerId, delay: Duration) -> bool {
        let Some(Some(_)) = self.workers.get(worker.0) else { return false };
        self.note(worker, "is expelled from the group by the test");
        let before = self.workers.iter().take(worker.0).flatten().count();
        let _inside = self.runtime.enter();
        self.cluster.expel(before, delay)
    }

    /// Runs all workers for this many turns of the scheduler, without time passing. A test can thus crash a worker in
    /// the middle of an operation.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// let worker = driver.start_worker()?;
    /// driver.send("numbers", &"a".to_owned(), &21)?;
    /// driver.run_turns(1);
    /// driver.restart(worker)?;
    /// let doubled = driver.read::<String, i64>("doubled")?;
    /// assert_eq!(doubled.last(), Some(&("a".to_owned(), 42)));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn run_turns(&mut self, turns: u32) {
        let workers: Vec<_> = self.workers.iter().flatten().collect();
        self.runtime.block_on(async {
            for turn in 1..=turns {
                tokio::task::yield_now().await;
                if turn.is_multiple_of(TURNS_PER_STORE_WRITE) {
                    step_stores(&workers);
                }
            }
        });
    }

    /// Deletes the disk of a worker that is not running, as if its machine had been replaced.
    ///
    /// # Errors
    /// Returns an error if the worker runs or its directory cannot be removed.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// let worker = driver.start_worker()?;
    /// driver.send("words", &"a".to_owned(), &"apple".to_owned())?;
    /// driver.commit();
    /// driver.stop(worker)?;
    /// driver.lose_disk(worker)?;
    /// driver.start_worker()?;
    /// assert_eq!(driver.table::<String, u64>("counts")?.find("a"), Some(1), "restored from its changelog");
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn lose_disk(&mut self, worker: WorkerId) -> Result<(), Error> {
        self.disks.lose(worker.0, self.app.settings())
    }

    /// Crashes a worker, waits until the group has removed it, and starts another one in its place.
    ///
    /// # Errors
    /// Same as [`start_worker`](Self::start_worker).
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// let worker = driver.start_worker()?;
    /// driver.cluster().hold_commits();
    /// driver.send("numbers", &"a".to_owned(), &21)?;
    /// driver.run_until_idle();
    /// driver.cluster().release_commits();
    /// driver.restart(worker)?;
    /// assert_eq!(driver.messages("doubled")?.len(), 1, "the event is read again, and counts once");
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn restart(&mut self, worker: WorkerId) -> Result<WorkerId, Error> {
        self.crash(worker);
        self.advance(self.app.settings().broker_session_timeout + Duration::from_millis(10));
        self.start_worker()
    }

    /// Returns the cluster, on which a test can hold acknowledgements and commits.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.start_worker()?;
    /// driver.cluster().hold_deliveries();
    /// driver.send("numbers", &"a".to_owned(), &21)?;
    /// driver.commit();
    /// assert!(driver.committed("numbers")?.is_empty(), "the result is not acknowledged yet");
    /// driver.cluster().release_deliveries();
    /// driver.commit();
    /// assert_eq!(driver.committed("numbers")?.len(), 1);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn cluster(&self) -> &MemoryCluster {
        &self.cluster
    }
}

fn worker_name(index: usize) -> String {
    format!("worker-{}", index + 1)
}

impl Drop for TestDriver {
    fn drop(&mut self) {
        self.print_timeline_of_failure();
        let _inside = self.runtime.enter();
        self.workers.drain(..).flatten().for_each(|worker| worker.crash());
    }
}

impl std::fmt::Debug for TestDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestDriver").field("app", &self.app).finish_non_exhaustive()
    }
}
