//! The rules of the commit protocol, each with the counterexample that the model finds without it. The steps of a commit and of
//! an assignment have theirs in [`steps`](super::steps).
//!
//! `cargo run --release -p faust-model -- CASE --trace` prints the counterexample of a case. The tests name the cases in their
//! documentation; a rule that the model takes for granted has none. A test fails if its rule is left out of the engine.
//!
//! R3 and R8 have no test: they are about transactions, which the engine does not have. Of R7, only the refusal exists: an agent
//! with several open events writes no tables.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use faust::prelude::*;
use faust::testing::{ClusterFault, FaultProfile, TestDriver, WorkerId};
use faust::{AppBuilder, Offset};

use super::harness::{at_least_once, create_small_topic};

thread_local! {
    /// Number of agents that are inside an event with the table `totals`.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
    /// Makes the next event long: 12 seconds of the driver's clock in [`summing`].
    pub(super) static SLOW: Cell<bool> = const { Cell::new(false) };
    /// The number of times that [`superstitious`] fails.
    static FAILURES: Cell<u32> = const { Cell::new(0) };
}

/// Sums the numbers of each key, and fails after it has added 666.
#[agent(topic = "in")]
pub(super) async fn summing(mut numbers: Stream<i64, String>, sums: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        if SLOW.take() {
            tokio::time::sleep(Duration::from_secs(12)).await;
        }
        sums.update(event.key(), |sum| *sum += event.value());
        if *event.value() == 666 {
            return Err("an unlucky number".into());
        }
    }
    Ok(())
}

pub(super) fn driver(app: AppBuilder, partitions: i32) -> TestDriver {
    INSIDE.set(0);
    SLOW.set(false);
    FAILURES.set(0);
    let app = app.setting("topic_partitions", partitions).setting("broker_commit_interval", "500ms");
    TestDriver::new(app).unwrap()
}

fn start(app: AppBuilder) -> (TestDriver, WorkerId) {
    let mut driver = driver(app, 1);
    let worker = driver.start_worker().unwrap();
    (driver, worker)
}

pub(super) fn send(driver: &mut TestDriver, key: &str, values: impl IntoIterator<Item = i64>) {
    values.into_iter().for_each(|value| driver.send("in", &key.to_owned(), &value).unwrap());
    driver.run_until_idle();
}

pub(super) fn committed(driver: &mut TestDriver, partition: i32) -> Option<i64> {
    driver.committed("in").unwrap().get(&partition).map(|offset| offset.0)
}

fn position(driver: &mut TestDriver, agent: &str) -> Option<i64> {
    driver.positions("in", agent).unwrap().get(&0).map(|offset| offset.0)
}

pub(super) fn value(driver: &TestDriver, table: &str, key: &str) -> Option<i64> {
    driver.table::<String, i64>(table).unwrap().find(key)
}

pub(super) fn sum(driver: &TestDriver, key: &str) -> Option<i64> {
    value(driver, "sums", key)
}

/// Crashes the workers, and starts one that restores all tables from their changelogs.
pub(super) fn restore(driver: &mut TestDriver, workers: &[WorkerId]) -> WorkerId {
    workers.iter().for_each(|worker| driver.crash(*worker));
    driver.advance(Duration::from_secs(60));
    workers.iter().for_each(|worker| driver.lose_disk(*worker).unwrap());
    driver.start_worker().unwrap()
}

/// Reads a total, waits, and writes it: without turns, changes of the other agent would be lost.
async fn add(totals: &Table<String, i64>, key: &str, value: i64, pause: Duration) {
    let before = totals.get(key);
    INSIDE.set(INSIDE.get() + 1);
    tokio::time::sleep(pause).await;
    assert_eq!(INSIDE.replace(INSIDE.get() - 1), 1, "two agents are inside an event");
    totals.set(key, before + value);
}

#[agent(topic = "in")]
async fn adds(mut numbers: Stream<i64, String>, totals: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        add(&totals, event.key(), *event.value(), Duration::from_millis(7)).await;
    }
    Ok(())
}

