//! Exactly-once: outputs, tables and positions take effect together, whatever happens.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use faust::prelude::*;
use faust::testing::{ClusterFault, FaultProfile, TestDriver};
use faust::{AppBuilder, Offset};

use super::chaos::{self, Chaos, Disk};

/// Echoes each number, and counts it by key.
#[agent(topic = "in")]
async fn count(
    mut numbers: Stream<i64, String>,
    counts: Table<String, i64>,
    #[topic("echoed")] echoed: Topic<i32, (Offset, i64)>,
    #[topic("counted")] counted: Topic<String, i64>,
) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        echoed.send(&event.partition(), &(event.offset(), *event.value())).await?;
        chaos::trip()?;
        let count = counts.update(event.key(), |count| {
            *count += 1;
            *count
        });
        counted.send(event.key(), &count).await?;
        chaos::trip()?;
    }
    Ok(())
}

/// Sums the numbers by their last digit, behind a `group_by`.
#[agent(topic = "in")]
async fn by_digit(
    numbers: Stream<i64, String>,
    digits: Table<i64, i64>,
    #[topic("summed")] summed: Topic<i64, i64>,
) -> Result<()> {
    let mut numbers = numbers.group_by("digit", |number| number % 10);
    while let Some(event) = numbers.next_event().await {
        let sum = digits.update(event.key(), |sum| {
            *sum += 1000 + event.value();
            *sum
        });
        chaos::trip()?;
        summed.send(event.key(), &sum).await?;
    }
    Ok(())
}

fn app() -> AppBuilder {
    App::new("exact").setting("processing_guarantee", "exactly_once")
}

fn one_partition(app: AppBuilder) -> TestDriver {
    TestDriver::new(app.setting("topic_partitions", 1)).unwrap()
}

fn send(driver: &mut TestDriver, numbers: impl IntoIterator<Item = i64>) {
    for number in numbers {
        driver.send("in", &"a".to_owned(), &number).unwrap();
    }
}

fn counted(driver: &mut TestDriver) -> Vec<i64> {
    driver.read::<String, i64>("counted").unwrap().into_iter().map(|(_, count)| count).collect()
}

#[test]
fn outputs_and_positions_appear_together() {
    let mut driver = one_partition(app().only::<count>());
    driver.start_worker().unwrap();
    driver.cluster().hold_commits();
    send(&mut driver, [1, 2]);
    driver.run_until_idle();
    driver.commit();
    assert_eq!((counted(&mut driver), driver.committed("in").unwrap().get(&0)), (vec![], Some(&Offset(0))));
    driver.cluster().release_commits();
    driver.commit();
    assert_eq!((counted(&mut driver), driver.committed("in").unwrap().get(&0)), (vec![1, 2], Some(&Offset(2))));
}

#[test]
fn the_outputs_of_a_crashed_worker_do_not_repeat() {
    for is_held in [false, true] {
        let mut driver = one_partition(app().only::<count>());
        let worker = driver.start_worker().unwrap();
        if is_held {
            // The transaction is open when the worker crashes.
            driver.cluster().hold_deliveries();
        }
        send(&mut driver, [1, 2, 3]);
        driver.run_until_idle();
        driver.advance(Duration::from_millis(100));
        driver.crash(worker);
        driver.cluster().release_deliveries();
        // The same name, and so the same transactional id: the restart does not wait for the transaction's timeout.
        driver.restart(worker).unwrap();
        driver.commit();
        assert_eq!(counted(&mut driver), [1, 2, 3]);
        send(&mut driver, [4]);
        driver.commit();
        assert_eq!(counted(&mut driver), [1, 2, 3, 4]);
        let table: Vec<_> = driver.table::<String, i64>("counts").unwrap().iter().collect();
        assert_eq!(table, [("a".to_owned(), 4)]);
    }
}

#[test]
fn another_worker_waits_for_the_end_of_an_open_transaction() {
    let mut driver = one_partition(app().only::<count>());
    let first = driver.start_worker().unwrap();
    let second = driver.start_worker().unwrap();
    send(&mut driver, [1]);
    driver.commit();
    driver.cluster().hold_deliveries();
    send(&mut driver, [2, 3]);
    driver.commit();
    driver.crash(first);
    driver.cluster().release_deliveries();
    // The session of the first worker ends after 45 seconds, and its transaction after ten.
    driver.advance(Duration::from_secs(60));
    driver.commit();
    assert_eq!(counted(&mut driver), [1, 2, 3]);
    assert_eq!(driver.assignment(second).len(), 1);
}

