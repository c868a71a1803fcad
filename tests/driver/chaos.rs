//! Random histories of a cluster: input, passing time, failures, crashes at any await point, broker faults, lost disks.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use faust::testing::{ClusterFault, FaultProfile, START, TestDriver, WorkerId};
use faust::{AppBuilder, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};

/// One step of a cluster's history.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends messages, and runs the driver until it is idle, or only for a number of turns.
    Send(Vec<Input>, Option<u8>),
    Advance(u16),
    Commit,
    Start,
    Stop(Index),
    Crash(Index),
    /// Crashes all workers, and possibly deletes their disks.
    CrashAll(Disk),
    Hold(Held),
    /// Releases everything the broker holds back, and runs the driver until it is idle, or only for a number of turns.
    Release(Option<u8>),
    /// Makes [`trip`] fail once, after this many successful calls.
    Fail(u8),
    /// The group expels a worker, which learns of it after this many milliseconds.
    Expel(Index, u16),
}

/// The faults of transactions, and those of commits and messages without one.
const OF_TRANSACTIONS: [ClusterFault; 3] =
    [ClusterFault::AbortedTransaction, ClusterFault::ProducerLost, ClusterFault::StaleOffsets];
const WITHOUT_TRANSACTIONS: [ClusterFault; 4] = [
    ClusterFault::CommitByFormerOwner,
    ClusterFault::PartialCommit,
    ClusterFault::LostCommitAnswer,
    ClusterFault::ProducerFailed,
];

/// Returns the faults that histories under at-least-once draw from.
pub(crate) fn faults() -> &'static [ClusterFault] {
    faults_except(&OF_TRANSACTIONS)
}

/// Returns the faults that histories under exactly-once draw from.
pub(crate) fn faults_of_transactions() -> &'static [ClusterFault] {
    faults_except(&WITHOUT_TRANSACTIONS)
}

/// Returns all faults except these, unless `FAUST_TEST_FAULTS` names others, separated by commas.
fn faults_except(others: &[ClusterFault]) -> &'static [ClusterFault] {
    let Ok(names) = std::env::var("FAUST_TEST_FAULTS") else {
        let faults = ClusterFault::ALL.into_iter().filter(|fault| !others.contains(fault));
        return faults.collect::<Vec<_>>().leak();
    };
    let named = |name: &str| {
        let fault = ClusterFault::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
        fault.unwrap_or_else(|| panic!("FAUST_TEST_FAULTS: no fault `{name}`; there are {:?}", ClusterFault::ALL))
    };
    names.split(',').map(named).collect::<Vec<_>>().leak()
}

/// A random history on a cluster with faults.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) faults: FaultProfile,
    steps: Vec<Step>,
}

/// The time after which the cluster aborts the transaction of a crashed worker.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The minimum number of messages and of rebalances in a [`History`].
const MESSAGES: usize = 200;
const REBALANCES: usize = 3;

/// Generates histories with some of these faults, on at least two workers.
pub(crate) fn history(span: i64, faults: &'static [ClusterFault]) -> impl Strategy<Value = History> {
    let rates = prop::collection::vec(
        prop::option::weighted(if faults.len() == 1 { 0.95 } else { 0.3 }, 0.02f64..0.3),
        faults.len(),
    );
    let expels = faults.contains(&ClusterFault::ExpelledMember);
    let turns = || prop::option::weighted(0.3, 0u8..120);
    let steps = prop_oneof![
        6 => (prop::collection::vec(input(span), 4..20), turns()).prop_map(|(input, turns)| Step::Send(input, turns)),
        // A commit follows most messages: without commits, the others prove little.
        8 => prop_oneof![2 => Just(Step::Commit), 1 => (100u16..1500).prop_map(Step::Advance)],
        8 => step(span).prop_filter("holds little back", |step| !matches!(step, Step::Hold(_))),
        1 => step(span),
        2 => Just(Step::Release(None)),
        u32::from(expels) => (any::<Index>(), 0u16..2500).prop_map(|(worker, delay)| Step::Expel(worker, delay)),
    ];
    let steps = prop::collection::vec(steps, 24..60);
    let rest = prop::collection::vec(input(span), MESSAGES);
    (rates, any::<bool>(), steps, rest).prop_map(move |(rates, is_impatient, steps, rest)| {
        let rates = faults.iter().zip(rates);
        let faults = rates.fold(FaultProfile::default(), |all, (fault, rate)| match rate {
            // A commit by a former owner needs a rebalance that does not wait for it, and an agent inside an event: where they
            // may occur, they always do.
            Some(_) | None if matches!(fault, ClusterFault::CommitByFormerOwner | ClusterFault::ImpatientRebalance) => {
                if is_impatient {
                    all.with(*fault, 1.0)
                } else {
                    all
                }
            }
            // Commits and rebalances are rarer than messages.
            Some(rate) if *fault < ClusterFault::SlowSend => all.with(*fault, 3.0 * rate),
            Some(rate) => all.with(*fault, rate),
            None => all,
        });
        History { faults, steps: complete(steps, rest) }
    })
}