#[agent(topic = "in")]
async fn adds_batches(numbers: Stream<i64, String>, totals: Table<String, i64>) -> Result<()> {
    let mut batches = numbers.take(3, Duration::from_millis(50));
    while let Some(batch) = batches.next_events().await {
        for event in batch {
            add(&totals, event.key(), *event.value(), Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

/// R1: without turns, two agents read a value at once, and one of them overwrites the change of the other.
#[test]
fn r1_agents_of_one_table_take_turns() {
    let (mut driver, worker) = start(at_least_once("laws").only::<adds>().agent::<adds_batches>());
    send(&mut driver, "a", 1..=30);
    driver.advance(Duration::from_millis(100));
    let halfway = value(&driver, "totals", "a").unwrap();
    assert!((20..400).contains(&halfway), "both agents have begun, and neither is done: {halfway}");
    driver.advance(Duration::from_secs(2));
    assert_eq!(value(&driver, "totals", "a"), Some(2 * 30 * 31 / 2));
    driver.restart(worker).unwrap();
    send(&mut driver, "a", [100]);
    driver.advance(Duration::from_secs(2));
    assert_eq!(value(&driver, "totals", "a"), Some(2 * 30 * 31 / 2 + 200));
}

/// Awaits a timer in a loop, and reads an event only in between.
#[agent(topic = "in")]
async fn distracted(mut numbers: Stream<i64, String>, totals: Table<String, i64>) -> Result<()> {
    loop {
        tokio::select! {
            biased;
            event = numbers.next_event() => {
                let Some(event) = event else { return Ok(()) };
                totals.update(event.key(), |total| *total += event.value());
            }
            () = tokio::time::sleep(Duration::from_millis(3)) => tokio::time::sleep(Duration::from_secs(40)).await,
        }
    }
}

/// R1: an agent that awaits something other than its stream, before or after it has asked for a turn, would hold up the other
/// agents of its group if it kept its turn or its place in the queue.
#[test]
fn r1_an_agent_that_awaits_a_timer_holds_no_other_of_its_group() {
    for before in [0, 1000] {
        let (mut driver, _) = start(at_least_once("laws").only::<adds>().agent::<distracted>());
        driver.advance(Duration::from_millis(before));
        send(&mut driver, "a", 1..=10);
        driver.advance(Duration::from_secs(2));
        assert_eq!(position(&mut driver, "adds"), Some(10), "it has added everything while the other sleeps");
        driver.advance(Duration::from_secs(60));
        assert_eq!(value(&driver, "totals", "a"), Some(110));
    }
}

/// Sleeps for each value, in milliseconds.
#[agent(topic = "in")]
async fn sleeping(mut numbers: Stream<i64, String>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        tokio::time::sleep(Duration::from_millis(u64::try_from(number)?)).await;
    }
    Ok(())
}

/// R2: without a seal that is due, an agent that is inside an event at each commit is never committed.
#[test]
fn r2_an_agent_that_is_never_between_events_is_sealed_halfway_between_commits() {
    let (mut driver, _) = start(at_least_once("laws").only::<sleeping>());
    send(&mut driver, "a", [180; 20]);
    // The first seal is due after 250 ms, and taken when the second event ends. The first commit, after 500 ms, contains it.
    for (millis, expected) in [(450, None), (100, Some(2)), (400, Some(2)), (100, Some(5)), (500, Some(7))] {
        driver.advance(Duration::from_millis(millis));
        assert_eq!(committed(&mut driver, 0), expected);
    }
}

/// Fails at 13 as often as [`FAILURES`] says, and sends everything else.
#[agent(topic = "in")]
async fn superstitious(mut numbers: Stream<i64, String>, #[topic("out")] out: Topic<String, i64>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        if number == 13 && FAILURES.get() > 0 {
            FAILURES.set(FAILURES.get() - 1);
            return Err("13".into());
        }
        out.send(&"a".to_owned(), &number).await?;
    }
    Ok(())
}

fn outputs(driver: &mut TestDriver, value: i64) -> usize {
    driver.read::<String, i64>("out").unwrap().iter().filter(|(_, sent)| *sent == value).count()
}

/// R2: if a commit did not leave out a group of which a message was not delivered, the broker's refusal would stop the others.
#[test]
fn r2_a_message_that_is_not_delivered_stops_no_other_group() {
    let (mut driver, _) = start(at_least_once("laws").only::<superstitious>().agent::<sleeping>());
    send(&mut driver, "a", [1, 2]);
    driver.commit();
    driver.cluster().set_faults(FaultProfile::default().with(ClusterFault::FailedSend, 1.0));
    send(&mut driver, "a", [3, 4]);
    // At the first commit, and at the later ones.
    for seconds in [1, 20] {
        driver.advance(Duration::from_secs(seconds));
        let of_both = ["superstitious", "sleeping"].map(|agent| position(&mut driver, agent));
        assert_eq!(of_both, [Some(2), Some(4)]);
    }
    assert_eq!(committed(&mut driver, 0), Some(2));
    driver.cluster().set_faults(FaultProfile::default());
    driver.advance(Duration::from_secs(20));
    assert_eq!([1, 2, 3, 4].map(|value| outputs(&mut driver, value)), [1; 4]);
    assert_eq!(committed(&mut driver, 0), Some(4));
}

/// R4, `a seal comes before each retry` and `a failed event goes back to the seal, not to the commit`: without them, the outputs
/// of the events before a failing one repeat with each attempt.
#[test]
fn r4_events_before_a_failing_one_are_not_repeated_with_each_attempt() {
    let app = at_least_once("laws").only::<superstitious>().setting("agent_max_attempts", 1000);
    let (mut driver, _) = start(app.setting("agent_backoff_max", "1s"));
    FAILURES.set(50);
    // No commit happens meanwhile: the events are sealed off all the same.
    driver.cluster().hold_commits();
    send(&mut driver, "a", (100..200).chain([13]).chain(200..300));
    driver.advance(Duration::from_secs(100));
    driver.cluster().release_commits();
    driver.commit();
    assert_eq!(FAILURES.get(), 0);
    let repeated: Vec<_> = (100..200).filter(|value| outputs(&mut driver, *value) > 2).collect();
    assert!(repeated.is_empty(), "sent more than twice: {repeated:?}");
    assert_eq!((outputs(&mut driver, 13), outputs(&mut driver, 250)), (1, 1));
    driver.commit();
    assert_eq!(position(&mut driver, "superstitious"), Some(201));
}

/// R4, `the table goes back with the position`: without it, the events since the last seal count again with each attempt, and
/// the failed event counts as well.
#[test]
fn r4_writes_of_a_failed_event_are_rolled_back() {
    let (mut driver, worker) = start(at_least_once("laws").only::<summing>().setting("agent_max_attempts", 100));
    send(&mut driver, "a", [1, 2]);
    driver.commit();
    send(&mut driver, "a", [4, 666]);
    driver.advance(Duration::from_secs(1));
    assert!(driver.status(worker).unwrap().counts.agent_failures > 3);
    assert_eq!(sum(&driver, "a"), Some(7));
    driver.advance(Duration::from_secs(30));
    assert_eq!(sum(&driver, "a"), Some(7));
    let changelog = driver.read::<String, i64>("laws-sums-changelog").unwrap();
    assert_eq!(changelog, [("a".to_owned(), 3), ("a".to_owned(), 7)]);
}

/// R4: if a failure took other groups back as well, their outputs would repeat and their events wait for a failing agent.
#[test]
fn r4_a_failing_agent_stops_no_other_group() {
    let app = at_least_once("laws").only::<superstitious>().agent::<sleeping>().agent::<summing>();
    let (mut driver, worker) = start(app.setting("agent_max_attempts", 1_000_000).setting("agent_backoff_max", "1s"));
    FAILURES.set(u32::MAX);
    send(&mut driver, "a", [1, 13, 2, 3]);
    driver.advance(Duration::from_secs(30));
    // The agent fails in the middle of this event of another one.
    send(&mut driver, "a", [5000]);
    driver.advance(Duration::from_secs(30));
    assert_eq!(sum(&driver, "a"), Some(5019));
    let of_all = ["superstitious", "sleeping", "summing"].map(|agent| position(&mut driver, agent));
    assert_eq!(of_all, [Some(1), Some(5), Some(5)]);
    assert!(driver.status(worker).unwrap().counts.agent_failures > 20);
    // A restart resumes each agent where it was.
    driver.restart(worker).unwrap();
    FAILURES.set(0);
    driver.advance(Duration::from_secs(30));
    assert_eq!(sum(&driver, "a"), Some(5019));
    // The event before the failing one was sent again at the first attempt only.
    assert_eq!([1, 13, 2, 3, 5000].map(|value| outputs(&mut driver, value)), [2, 1, 1, 1, 1]);
}

/// Sums its numbers, and sends a text as long as each.
#[agent(topic = "in")]
pub(super) async fn measuring(
    mut numbers: Stream<i64, String>,
    sums: Table<String, i64>,
    #[topic("texts")] texts: Topic<RawKey, String>,
) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        sums.update(event.key(), |sum| *sum += event.value());
        texts.send(&RawKey::NONE, &"x".repeat(usize::try_from(*event.value())?)).await?;
    }
    Ok(())
}

