//! Delivery guarantees under random histories of input, passing time, commits, crashes and rebalances.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use faust::prelude::*;
use faust::testing::{TestDriver, WorkerId};
use proptest::prelude::*;

use super::chaos::cases;
use super::harness::at_least_once;

/// Forwards even numbers directly.
#[agent(topic = "in")]
async fn keep(numbers: Stream<i64, String>, #[topic("kept")] kept: Topic<String, i64>) -> Result<()> {
    let mut numbers = numbers.filter(|n| n % 2 == 0);
    while let Some(event) = numbers.next_event().await {
        if event.value() % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        kept.send(event.key(), event.value()).await?;
    }
    Ok(())
}

/// Forwards numbers in batches, through a repartition topic.
#[agent(topic = "in")]
async fn group(numbers: Stream<i64, String>, #[topic("grouped")] grouped: Topic<i64, i64>) -> Result<()> {
    let mut batches = numbers.group_by("tens", |n| n / 10).take(4, Duration::from_millis(300));
    while let Some(batch) = batches.next_events().await {
        for event in batch {
            grouped.send(event.key(), event.value()).await?;
        }
    }
    Ok(())
}

/// One step of a cluster's history.
#[derive(Clone, Debug)]
enum Step {
    Send(u8),
    Advance(u16),
    StartWorker,
    Stop(prop::sample::Index),
    Crash(prop::sample::Index),
    HoldDeliveries,
    ReleaseDeliveries,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..40).prop_map(Step::Send),
        6 => (1u16..3000).prop_map(Step::Advance),
        2 => Just(Step::StartWorker),
        1 => any::<prop::sample::Index>().prop_map(Step::Stop),
        2 => any::<prop::sample::Index>().prop_map(Step::Crash),
        1 => Just(Step::HoldDeliveries),
        2 => Just(Step::ReleaseDeliveries),
    ]
}

struct History {
    driver: TestDriver,
    workers: Vec<WorkerId>,
    sent: i64,
}

impl History {
    fn new() -> Self {
        let app = at_least_once("guarantees").only::<keep>().agent::<group>();
        let app = app.setting("topic_partitions", 3).setting("broker_commit_interval", "500ms");
        // Keeps the repartition topic complete, because the checks read it.
        let app = app.setting("repartition_purge_interval", "1d");
        let driver =
            TestDriver::new(app.setting("broker_session_timeout", "2s").setting("broker_heartbeat_interval", "500ms"))
                .unwrap();
        let mut history = Self { driver, workers: Vec::new(), sent: 0 };
        history.start();
        history
    }

    fn start(&mut self) {
        self.workers.push(self.driver.start_worker().unwrap());
    }

    fn apply(&mut self, step: &Step) {
        let pick = |workers: &mut Vec<WorkerId>, index: &prop::sample::Index| {
            (!workers.is_empty()).then(|| workers.remove(index.index(workers.len())))
        };
        match step {
            Step::Send(count) => {
                for _ in 0..*count {
                    self.driver.send("in", &format!("k{}", self.sent % 7), &self.sent).unwrap();
                    self.sent += 1;
                }
                self.driver.run_until_idle();
            }
            Step::Advance(ms) => self.driver.advance(Duration::from_millis(u64::from(*ms))),
            Step::StartWorker if self.workers.len() < 3 => self.start(),
            Step::StartWorker => {}
            Step::Stop(index) => {
                // A worker cannot stop gracefully while its deliveries are held back.
                self.driver.cluster().release_deliveries();
                if let Some(worker) = pick(&mut self.workers, index) {
                    self.driver.stop(worker).unwrap();
                }
            }
            Step::Crash(index) => {
                if let Some(worker) = pick(&mut self.workers, index) {
                    self.driver.crash(worker);
                }
            }
            Step::HoldDeliveries => self.driver.cluster().hold_deliveries(),
            Step::ReleaseDeliveries => self.driver.cluster().release_deliveries(),
        }
    }