/// A worker crashes in its transaction, before and after the offsets are part of it. Its successor fences it once it is no member.
#[test]
fn a_successor_ends_the_open_transaction_of_a_dead_worker() {
    for has_offsets in [false, true] {
        let app = app().only::<count>().setting("broker_session_timeout", "3s");
        let mut driver = one_partition(app.setting("broker_heartbeat_interval", "500ms"));
        let first = driver.start_worker().unwrap();
        let second = driver.start_worker().unwrap();
        send(&mut driver, [1]);
        driver.commit();
        let cluster = driver.cluster();
        if has_offsets {
            cluster.hold_commits()
        } else {
            cluster.hold_deliveries()
        }
        send(&mut driver, [2, 3]);
        driver.run_until_idle();
        driver.advance(Duration::from_millis(200));
        driver.crash(first);
        driver.cluster().release_commits();
        driver.cluster().release_deliveries();
        // The session ends after three seconds, the patience of the successor after two more, and the transaction after ten.
        driver.advance(Duration::from_secs(4));
        assert_eq!(counted(&mut driver), [1], "has offsets: {has_offsets}");
        driver.advance(Duration::from_millis(1500));
        driver.commit();
        assert_eq!(counted(&mut driver), [1, 2, 3], "has offsets: {has_offsets}");
        assert_eq!(driver.assignment(second).len(), 1);
    }
}

/// The log has the messages of the aborted transaction, and the producer has discarded them: another one makes the next transaction,
/// whose messages are not taken for those.
#[test]
fn an_abort_without_acknowledgements_takes_nothing_from_the_next_transaction() {
    let mut driver = one_partition(app().only::<count>());
    let worker = driver.start_worker().unwrap();
    driver.cluster().hold_deliveries();
    send(&mut driver, [1, 2]);
    let mut waited = 0;
    while driver.status(worker).unwrap().counts.transactions_aborted == 0 {
        driver.advance(Duration::from_secs(1));
        waited += 1;
        assert!(waited < 60, "the transaction is not aborted");
    }
    driver.cluster().release_deliveries();
    send(&mut driver, [3]);
    driver.advance(Duration::from_secs(1));
    assert_eq!(counted(&mut driver), [1, 2, 3]);
    assert_eq!(driver.read::<i32, (Offset, i64)>("echoed").unwrap().len(), 3);
}

/// Its messages cannot be committed until it has joined again, which takes time.
#[test]
fn an_expelled_worker_does_not_hold_the_driver_up() {
    let mut driver = one_partition(app().only::<count>());
    let worker = driver.start_worker().unwrap();
    send(&mut driver, [1]);
    driver.run_until_idle();
    assert!(driver.expel(worker, Duration::from_secs(1)));
    send(&mut driver, [2]);
    driver.run_until_idle();
    assert_eq!(counted(&mut driver), [1]);
    driver.advance(Duration::from_secs(2));
    driver.run_until_idle();
    assert_eq!(counted(&mut driver), [1, 2]);
}

thread_local! {
    /// Number of events with a 1 that [`forward`] reads until one does not end, counting it.
    static UNTIL_STUCK: Cell<u32> = const { Cell::new(0) };
}

/// Forwards each number to the first partition of another topic. The events with a 0 do not end, and one with a 1.
#[agent(topic = "in")]
async fn forward(mut numbers: Stream<i64, String>, #[topic("forwarded")] forwarded: Topic<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        forwarded.send_with(event.key(), event.value(), |message| message.partition(0)).await?;
        let left = UNTIL_STUCK.get();
        UNTIL_STUCK.set(left.saturating_sub((*event.value()).try_into().unwrap()));
        if *event.value() == 0 || left == 1 {
            std::future::pending().await
        }
    }
    Ok(())
}

#[agent(topic = "forwarded")]
async fn read(mut numbers: Stream<i64, String>) -> Result<()> {
    while numbers.next().await.is_some() {}
    Ok(())
}

