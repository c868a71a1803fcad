//! Random histories of a cluster: input, time, failures, crashes at any await, faults of the broker, lost disks.

use std::cell::Cell;
use std::time::Duration;

use faust::testing::{START, TestDriver, WorkerId};
use faust::{AppBuilder, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;

/// Something that happens to a cluster.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Messages come, and what follows from them is done, or only so many turns of it.
    Send(Vec<Input>, Option<u8>),
    Advance(u16),
    Commit,
    Start,
    Stop(Index),
    Crash(Index),
    /// Every worker crashes, and perhaps every disk is lost.
    CrashAll(Disk),
    Hold(Held),
    /// What was held back arrives, and what follows is done, or only so many turns of it.
    Release(Option<u8>),
    /// So many of the places in agents that may fail let by, and the next fails.
    Fail(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Kept,
    Lost,
}

/// What the broker holds back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held {
    Deliveries,
    Commits,
    CommitAnswers,
}

/// A message: the key's number, the value, and its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input {
    pub(crate) key: u8,
    pub(crate) value: i64,
    pub(crate) time: i64,
}

/// Messages of a few keys; times are up to `span` milliseconds from [`base`].
pub(crate) fn input(span: i64) -> impl Strategy<Value = Input> {
    (0u8..7, 0i64..100, 0..span).prop_map(|(key, value, time)| Input { key, value, time })
}

/// Steps, of which those that break something are as many as those that do not.
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

/// Where tables are kept, if `FAUST_TEST_STORE` does not say it; a database on disk costs a case ten times the time.
pub(crate) fn store() -> BoxedStrategy<&'static str> {
    if let Ok(given) = std::env::var("FAUST_TEST_STORE") {
        return Just(&*given.leak()).boxed();
    }
    prop_oneof![6 => Just("memory://"), 1 => Just("sled://"), 1 => Just("fjall://")].boxed()
}

/// How many random cases a property gets; `FAUST_TEST_CASES` asks for more.
pub(crate) fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("FAUST_TEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    ProptestConfig { cases, max_shrink_iters: 2000, ..ProptestConfig::default() }
}

/// The time of input is that of a year ago: nothing may depend on the clock.
pub(crate) fn base() -> Timestamp {
    Timestamp(START.0 - 365 * 24 * 60 * 60 * 1000)
}

thread_local! {
    /// How many places in agents let by before one fails; 0 when none will.
    static FUSE: Cell<u32> = const { Cell::new(0) };
}

/// A place in an agent that may fail.
pub(crate) fn trip() -> faust::Result<()> {
    let left = FUSE.get();
    FUSE.set(left.saturating_sub(1));
    if left == 1 { Err("the fuse has blown".into()) } else { Ok(()) }
}

/// A cluster with its workers.
pub(crate) struct Chaos {
    pub(crate) driver: TestDriver,
    workers: Vec<WorkerId>,
    ended: Vec<WorkerId>,
    /// Goes with the case; the disks are in it.
    _directory: tempfile::TempDir,
}

impl Chaos {
    /// Starts the app, which reads the topic `in`, on one worker.
    pub(crate) fn new(app: AppBuilder, partitions: i32, store: &str) -> Self {
        FUSE.set(0);
        let directory = tempfile::tempdir().unwrap();
        let app = app
            .setting("topic_partitions", partitions)
            .setting("broker_commit_interval", "500ms")
            .setting("broker_session_timeout", "2s")
            .setting("broker_heartbeat_interval", "500ms")
            .setting("agent_max_attempts", 100)
            // What lies behind a `group_by` is to be seen to the end.
            .setting("repartition_purge_interval", "1d")
            .setting("store", store)
            .setting("datadir", directory.path().display());
        let driver = TestDriver::new(app).unwrap();
        let mut chaos = Self { driver, workers: Vec::new(), ended: Vec::new(), _directory: directory };
        chaos.start();
        chaos
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
        }
    }

    /// Stops a worker in order, within its time.
    pub(crate) fn stop(&mut self, worker: usize) {
        // It cannot end in order while what it sent is held back.
        self.release();
        let worker = self.workers.remove(worker);
        self.driver.stop(worker).unwrap();
        self.ended.push(worker);
    }

    fn send(&mut self, Input { key, value, time }: Input) {
        let time = Timestamp(base().0 + time);
        self.driver.send_with("in", &format!("k{key}"), &value, |message| message.timestamp(time)).unwrap();
    }

    fn run(&mut self, turns: Option<u8>) {
        match turns {
            Some(turns) => self.driver.run_turns(u32::from(turns)),
            None => self.driver.run_until_idle(),
        }
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
        // The group misses them all.
        self.driver.advance(Duration::from_millis(2100));
        if disk == Disk::Lost {
            self.ended.drain(..).for_each(|worker| self.driver.lose_disk(worker).unwrap());
        }
    }

    /// Lets everything come to its end: all input processed and committed.
    pub(crate) fn finish(&mut self) {
        FUSE.set(0);
        self.release();
        if self.workers.is_empty() {
            self.start();
        }
        self.driver.advance(Duration::from_secs(3));
        for _ in 0..60 {
            if self.is_done() {
                break;
            }
            self.driver.advance(Duration::from_secs(1));
        }
        // What an unclean end has left to set right goes with a commit of its own.
        self.driver.commit();
        self.driver.commit();
        assert!(self.is_done(), "not everything is committed: {:?}", self.driver.committed("in"));
    }

    /// Crashes everything, with or without the disks, and starts anew.
    pub(crate) fn restart(&mut self, disk: Disk) {
        self.crash_all(disk);
        self.finish();
    }

    fn is_done(&mut self) -> bool {
        let committed = self.driver.committed("in").unwrap();
        let messages = self.driver.messages("in").unwrap();
        messages.iter().all(|message| committed.get(&message.partition).is_some_and(|next| *next > message.offset))
    }

    /// The counters of all workers that run.
    pub(crate) fn counts(&self) -> Vec<faust::Counts> {
        self.workers.iter().filter_map(|worker| Some(self.driver.status(*worker)?.counts)).collect()
    }
}

/// A number in JSON, as the topics of these tests hold them.
pub(crate) fn number(payload: Option<&[u8]>) -> i64 {
    std::str::from_utf8(payload.unwrap()).unwrap().parse().unwrap()
}