/// R4, `the seal with a refused message is committed apart`: without it, each refusal takes the group back behind the events
/// before, whose outputs repeat for ever.
#[test]
fn r4_events_before_a_refused_message_are_committed_apart() {
    let mut driver = driver(at_least_once("laws").only::<measuring>(), 1);
    create_small_topic(&driver);
    driver.start_worker().unwrap();
    send(&mut driver, "a", [1, 2, 3000, 4]);
    driver.advance(Duration::from_secs(60));
    assert_eq!(committed(&mut driver, 0), Some(2));
    let sent = driver.read::<RawKey, String>("texts").unwrap();
    // They repeat when the first refusal is known, once more when its event is known, and not again.
    assert_eq!(sent.iter().filter(|(_, text)| text == "x").count(), 3, "{sent:?}");
}

/// Expels the owner of the key `a`, which has processed six events, inside the seventh. The next owner processes all sixteen.
/// The former one does not learn of it: it seals the seventh event, and takes long for the eighth.
pub(super) fn continue_after_expulsion(driver: &mut TestDriver, owner: WorkerId) {
    SLOW.set(true);
    send(driver, "a", [1]);
    assert!(driver.expel(owner, Duration::from_secs(30)));
    driver.run_until_idle();
    send(driver, "a", [1; 9]);
    driver.commit();
    assert_eq!(committed(driver, 0), Some(16), "the next owner has processed everything");
    driver.advance(Duration::from_secs(11));
    SLOW.set(true);
    driver.advance(Duration::from_secs(3));
    let last = driver.read::<String, i64>("laws-sums-changelog").unwrap().pop();
    assert_eq!(last, Some(("a".to_owned(), 7)), "the record of the former owner is the last one");
}