/// Adds what a history lacks: a second worker, messages and rebalances.
fn complete(mut steps: Vec<Step>, mut rest: Vec<Input>) -> Vec<Step> {
    steps.insert(0, Step::Start);
    let sent: usize = steps.iter().map(|step| if let Step::Send(input, _) = step { input.len() } else { 0 }).sum();
    rest.truncate(MESSAGES.saturating_sub(sent));
    let is_rebalance = |step: &&Step| {
        matches!(step, Step::Start | Step::Stop(_) | Step::Crash(_) | Step::CrashAll(_) | Step::Expel(..))
    };
    for _ in steps.iter().filter(is_rebalance).count()..REBALANCES {
        let some = rest.split_off(rest.len() - rest.len().min(20));
        steps.extend([Step::Send(some, None), Step::CrashAll(Disk::Kept), Step::Start, Step::Start]);
    }
    steps.push(Step::Send(rest, None));
    steps
}

/// The number of histories, and of those in which each fault occurred.
#[derive(Default)]
struct Tally {
    histories: u64,
    occurred: BTreeMap<ClusterFault, u64>,
    /// Histories in which a task has continued after a rebalance.
    resumed: u64,
    /// Histories with stores on disk, and those of them in which a standby was taken over.
    on_disk: u64,
    taken_over: u64,
}

/// Runs a property on random histories with these faults. Prints in how many histories each fault occurred. A run of at
/// least a hundred histories fails if one occurred in less than a hundredth of them.
pub(crate) fn histories<S: Strategy>(
    default: u32,
    faults: &[ClusterFault],
    strategy: &S,
    property: impl Fn(S::Value, &dyn Fn(&Chaos)) -> Result<(), TestCaseError>,
) {
    let tally = std::cell::RefCell::new(Tally::default());
    let count = |chaos: &Chaos| {
        let mut tally = tally.borrow_mut();
        tally.histories += 1;
        tally.resumed += u64::from(chaos.has_resumed);
        tally.on_disk += u64::from(chaos.has_standbys);
        tally.taken_over += u64::from(chaos.has_taken_over);
        for (fault, occurrences) in chaos.driver.cluster().fault_counts() {
            *tally.occurred.entry(fault).or_default() += u64::from(occurrences > 0);
        }
    };
    let mut config = cases(default);
    let first = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => RandomState::new().hash_one(()),
    };
    let number = config.cases;
    config.cases = 1;
    config.failure_persistence = None;
    // A history takes half a second, so that shrinking needs a limit.
    config.max_shrink_time = 60_000;
    // Each history has a seed, so that one that fails can be run alone.
    for seed in (0..number).map(|index| first.wrapping_add(u64::from(index))) {
        config.rng_seed = RngSeed::Fixed(seed);
        let mut runner = TestRunner::new(config.clone());
        if let Err(failure) = runner.run(strategy, |value| property(value, &count)) {
            panic!("{failure}\n{runner}\nPROPTEST_RNG_SEED={seed} FAUST_TEST_CASES=1 repeats this history");
        }
    }
    let tally = tally.into_inner();
    println!("{} histories; those in which each fault occurred: {:?}", tally.histories, tally.occurred);
    println!("tasks continued after a rebalance in {}", tally.resumed);
    println!("a standby was taken over in {} of {} with stores on disk", tally.taken_over, tally.on_disk);
    let are_rare = tally.on_disk >= 30 && tally.taken_over * 5 < tally.on_disk;
    assert!(!are_rare, "standbys were taken over in {} of {} histories only", tally.taken_over, tally.on_disk);
    assert!(
        tally.histories < 100 || tally.resumed * 10 >= tally.histories,
        "tasks continued in {} only",
        tally.resumed
    );
    for fault in faults {
        let occurred = tally.occurred.get(fault).copied().unwrap_or(0);
        // Only a standby looks offsets up without waiting for transactions, and only stores on disk have standbys.
        let possible = if *fault == ClusterFault::StaleOffsets { tally.on_disk } else { tally.histories };
        let is_rare = possible >= 100 && occurred * 100 < possible;
        assert!(!is_rare, "{fault:?} occurred in {occurred} of {possible} histories only");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Kept,
    Lost,
}

