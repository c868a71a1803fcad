//! The contents of tables after commits, failures, crashes and rebalances.

use std::time::Duration;

use faust::Timestamp;
use faust::prelude::*;
use faust::testing::{TestDriver, TestMessage};

use super::harness::at_least_once;

/// Sums the numbers of each key.
#[agent(topic = "numbers")]
async fn sum(mut numbers: Stream<i64, String>, sums: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        sums.update(event.key(), |sum| *sum += event.value());
    }
    Ok(())
}

fn driver(app: faust::AppBuilder) -> TestDriver {
    TestDriver::new(app.setting("topic_partitions", 3)).unwrap()
}

fn send(driver: &mut TestDriver, pairs: &[(&str, i64)]) {
    for (key, value) in pairs {
        driver.send("numbers", &(*key).to_owned(), value).unwrap();
    }
    driver.run_until_idle();
}

fn sums(driver: &TestDriver) -> Vec<(String, i64)> {
    let mut sums: Vec<_> = driver.table::<String, i64>("sums").unwrap().iter().collect();
    sums.sort();
    sums
}

fn expect(driver: &TestDriver, expected: &[(&str, i64)]) {
    let expected: Vec<_> = expected.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
    assert_eq!(sums(driver), expected);
}

#[test]
fn a_table_is_restored_from_its_changelog_after_a_crash() {
    let mut driver = driver(App::new("tables").only::<sum>());
    let worker = driver.start_worker().unwrap();
    send(&mut driver, &[("a", 1), ("b", 2), ("a", 3)]);
    expect(&driver, &[("a", 4), ("b", 2)]);
    driver.commit();
    send(&mut driver, &[("a", 10)]);
    driver.restart(worker).unwrap();
    expect(&driver, &[("a", 14), ("b", 2)]);
    driver.commit();
    let changelog = driver.read::<String, i64>("tables-sums-changelog").unwrap();
    assert_eq!(changelog.len(), 3, "one record per key and commit: {changelog:?}");
}