/// R5, `a record names its owner`: without the owner's epoch, the record of a former owner counts by its number, and replaces
/// what the present owner has committed.
#[test]
fn r5_records_of_an_expelled_owner_do_not_count() {
    let mut driver = driver(at_least_once("laws").only::<summing>(), 1);
    let workers = [driver.start_worker().unwrap(), driver.start_worker().unwrap()];
    send(&mut driver, "a", [1; 6]);
    driver.commit();
    let owner = workers.into_iter().find(|worker| !driver.assignment(*worker).is_empty()).unwrap();
    continue_after_expulsion(&mut driver, owner);
    driver.advance(Duration::from_secs(20));
    restore(&mut driver, &workers);
    assert_eq!(sum(&driver, "a"), Some(16));
}

/// R5, `records below the end of the restore count`: without the end, the records of earlier owners count no longer once the
/// epoch of a new one is committed.
#[test]
fn r5_records_of_earlier_owners_count() {
    let (mut driver, first) = start(at_least_once("laws").only::<summing>());
    send(&mut driver, "a", [1; 3]);
    driver.commit();
    let second = restore(&mut driver, &[first]);
    // The second owner commits its epoch with another key.
    send(&mut driver, "b", [1]);
    driver.commit();
    restore(&mut driver, &[second]);
    assert_eq!((sum(&driver, "a"), sum(&driver, "b")), (Some(3), Some(1)));
}

/// Starts a worker that has processed six events of the key `d`, which belongs to partition 1. A second worker would receive
/// this partition without waiting for the first one, whose commits the cluster accepts all the same.
pub(super) fn before_a_hand_over() -> (TestDriver, WorkerId) {
    let app = at_least_once("laws").only::<summing>();
    let app = app.setting("shutdown_timeout", "60s").setting("broker_rebalance_timeout", "1s");
    let mut driver = driver(app, 2);
    let first = driver.start_worker().unwrap();
    send(&mut driver, "d", [1; 6]);
    driver.commit();
    let faults = FaultProfile::default().with(ClusterFault::ImpatientRebalance, 1.0);
    driver.cluster().set_faults(faults.with(ClusterFault::CommitByFormerOwner, 1.0));
    (driver, first)
}

/// R5: the commit of a former owner takes the offset back. Its events are processed again, from the table that belongs to it;
/// without epochs, that of the present owner would be taken, and the events would count twice.
#[test]
fn r5_a_table_belongs_to_the_commit_of_a_former_owner() {
    let (mut driver, first) = before_a_hand_over();
    send(&mut driver, "d", [1]);
    // The broker carries the first worker's commit out when the partition belongs to another worker.
    driver.cluster().delay_commits(Some(Duration::from_secs(12)));
    driver.commit();
    driver.cluster().delay_commits(None);
    let second = driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(2));
    send(&mut driver, "d", [1; 9]);
    driver.commit();
    assert_eq!(committed(&mut driver, 1), Some(16), "the second worker has processed everything");
    while committed(&mut driver, 1) != Some(7) {
        assert!(driver.now().as_millis() < faust::testing::START.as_millis() + 20_000, "the late commit takes effect");
        driver.advance(Duration::from_millis(100));
    }
    restore(&mut driver, &[first, second]);
    driver.commit();
    assert_eq!((sum(&driver, "d"), committed(&mut driver, 1)), (Some(16), Some(16)));
}