/// The kind of traffic that the broker holds back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held {
    Deliveries,
    Commits,
    CommitAnswers,
}

/// A message: the number of its key, its value, and its time relative to [`base`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input {
    pub(crate) key: u8,
    pub(crate) value: i64,
    pub(crate) time: i64,
}

/// Generates messages with a few keys, and times up to `span` milliseconds after [`base`].
pub(crate) fn input(span: i64) -> impl Strategy<Value = Input> {
    (0u8..7, 0i64..100, 0..span).prop_map(|(key, value, time)| Input { key, value, time })
}

/// Generates steps, with disruptive and harmless ones in similar proportions.
pub(crate) fn step(span: i64) -> impl Strategy<Value = Step> {
    let turns = || prop::option::weighted(0.5, 0u8..120);
    let held = prop_oneof![Just(Held::Deliveries), Just(Held::Commits), Just(Held::CommitAnswers)];
    prop_oneof![
        8 => (prop::collection::vec(input(span), 1..12), turns()).prop_map(|(input, turns)| Step::Send(input, turns)),
        4 => (1u16..1500).prop_map(Step::Advance),
        3 => Just(Step::Commit),
        2 => Just(Step::Start),
        1 => any::<Index>().prop_map(Step::Stop),
        2 => any::<Index>().prop_map(Step::Crash),
        1 => prop_oneof![Just(Disk::Kept), Just(Disk::Lost)].prop_map(Step::CrashAll),
        2 => held.prop_map(Step::Hold),
        2 => turns().prop_map(Step::Release),
        2 => (0u8..12).prop_map(Step::Fail),
    ]
}

/// Generates the store of a case, unless `FAUST_TEST_STORE` sets it. Databases on disk are rare, because they make a
/// case ten times slower.
pub(crate) fn store() -> BoxedStrategy<&'static str> {
    if let Ok(given) = std::env::var("FAUST_TEST_STORE") {
        return Just(&*given.leak()).boxed();
    }
    prop_oneof![6 => Just("memory://"), 1 => Just("sled://"), 1 => Just("fjall://")].boxed()
}

/// Returns the configuration of a property, with `default` random cases unless `FAUST_TEST_CASES` sets their number.
pub(crate) fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("FAUST_TEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let config = ProptestConfig { cases, ..ProptestConfig::default() };
    ProptestConfig { max_shrink_iters: config.max_shrink_iters.min(2000), ..config }
}

/// Returns the base of all input times, a year before the driver's clock: results must not depend on the clock.
pub(crate) fn base() -> Timestamp {
    Timestamp(START.0 - 365 * 24 * 60 * 60 * 1000)
}

thread_local! {
    /// Number of calls of [`trip`] until one fails, counting the failing one; 0 if none will fail.
    static FUSE: Cell<u32> = const { Cell::new(0) };
}

/// Marks a point in an agent where a case may inject a failure.
pub(crate) fn trip() -> faust::Result<()> {
    let left = FUSE.get();
    FUSE.set(left.saturating_sub(1));
    if left == 1 { Err("injected failure".into()) } else { Ok(()) }
}

/// A cluster with its workers.
pub(crate) struct Chaos {
    pub(crate) driver: TestDriver,
    workers: Vec<WorkerId>,
    ended: Vec<WorkerId>,
    inner_topic: Option<&'static str>,
    /// A task has continued after a rebalance.
    has_resumed: bool,
    /// The tables have stores on disk, and these have standbys.
    has_standbys: bool,
    /// The restore of a table has continued from a standby.
    has_taken_over: bool,
    /// A store was replaced by a new one, and restored from the beginning of its changelog.
    pub(crate) has_set_aside: bool,
    /// Temporary directory that contains the disks, removed with the case.
    _directory: tempfile::TempDir,
}

/// Returns whether a worker has ended because its producer has failed for good, or it lost its producer too often in a row.
fn is_without_producer(why: &faust::Error) -> bool {
    let why = why.to_string();
    why.contains("is fenced") || why.contains("failed for good")
}