#[test]
fn a_table_moves_with_its_partition() {
    let mut driver = driver(App::new("tables").only::<sum>());
    let first = driver.start_worker().unwrap();
    send(&mut driver, &[("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
    let second = driver.start_worker().unwrap();
    send(&mut driver, &[("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
    expect(&driver, &[("a", 2), ("b", 4), ("c", 6), ("d", 8)]);
    driver.stop(first).unwrap();
    send(&mut driver, &[("a", 1)]);
    expect(&driver, &[("a", 3), ("b", 4), ("c", 6), ("d", 8)]);
    driver.stop(second).unwrap();
}

#[test]
fn a_commit_of_unknown_outcome_applies_nothing_twice() {
    for answered in [false, true] {
        let mut driver = driver(App::new("tables").only::<sum>());
        let worker = driver.start_worker().unwrap();
        send(&mut driver, &[("a", 1), ("b", 1)]);
        driver.commit();
        // The changelog contains the second cut; the outcome of the offset commit is uncertain.
        send(&mut driver, &[("a", 10), ("c", 10)]);
        if answered {
            driver.cluster().hold_commit_answers()
        } else {
            driver.cluster().hold_commits()
        }
        driver.commit();
        driver.crash(worker);
        driver.cluster().release_commits();
        driver.advance(Duration::from_secs(60));
        let worker = driver.start_worker().unwrap();
        expect(&driver, &[("a", 11), ("b", 1), ("c", 10)]);
        driver.commit();
        driver.restart(worker).unwrap();
        expect(&driver, &[("a", 11), ("b", 1), ("c", 10)]);
    }
}

#[test]
fn a_stop_completes_although_a_commit_is_not_answered() {
    for answers in [false, true] {
        let mut driver = driver(at_least_once("tables").only::<sum>());
        let worker = driver.start_worker().unwrap();
        send(&mut driver, &[("a", 1), ("b", 1)]);
        driver.commit();
        if answers {
            driver.cluster().hold_commit_answers()
        } else {
            driver.cluster().hold_commits()
        }
        send(&mut driver, &[("a", 10), ("c", 10)]);
        driver.commit();
        // Not sealed yet when the shutdown is requested. The commit in progress is abandoned, and the final one is not
        // answered either.
        send(&mut driver, &[("b", 20)]);
        driver.stop(worker).unwrap();
        assert!(driver.status(worker).is_none());
        driver.cluster().release_commits();
        driver.advance(Duration::from_secs(60));
        let worker = driver.start_worker().unwrap();
        expect(&driver, &[("a", 11), ("b", 21), ("c", 10)]);
        driver.commit();
        driver.restart(worker).unwrap();
        expect(&driver, &[("a", 11), ("b", 21), ("c", 10)]);
    }
}

#[test]
fn changes_sealed_by_a_commit_in_progress_are_not_sent_again_at_a_stop() {
    let mut driver = driver(App::new("tables").only::<sum>().setting("topic_partitions", 1));
    let worker = driver.start_worker().unwrap();
    driver.cluster().hold_commits();
    send(&mut driver, &[("a", 1)]);
    driver.commit();
    send(&mut driver, &[("b", 2)]);
    driver.begin_stop(worker);
    // The commit is answered within its share of the shutdown timeout.
    driver.advance(Duration::from_secs(1));
    driver.cluster().release_commits();
    driver.stop(worker).unwrap();
    let changelog = driver.read::<String, i64>("tables-sums-changelog").unwrap();
    assert_eq!(changelog, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
}

/// Stores a long text for each key.
#[agent(topic = "numbers")]
async fn long(mut numbers: Stream<i64, String>, texts: Table<String, String>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        texts.set(event.key(), "x".repeat(64 << 10));
    }
    Ok(())
}

#[test]
fn a_large_volume_of_changes_is_committed_early() {
    let mut driver = TestDriver::new(App::new("tables").only::<long>().setting("topic_partitions", 1)).unwrap();
    driver.start_worker().unwrap();
    send(&mut driver, &[("first", 1)]);
    driver.commit();
    let committed = |driver: &mut TestDriver| driver.committed("numbers").unwrap()[&0].0;
    assert_eq!(committed(&mut driver), 1);
    let keys: Vec<String> = (0..600).map(|key| format!("k{key}")).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (key.as_str(), 1)).collect();
    send(&mut driver, &pairs[..400]);
    assert_eq!(committed(&mut driver), 1, "25 MiB of changes wait for the interval");
    send(&mut driver, &pairs[400..]);
    assert!(committed(&mut driver) > 1, "32 MiB of changes are committed before the interval");
}

/// Adds every number to windows of one second.
#[agent(topic = "numbers")]
async fn every(
    mut numbers: Stream<i64, String>,
    #[table(window = tumbling("1s"), expires = "0s")] seconds: WindowedTable<String, i64>,
) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        seconds.update(event.key(), |sum| *sum += event.value());
    }
    Ok(())
}

/// Subtracts negative numbers from the same windows.
#[agent(topic = "numbers")]
async fn negative(
    numbers: Stream<i64, String>,
    #[table(window = tumbling("1s"), expires = "0s")] seconds: WindowedTable<String, i64>,
) -> Result<()> {
    let mut numbers = numbers.filter(|number| *number < 0);
    while let Some(event) = numbers.next_event().await {
        seconds.update(event.key(), |sum| *sum -= event.value());
    }
    Ok(())
}

#[test]
fn an_agent_that_drops_all_its_events_does_not_keep_windows_open() {
    let mut driver = driver(App::new("tables").only::<every>().agent::<negative>().setting("topic_partitions", 1));
    let worker = driver.start_worker().unwrap();
    for _ in 0..5 {
        send(&mut driver, &[("a", 1)]);
        driver.advance(Duration::from_secs(1));
    }
    assert_eq!(driver.windowed_table::<String, i64>("seconds").unwrap().iter().count(), 1, "the last window");
    assert_eq!(driver.status(worker).unwrap().counts.windows_closed, 4);
}

/// Interrupts a restore at various points, including in the middle of a call to its store.
#[test]
fn a_stop_in_the_middle_of_a_restore_completes() {
    for turns in 0..8 {
        let directory = tempfile::tempdir().unwrap();
        let app = App::new("tables").only::<sum>().setting("store", "fjall://");
        let mut driver = driver(app.setting("datadir", directory.path().display()));
        let first = driver.start_worker().unwrap();
        send(&mut driver, &[("a", 1), ("b", 2), ("c", 3)]);
        driver.commit();
        // The worker cannot give up its partitions while a commit is unanswered.
        driver.cluster().hold_commit_answers();
        send(&mut driver, &[("a", 10)]);
        driver.commit();
        let second = driver.start_worker().unwrap();
        driver.cluster().release_commits();
        driver.run_turns(turns);
        driver.stop(second).unwrap();
        driver.advance(Duration::from_secs(60));
        driver.commit();
        driver.restart(first).unwrap();
        expect(&driver, &[("a", 11), ("b", 2), ("c", 3)]);
    }
}

/// Adds to a number, and reads the numbers of other keys, as a join with a table that is grouped by another key does.
#[agent(topic = "numbers")]
async fn join(mut numbers: Stream<i64, String>, sums: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        match *event.value() {
            1 => drop(sums.get("b")),
            2 => drop(sums.contains("b")),
            3 => sums.with("b", |_| ()),
            4 => drop(sums.remove("b")),
            _ => sums.update(event.key(), |sum| *sum += event.value()),
        }
    }
    Ok(())
}

/// Law: a key of another partition is counted whenever it is looked up, in a read as in a write.
#[test]
fn a_read_with_a_key_of_another_partition_is_counted() {
    let mut driver = driver(App::new("tables").only::<join>());
    let worker = driver.start_worker().unwrap();
    let count = |driver: &TestDriver| driver.status(worker).unwrap().counts.misplaced_keys;
    // `a` and `b` belong to two partitions.
    for (number, expected) in [(10, 0), (1, 1), (2, 2), (3, 3), (4, 4)] {
        send(&mut driver, &[("a", number)]);
        assert_eq!(count(&driver), expected, "after {number}");
    }
    send(&mut driver, &[("b", 10), ("b", 1), ("b", 2)]);
    assert_eq!(count(&driver), 4, "the key's own partition finds it");
}

/// Sums the numbers of each key; 0 removes it.
#[agent(topic = "timed")]
async fn timed(mut numbers: Stream<i64, String>, #[table(name = "timed")] sums: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        match event.value() {
            0 => drop(sums.remove(event.key())),
            number => sums.update(event.key(), |sum| *sum += number),
        }
    }
    Ok(())
}