/// Both workers have messages that wait for the end of an event. The other one commits its position behind each transaction that
/// the expelled one has to abort.
#[test]
fn an_expelled_worker_beside_a_busy_one_does_not_hold_the_driver_up() {
    let mut are_stuck = Vec::new();
    // Both workers read both events. In one of the cases, the expelled one ends the first, and cannot commit it.
    for stuck in [1, 2] {
        let app = app().only::<forward>().only::<read>().setting("topic_partitions", 4);
        let mut driver = TestDriver::new(app).unwrap();
        let workers = [0; 2].map(|_| driver.start_worker().unwrap());
        let has_last = |driver: &TestDriver, worker| driver.assignment(worker).iter().any(|part| part.partition == 3);
        let expelled = workers.into_iter().find(|worker| has_last(&driver, *worker)).unwrap();
        assert!(driver.expel(expelled, Duration::from_secs(1)));
        driver.run_until_idle();
        UNTIL_STUCK.set(stuck);
        for (partition, number) in [(3, 0), (2, 1)] {
            driver.send_with("in", &"a".to_owned(), &number, |message| message.partition(partition)).unwrap();
        }
        driver.run_until_idle();
        let aborted = |worker| driver.status(worker).unwrap().counts.transactions_aborted;
        are_stuck.push(workers.into_iter().all(|worker| aborted(worker) == 0));
        UNTIL_STUCK.set(0);
    }
    are_stuck.sort_unstable();
    assert_eq!(are_stuck, [false, true]);
}

/// Sends a message before and after a pause in its event.
#[agent(topic = "in")]
async fn slow(mut numbers: Stream<i64, String>, #[topic("counted")] out: Topic<String, i64>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        out.send(&"a".to_owned(), &number).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        out.send(&"a".to_owned(), &-number).await?;
    }
    Ok(())
}

#[test]
fn the_messages_of_an_unfinished_event_wait() {
    let mut driver = one_partition(app().only::<slow>());
    let worker = driver.start_worker().unwrap();
    send(&mut driver, [1, 2]);
    driver.advance(Duration::from_secs(6));
    assert_eq!(counted(&mut driver), [1, -1], "the second event is open");
    driver.crash(worker);
    driver.restart(worker).unwrap();
    driver.advance(Duration::from_secs(4));
    assert_eq!(counted(&mut driver), [1, -1]);
    driver.advance(Duration::from_secs(2));
    assert_eq!(counted(&mut driver), [1, -1, 2, -2]);
}

/// Sends as many messages of a kilobyte as its event says.
#[agent(topic = "in")]
async fn many(mut numbers: Stream<i64, String>, #[topic("texts")] texts: Topic<RawKey, String>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        for _ in 0..number {
            texts.send(&RawKey::NONE, &"x".repeat(1000)).await?;
        }
    }
    Ok(())
}

#[test]
fn an_event_that_sends_too_much_fails_and_names_the_setting() {
    let app = app().only::<many>().setting("event_output_max", "10KiB").setting("agent_failure", "stop");
    let mut driver = one_partition(app.setting("agent_max_attempts", 2));
    let worker = driver.start_worker().unwrap();
    send(&mut driver, [3, 8, 11]);
    driver.advance(Duration::from_secs(1));
    let error = driver.ended(worker).unwrap().unwrap_err().to_string();
    assert!(error.contains("raise `event_output_max`"), "{error}");
    let texts = driver.messages("texts").unwrap();
    assert_eq!((texts.len(), driver.committed("in").unwrap().get(&0)), (11, Some(&Offset(2))));
}

#[test]
fn finished_messages_above_the_bound_hold_the_streams_until_a_commit() {
    // The commits that free the memory do not wait for the interval.
    let mut driver = one_partition(app().only::<many>().setting("broker_commit_interval", "1h"));
    let worker = driver.start_worker().unwrap();
    driver.cluster().hold_commits();
    // Each event sends ten megabytes, and 32 MiB may wait.
    send(&mut driver, [10_000; 8]);
    driver.run_until_idle();
    driver.advance(Duration::from_secs(1));
    let events = driver.status(worker).unwrap().counts.sent / 10_000;
    assert!((3..=5).contains(&events), "{events} events were processed");
    driver.cluster().release_commits();
    driver.advance(Duration::from_secs(1));
    assert_eq!(driver.messages("texts").unwrap().len(), 80_000);
}