impl Chaos {
    /// Starts the app, which reads the topic `in`, on one worker.
    pub(crate) fn new(app: AppBuilder, partitions: i32, store: &str) -> Self {
        Self::with_standbys(app, partitions, store, 1 + partitions % 2)
    }

    /// Like [`new`](Self::new), with this number of standbys.
    pub(crate) fn with_standbys(app: AppBuilder, partitions: i32, store: &str, standbys: i32) -> Self {
        FUSE.set(0);
        let directory = tempfile::tempdir().unwrap();
        let app = app
            .setting("topic_partitions", partitions)
            .setting("broker_commit_interval", "500ms")
            .setting("broker_session_timeout", "2s")
            .setting("broker_heartbeat_interval", "500ms")
            // An impatient cluster waits for a part of this time. It is longer than slow sends take.
            .setting("broker_rebalance_timeout", "10s")
            .setting("agent_max_attempts", 100)
            // Keeps the repartition topics complete, because the oracles read them.
            .setting("repartition_purge_interval", "1d")
            .setting("store", store)
            .setting("table_standby_replicas", standbys)
            .setting("datadir", directory.path().display());
        let mut driver = TestDriver::new(app).unwrap();
        if let Some(lines) = std::env::var("FAUST_TEST_TIMELINE").ok().and_then(|lines| lines.parse().ok()) {
            driver.limit_timeline(lines);
        }
        let mut chaos = Self {
            driver,
            workers: Vec::new(),
            ended: Vec::new(),
            inner_topic: None,
            has_resumed: false,
            has_standbys: store != "memory://" && standbys > 0,
            has_taken_over: false,
            has_set_aside: false,
            _directory: directory,
        };
        chaos.start();
        chaos
    }

    /// Applies a history, then ends its faults.
    pub(crate) fn run_history(&mut self, history: &History) {
        self.driver.cluster().set_faults(history.faults.clone());
        history.steps.iter().for_each(|step| self.apply(step));
        self.driver.cluster().set_faults(FaultProfile::default());
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        match step {
            Step::Send(input, turns) => {
                input.iter().for_each(|input| self.send(*input));
                self.run(*turns);
            }
            Step::Advance(ms) => self.driver.advance(Duration::from_millis(u64::from(*ms))),
            Step::Commit => self.driver.commit(),
            Step::Start if self.workers.len() < 3 => self.start(),
            Step::Start => {}
            Step::Stop(index) if !self.workers.is_empty() => self.stop(index.index(self.workers.len())),
            Step::Crash(index) if !self.workers.is_empty() => {
                let worker = self.workers.remove(index.index(self.workers.len()));
                self.driver.crash(worker);
                self.ended.push(worker);
            }
            Step::Stop(_) | Step::Crash(_) => {}
            Step::CrashAll(disk) => self.crash_all(*disk),
            Step::Hold(Held::Deliveries) => self.driver.cluster().hold_deliveries(),
            Step::Hold(Held::Commits) => self.driver.cluster().hold_commits(),
            Step::Hold(Held::CommitAnswers) => self.driver.cluster().hold_commit_answers(),
            Step::Release(turns) => {
                self.release();
                self.run(*turns);
            }
            Step::Fail(after) => FUSE.set(u32::from(*after) + 1),
            Step::Expel(index, delay) if !self.workers.is_empty() => {
                let worker = self.workers[index.index(self.workers.len())];
                self.driver.expel(worker, Duration::from_millis(u64::from(*delay)));
            }
            Step::Expel(..) => {}
        }
    }

    /// Stops a worker gracefully, within its shutdown timeout.
    pub(crate) fn stop(&mut self, worker: usize) {
        // A worker cannot stop gracefully while its deliveries or commits are held back.
        self.release();
        self.supervise();
        let worker = self.workers.remove(worker);
        match self.driver.stop(worker) {
            Err(why) if is_without_producer(&why) => self.driver.crash(worker),
            outcome => outcome.unwrap(),
        }
        self.ended.push(worker);
    }

    fn send(&mut self, Input { key, value, time }: Input) {
        let time = Timestamp(base().0 + time);
        self.driver.send_with("in", &format!("k{key}"), &value, |message| message.timestamp(time)).unwrap();
    }