/// Keeps the last number of each key, in batches.
#[agent(topic = "timed")]
async fn timed_batches(
    numbers: Stream<i64, String>,
    #[table(name = "batched")] last: Table<String, i64>,
) -> Result<()> {
    let mut batches = numbers.take(100, Duration::from_millis(100));
    while let Some(batch) = batches.next_events().await {
        batch.iter().for_each(|event| last.set(event.key(), *event.value()));
    }
    Ok(())
}

/// Law: the time of an entry is the greatest of the events that made its value, also after a restart and a restore.
#[test]
fn entries_have_the_time_of_their_events() {
    for store in ["memory://", "sled://", "fjall://"] {
        let directory = tempfile::tempdir().unwrap();
        let app = App::new("times").only::<timed>().agent::<timed_batches>();
        let app = app.setting("datadir", directory.path().display().to_string());
        let app = app.setting("topic_partitions", 1).setting("store", store);
        let mut driver = TestDriver::new(app).unwrap();
        let mut worker = driver.start_worker().unwrap();
        let send = |driver: &mut TestDriver, events: &[(&str, i64, i64)]| {
            for (key, number, time) in events {
                driver.send_with("timed", &(*key).to_owned(), number, |m| m.timestamp(Timestamp(*time))).unwrap();
            }
            driver.run_until_idle();
            driver.advance(Duration::from_secs(1));
            driver.commit();
        };
        let last = |driver: &mut TestDriver, table: &str, key: &str| {
            let changelog = driver.messages(&format!("times-{table}-changelog")).unwrap();
            let of_key = |record: &&TestMessage| record.key.as_deref() == Some(key.as_bytes());
            let record = changelog.iter().rfind(of_key).unwrap();
            let (_, time) = record.headers.get_str("faust-commit").unwrap().split_once(' ').unwrap();
            let value = record.payload.as_deref().map(|value| String::from_utf8(value.to_vec()).unwrap());
            (value, time.parse::<i64>().unwrap())
        };
        let value = |value: &str, time| (Some(value.to_owned()), time);
        send(&mut driver, &[("a", 1, 5000), ("a", 1, 1000), ("b", 1, 2000)]);
        assert_eq!(
            (last(&mut driver, "timed", "a"), last(&mut driver, "timed", "b")),
            (value("2", 5000), value("1", 2000))
        );
        assert_eq!(last(&mut driver, "batched", "b"), value("1", 5000), "a batch has one time");
        // From the store, or from the changelog.
        worker = driver.restart(worker).unwrap();
        send(&mut driver, &[("a", 1, 3000)]);
        assert_eq!(last(&mut driver, "timed", "a"), value("3", 5000));
        driver.crash(worker);
        driver.lose_disk(worker).unwrap();
        driver.advance(Duration::from_secs(60));
        driver.start_worker().unwrap();
        send(&mut driver, &[("a", 1, 4000), ("b", 0, 1000)]);
        assert_eq!(
            (last(&mut driver, "timed", "a"), last(&mut driver, "timed", "b")),
            (value("4", 5000), (None, 2000))
        );
        // A removed key begins anew.
        send(&mut driver, &[("b", 1, 500)]);
        assert_eq!(last(&mut driver, "timed", "b"), value("1", 500));
    }
}