#[test]
fn an_aborted_transaction_is_sent_again_and_no_agent_restarts() {
    for fault in [
        ClusterFault::AbortedTransaction,
        ClusterFault::ProducerLost,
        ClusterFault::FailedSend,
        ClusterFault::LostSendAnswer,
    ] {
        let mut driver = one_partition(app().only::<count>());
        let worker = driver.start_worker().unwrap();
        // A producer that is lost five times in a row ends the worker.
        let rate = if fault == ClusterFault::ProducerLost { 0.5 } else { 1.0 };
        driver.cluster().set_faults(FaultProfile::default().with(fault, rate));
        for number in 1..=6 {
            send(&mut driver, [number]);
            driver.run_until_idle();
            driver.commit();
        }
        driver.cluster().set_faults(FaultProfile::default());
        driver.commit();
        driver.commit();
        assert_eq!(counted(&mut driver), [1, 2, 3, 4, 5, 6], "{fault:?}");
        let counts = driver.status(worker).unwrap().counts;
        assert_eq!(counts.agent_failures, 0, "{fault:?}");
        assert!(driver.cluster().fault_counts().contains_key(&fault), "{fault:?}");
        driver.restart(worker).unwrap();
        assert_eq!(driver.table::<String, i64>("counts").unwrap().iter().next(), Some(("a".to_owned(), 6)));
    }
}

#[test]
fn a_worker_that_gives_up_sends_no_transaction_again() {
    let mut driver = one_partition(app().only::<count>());
    let mut worker = driver.start_worker().unwrap();
    driver.cluster().set_faults(FaultProfile::default().with(ClusterFault::ProducerLost, 0.6));
    let mut given_up = 0;
    for number in 1..=200 {
        send(&mut driver, [number]);
        driver.run_until_idle();
        driver.commit();
        // The outcome of its last transaction is unknown, and a sixth of them were committed.
        if driver.ended(worker).is_some() {
            given_up += 1;
            driver.crash(worker);
            worker = driver.start_worker().unwrap();
        }
    }
    assert!(given_up >= 30, "{given_up} workers have given up");
    driver.cluster().set_faults(FaultProfile::default());
    driver.advance(Duration::from_secs(12));
    assert_eq!(counted(&mut driver), (1..=200).collect::<Vec<_>>());
}

#[test]
fn what_is_left_of_an_aborted_transaction_is_in_no_other() {
    let mut driver = one_partition(app().only::<count>());
    let worker = driver.start_worker().unwrap();
    // Each message waits for room, so that the transaction lasts too long, and is aborted while it is being filled.
    driver.cluster().set_faults(FaultProfile::default().with(ClusterFault::FullBuffer, 1.0));
    send(&mut driver, 1..=500);
    driver.advance(Duration::from_secs(9));
    assert_eq!(driver.status(worker).unwrap().counts.transactions_aborted, 1);
    driver.cluster().set_faults(FaultProfile::default());
    driver.advance(Duration::from_secs(9));
    assert_eq!(counted(&mut driver), (1..=500).collect::<Vec<_>>());
    let echoed = driver.read::<i32, (Offset, i64)>("echoed").unwrap();
    assert_eq!(echoed.into_iter().map(|(_, (_, number))| number).collect::<Vec<_>>(), (1..=500).collect::<Vec<_>>());
}

#[test]
fn a_message_that_is_refused_stops_only_its_own_agent() {
    let app = app().only::<count>().only::<many>();
    let mut driver = one_partition(app.setting("agent_backoff_max", "1s"));
    super::harness::create_small_topic(&driver);
    driver.start_worker().unwrap();
    // The broker refuses the texts, and not the counts.
    send(&mut driver, [0, 1, 0]);
    driver.advance(Duration::from_secs(5));
    assert_eq!(counted(&mut driver), [1, 2, 3]);
    assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(1)), "the other agent is at its event");
}