    /// Starts another worker for each that has ended for want of a producer, as a supervisor does.
    fn supervise(&mut self) {
        for at in 0..self.workers.len() {
            let outcome = self.driver.ended(self.workers[at]);
            if outcome.is_some_and(|outcome| outcome.is_err_and(|why| is_without_producer(&why))) {
                self.driver.crash(self.workers[at]);
                let successor = self.driver.start_worker().unwrap();
                self.ended.push(std::mem::replace(&mut self.workers[at], successor));
            }
        }
    }

    fn run(&mut self, turns: Option<u8>) {
        self.supervise();
        match turns {
            Some(turns) => self.driver.run_turns(u32::from(turns)),
            None => self.driver.run_until_idle(),
        }
        let counts = self.counts();
        self.has_resumed |= counts.iter().any(|counts| counts.tasks_resumed > 0);
        self.has_taken_over |= counts.iter().any(|counts| counts.standby_takeovers > 0);
        self.has_set_aside |= counts.iter().any(|counts| counts.stores_set_aside > 0);
    }

    fn start(&mut self) {
        self.workers.push(self.driver.start_worker().unwrap());
    }

    fn release(&mut self) {
        self.driver.cluster().release_deliveries();
        self.driver.cluster().release_commits();
    }

    pub(crate) fn crash_all(&mut self, disk: Disk) {
        for worker in self.workers.drain(..) {
            self.driver.crash(worker);
            self.ended.push(worker);
        }
        // Exceeds the session timeout, so that the group removes all workers.
        self.driver.advance(Duration::from_millis(2100));
        if disk == Disk::Lost {
            self.ended.drain(..).for_each(|worker| self.driver.lose_disk(worker).unwrap());
        }
    }

    /// Runs the cluster until all input has been processed and committed.
    pub(crate) fn finish(&mut self) {
        FUSE.set(0);
        self.release();
        if self.workers.is_empty() {
            self.start();
        }
        self.supervise();
        // What a crashed worker has sent in an open transaction holds all readers back until the transaction times out.
        self.driver.advance(TRANSACTION_TIMEOUT + Duration::from_secs(3));
        // An agent that has failed often waits for up to `agent_backoff_max`, and so does the one behind a `group_by`.
        for second in 0..300 {
            self.supervise();
            if self.is_done() {
                break;
            }
            let counts = self.driver.cluster().fault_counts();
            if second % 60 == 59 && counts.contains_key(&ClusterFault::CommitByFormerOwner) {
                // A former owner has taken an offset back after everything was processed. The next event would be committed
                // beyond it, and so are those that a restart processes again.
                self.driver.cluster().set_faults(FaultProfile::default());
                self.crash_all(Disk::Kept);
                self.start();
            }
            self.driver.advance(Duration::from_secs(1));
        }
        // Repairs after an unclean shutdown are part of a separate commit.
        self.driver.commit();
        self.driver.commit();
        if !self.is_done() {
            let ended: Vec<_> = self.workers.iter().map(|worker| self.driver.ended(*worker)).collect();
            let status: Vec<_> = self.workers.iter().map(|worker| self.driver.status(*worker)).collect();
            panic!("not everything is committed: {:?}; the workers: {ended:?} {status:?}", self.driver.committed("in"));
        }
    }

    /// Crashes all workers, with or without losing the disks, and starts again.
    pub(crate) fn restart(&mut self, disk: Disk) {
        self.crash_all(disk);
        self.finish();
    }

    fn is_done(&mut self) -> bool {
        ["in"].into_iter().chain(self.inner_topic).all(|topic| {
            let committed = self.driver.committed(topic).unwrap();
            let messages = self.driver.messages(topic).unwrap();
            messages.iter().all(|message| committed.get(&message.partition).is_some_and(|next| *next > message.offset))
        })
    }

    /// Sets the repartition topic of the app, which has to be processed as well.
    pub(crate) fn behind(&mut self, topic: &'static str) {
        self.inner_topic = Some(topic);
    }

    /// Returns the counters of all running workers.
    pub(crate) fn counts(&self) -> Vec<faust::Counts> {
        self.workers.iter().filter_map(|worker| Some(self.driver.status(*worker)?.counts)).collect()
    }
}

/// Parses a payload that holds a JSON number, as in the topics of these tests.
pub(crate) fn number(payload: Option<&[u8]>) -> i64 {
    std::str::from_utf8(payload.unwrap()).unwrap().parse().unwrap()
}