    /// Checks that every event below a committed offset has its output: unfinished events are never committed.
    fn check_commits(&mut self) {
        let committed = self.driver.committed("in").unwrap();
        let done: BTreeSet<i64> = self.values("kept").into_iter().collect();
        let forwarded: BTreeSet<i64> = self.values("guarantees-group-tens-repartition").into_iter().collect();
        for message in self.driver.messages("in").unwrap() {
            if message.offset < committed.get(&message.partition).copied().unwrap_or_default() {
                let n: i64 = std::str::from_utf8(&message.payload.unwrap()).unwrap().parse().unwrap();
                assert!(n % 2 != 0 || done.contains(&n), "{n} is committed but was not kept");
                assert!(forwarded.contains(&n), "{n} is committed but was not forwarded");
            }
        }
        let committed = self.driver.committed("guarantees-group-tens-repartition").unwrap();
        let grouped: BTreeSet<i64> = self.values("grouped").into_iter().collect();
        for message in self.driver.messages("guarantees-group-tens-repartition").unwrap() {
            if message.offset < committed.get(&message.partition).copied().unwrap_or_default() {
                let n: i64 = std::str::from_utf8(&message.payload.unwrap()).unwrap().parse().unwrap();
                assert!(grouped.contains(&n), "{n} is committed but was not grouped");
            }
        }
    }

    fn values(&mut self, topic: &str) -> Vec<i64> {
        self.driver
            .messages(topic)
            .unwrap()
            .iter()
            .map(|m| std::str::from_utf8(m.payload.as_deref().unwrap()).unwrap().parse().unwrap())
            .collect()
    }

    /// Runs the cluster until all input has been processed and committed.
    fn finish(&mut self) {
        self.driver.cluster().release_deliveries();
        if self.workers.is_empty() {
            self.start();
        }
        self.driver.advance(Duration::from_secs(6));
    }
}

/// Checks that the first occurrences of the numbers of each key are in the order in which they were sent.
fn assert_ordered(values: &[i64], key: impl Fn(i64) -> i64) {
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for &n in values.iter().filter(|&&n| seen.insert(n)) {
        if let Some(before) = last.insert(key(n), n) {
            assert!(before < n, "{n} came after {before}");
        }
    }
}

proptest! {
    #![proptest_config(cases(20))]

    /// Law: with any crashes, no event is lost or committed before it is finished, and each key stays in order.
    #[test]
    fn at_least_once_in_order(steps in prop::collection::vec(step(), 1..40)) {
        let mut history = History::new();
        for step in &steps {
            history.apply(step);
            history.check_commits();
        }
        history.finish();
        history.check_commits();
        let kept: BTreeSet<i64> = history.values("kept").into_iter().collect();
        prop_assert_eq!(kept, (0..history.sent).filter(|n| n % 2 == 0).collect());
        let grouped: BTreeSet<i64> = history.values("grouped").into_iter().collect();
        prop_assert_eq!(grouped, (0..history.sent).collect());
        assert_ordered(&history.values("kept"), |n| n % 7);
    }

    /// Law: without crashes, every output exists exactly once, even if workers are started and stopped at any time.
    #[test]
    fn graceful_rebalances_repeat_nothing(steps in prop::collection::vec(step().prop_filter("orderly", |s| !matches!(s, Step::Crash(_) | Step::HoldDeliveries)), 1..40)) {
        let mut history = History::new();
        steps.iter().for_each(|step| history.apply(step));
        history.finish();
        let mut kept = history.values("kept");
        kept.sort_unstable();
        prop_assert_eq!(kept, (0..history.sent).filter(|n| n % 2 == 0).collect::<Vec<_>>());
        let mut grouped = history.values("grouped");
        grouped.sort_unstable();
        prop_assert_eq!(grouped, (0..history.sent).collect::<Vec<_>>());
    }
}