#[test]
fn the_guarantee_may_change_between_two_starts() {
    for (from, to) in [("at_least_once", "exactly_once"), ("exactly_once", "at_least_once")] {
        let directory = tempfile::tempdir().unwrap();
        let app = |guarantee: &str| {
            let app = App::new("exact").only::<count>().setting("processing_guarantee", guarantee);
            app.setting("store", "sled://").setting("datadir", directory.path().display())
        };
        let mut driver = one_partition(app(from));
        let worker = driver.start_worker().unwrap();
        send(&mut driver, [1, 2]);
        driver.commit();
        // The changes of the third event are in the changelog, and not committed.
        driver.cluster().hold_commits();
        send(&mut driver, [3]);
        driver.commit();
        driver.crash(worker);
        driver.cluster().release_commits();
        driver.set_app(app(to)).unwrap();
        driver.restart(worker).unwrap();
        send(&mut driver, [4]);
        driver.commit();
        driver.commit();
        let table: Vec<_> = driver.table::<String, i64>("counts").unwrap().iter().collect();
        assert_eq!(table, [("a".to_owned(), 4)], "{from} to {to}");
        driver.restart(worker).unwrap();
        let table: Vec<_> = driver.table::<String, i64>("counts").unwrap().iter().collect();
        assert_eq!(table, [("a".to_owned(), 4)], "{from} to {to}, restored");
    }
}

#[test]
fn a_store_goes_on_after_messages_of_unknown_outcome() {
    let faults = [("exactly_once", ClusterFault::AbortedTransaction), ("at_least_once", ClusterFault::LostSendAnswer)];
    for (guarantee, fault) in faults {
        let directory = tempfile::tempdir().unwrap();
        let app = App::new("exact").only::<count>().setting("processing_guarantee", guarantee);
        let app = app.setting("store", "fjall://").setting("datadir", directory.path().display());
        let mut driver = one_partition(app.setting("broker_commit_interval", "100ms"));
        let worker = driver.start_worker().unwrap();
        driver.cluster().set_faults(FaultProfile::default().with(fault, 1.0));
        send(&mut driver, [0]);
        driver.commit();
        driver.cluster().set_faults(FaultProfile::default());
        for number in 1..=50 {
            send(&mut driver, [number]);
            driver.advance(Duration::from_secs(1));
        }
        let worker = driver.restart(worker).unwrap();
        driver.commit();
        let restored = driver.status(worker).unwrap().counts.restored;
        assert!(restored < 40, "{guarantee}: {restored} records of the changelog were read again");
        let table: Vec<_> = driver.table::<String, i64>("counts").unwrap().iter().collect();
        assert_eq!(table, [("a".to_owned(), 51)], "{guarantee}");
    }
}

/// Reads `other` without using it.
#[agent(topic = "other")]
async fn other(mut numbers: Stream<i64, String>) -> Result<()> {
    while numbers.next().await.is_some() {}
    Ok(())
}

#[test]
fn a_deleted_topic_does_not_stop_the_transactions_of_others() {
    let mut driver = one_partition(app().only::<count>().only::<other>());
    driver.start_worker().unwrap();
    driver.send("other", &"a".to_owned(), &1i64).unwrap();
    driver.commit();
    driver.send("other", &"a".to_owned(), &2i64).unwrap();
    driver.run_until_idle();
    driver.delete_topic("other").unwrap();
    send(&mut driver, [1, 2]);
    driver.run_until_idle();
    driver.commit();
    driver.commit();
    assert_eq!(counted(&mut driver), [1, 2]);
    // Its commits work again once it exists.
    driver.create_topic("other", 1).unwrap();
    driver.advance(Duration::from_secs(60));
    driver.send("other", &"a".to_owned(), &3i64).unwrap();
    driver.advance(Duration::from_secs(60));
    assert_eq!(driver.committed("other").unwrap().get(&0), Some(&Offset(1)));
}

/// Compares sequences by key, and shows the first difference.
fn equal<K: Ord + Debug, V: PartialEq + Debug>(
    found: &BTreeMap<K, Vec<V>>,
    expected: &BTreeMap<K, Vec<V>>,
    what: &str,
) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    for ((key, found), expected) in found.iter().zip(expected.values()) {
        let same = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
        assert!(
            found.len() == same && expected.len() == same,
            "{what}: of {key:?}, {} instead of {} values; after the first {same}, {:?} instead of {:?}",
            found.len(),
            expected.len(),
            found.get(same),
            expected.get(same)
        );
    }
}