#[agent(topics = ["in", "other"])]
pub(super) async fn both(mut numbers: Stream<i64, String>, sums: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        sums.update(event.key(), |sum| *sum += event.value());
    }
    Ok(())
}

/// R6, `each topic holds the positions in all topics` and `the commit with the highest number counts for all topics`: without
/// them, the event of a topic whose offset was refused counts twice, since the table has it.
#[test]
fn r6_each_topic_of_a_task_knows_the_positions_in_all() {
    let mut refused = BTreeSet::new();
    for seed in 0..8 {
        let app = at_least_once("laws").only::<both>().setting("topic_partitions", 1);
        let mut driver = TestDriver::seeded(app.setting("broker_commit_interval", "500ms"), seed).unwrap();
        let worker = driver.start_worker().unwrap();
        send(&mut driver, "a", [1]);
        driver.send("other", &"a".to_owned(), &1i64).unwrap();
        driver.run_until_idle();
        driver.cluster().set_faults(FaultProfile::default().with(ClusterFault::PartialCommit, 1.0));
        driver.commit();
        refused.insert(committed(&mut driver, 0) != Some(1));
        driver.cluster().set_faults(FaultProfile::default());
        restore(&mut driver, &[worker]);
        driver.commit();
        assert_eq!(sum(&driver, "a"), Some(2), "seed {seed}");
    }
    assert_eq!(refused.len(), 2, "each of the topics was refused in some run");
}

/// Changes a table while several events are open.
#[agent(topic = "in")]
async fn acknowledging(numbers: Stream<i64, String>, sums: Table<String, i64>) {
    let mut events = numbers.events();
    while let Some(event) = events.next().await {
        sums.update(event.key(), |sum| *sum += event.value());
        event.ack();
    }
}

/// R7: without the undo of open events, which the engine does not have, a seal would contain a part of them.
#[test]
fn r7_a_stream_of_open_events_changes_no_table() {
    let (mut driver, worker) = start(at_least_once("laws").only::<acknowledging>());
    send(&mut driver, "a", [1]);
    driver.commit();
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    assert!(error.to_string().contains("streams of `events()` cannot change tables"), "{error}");
    assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(0)), "the event does not count");
}

/// R9, `a task survives a rebalance only without a gap, and if the commit is its own`: without it, a task whose partition comes
/// back from another worker continues at its former position, and repeats what the other has committed.
#[test]
fn r9_a_task_survives_a_rebalance_without_a_gap() {
    let mut driver = driver(at_least_once("laws").only::<summing>(), 8);
    let feed = |driver: &mut TestDriver, range: std::ops::Range<i64>| {
        range.for_each(|n| driver.send("in", &format!("k{}", n % 50), &(n % 100)).unwrap());
        driver.commit();
    };
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    (0..600).for_each(|n| *expected.entry(format!("k{}", n % 50)).or_default() += n % 100);
    let sums = |driver: &TestDriver| driver.table::<String, i64>("sums").unwrap().iter().collect::<BTreeMap<_, _>>();
    let first = driver.start_worker().unwrap();
    feed(&mut driver, 0..200);
    let resumed = |driver: &TestDriver| driver.status(first).unwrap().counts.tasks_resumed;
    let restored = |driver: &TestDriver| driver.status(first).unwrap().counts.restored;
    assert_eq!((resumed(&driver), restored(&driver)), (0, 0));
    // The group assigns all partitions anew.
    let second = driver.start_worker().unwrap();
    assert_eq!((driver.assignment(first).len(), resumed(&driver), restored(&driver)), (4, 4, 0));
    feed(&mut driver, 200..400);
    driver.stop(second).unwrap();
    // Four partitions come back from the other worker, whose changes are restored.
    assert_eq!((driver.assignment(first).len(), resumed(&driver)), (8, 8));
    assert!(restored(&driver) > 0);
    feed(&mut driver, 400..600);
    assert_eq!(sums(&driver), expected);
    // Nothing is left behind: another worker continues from the commits.
    driver.stop(first).unwrap();
    driver.start_worker().unwrap();
    assert_eq!(sums(&driver), expected);
}