/// The state that the input gives: the counts by key, the sums by digit.
#[derive(Default)]
struct Expected {
    counts: BTreeMap<String, i64>,
    digits: BTreeMap<i64, i64>,
    echoed: BTreeMap<i32, Vec<(Offset, i64)>>,
}

impl Expected {
    fn of(driver: &mut TestDriver) -> Self {
        let mut expected = Self::default();
        for message in driver.messages("in").unwrap() {
            let number = chaos::number(message.payload.as_deref());
            let key = String::from_utf8(message.key.unwrap().to_vec()).unwrap();
            *expected.counts.entry(key).or_default() += 1;
            *expected.digits.entry(number % 10).or_default() += 1000 + number;
            expected.echoed.entry(message.partition).or_default().push((message.offset, number));
        }
        expected
    }

    fn check(&self, driver: &mut TestDriver, when: &str) {
        let mut echoed: BTreeMap<i32, Vec<_>> = BTreeMap::new();
        for (partition, event) in driver.read::<i32, (Offset, i64)>("echoed").unwrap() {
            echoed.entry(partition).or_default().push(event);
        }
        equal(&echoed, &self.echoed, &format!("each event is echoed once, in order, {when}"));
        let mut counted: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (key, count) in driver.read::<String, i64>("counted").unwrap() {
            counted.entry(key).or_default().push(count);
        }
        let counts = self.counts.iter().map(|(key, count)| (key.clone(), (1..=*count).collect::<Vec<_>>()));
        equal(&counted, &counts.collect(), &format!("each count is sent once, in order, {when}"));
        let mut summed = BTreeMap::<i64, Vec<i64>>::new();
        for (digit, sum) in driver.read::<i64, i64>("summed").unwrap() {
            summed.entry(digit).or_default().push(sum);
        }
        let last = summed.iter().map(|(digit, sums)| (*digit, sums.last().copied().unwrap_or(0))).collect();
        assert_eq!(self.digits, last, "the last sums are right {when}");
        for (digit, sums) in &summed {
            let repeated = sums.windows(2).position(|pair| pair[0] >= pair[1]);
            assert_eq!(repeated.map(|at| &sums[at..at + 2]), None, "no sum of {digit} repeats {when}");
        }
        let sums: usize = summed.values().map(Vec::len).sum();
        assert_eq!(sums, self.echoed.values().map(Vec::len).sum::<usize>(), "each sum is sent once {when}");
        let table = |entries: Vec<(String, i64)>| entries.into_iter().collect::<BTreeMap<_, _>>();
        assert_eq!(table(driver.table("counts").unwrap().iter().collect()), self.counts, "the table is right {when}");
        let digits: BTreeMap<i64, i64> = driver.table("digits").unwrap().iter().collect();
        assert_eq!(digits, self.digits, "the table behind the `group_by` is right {when}");
    }
}

/// Law: whatever happens to workers, brokers and transactions, each event counts once, for outputs and for tables, also behind a
/// `group_by`; and no store is given up.
#[test]
fn each_event_counts_once_on_an_unkind_cluster() {
    let faults = chaos::faults_of_transactions();
    let strategy = (1i32..4, chaos::history(1, faults), chaos::store());
    chaos::histories(16, faults, &strategy, |(partitions, history, store), count_faults| {
        let app = app().only::<count>().only::<by_digit>();
        let mut chaos = Chaos::new(app, partitions, store);
        chaos.behind("exact-by_digit-digit-repartition");
        chaos.run_history(&history);
        chaos.finish();
        count_faults(&chaos);
        let expected = Expected::of(&mut chaos.driver);
        expected.check(&mut chaos.driver, "at the end");
        assert!(!chaos.has_set_aside, "a store was replaced, and restored from the beginning of its changelog");
        for disk in [Disk::Kept, Disk::Lost] {
            chaos.restart(disk);
            expected.check(&mut chaos.driver, &format!("after a restart, disk {disk:?}"));
        }
        Ok(())
    });
}
