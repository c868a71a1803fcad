//! Logs that change under a running worker, or while no worker runs: topics that are deleted and created again.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use faust::prelude::*;
use faust::testing::{TestDriver, WorkerId};
use faust::transport::{Committed, TopicPartition, Transport};
use faust::{AppBuilder, Offset};
use futures_util::FutureExt;

thread_local! {
    static SEEN: RefCell<Vec<(&'static str, i64)>> = const { RefCell::new(Vec::new()) };
    /// The database of `stored` and `stored_total` is unavailable.
    static IS_AWAY: Cell<bool> = const { Cell::new(false) };
}

#[agent(topic = "in")]
async fn one(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        SEEN.with_borrow_mut(|seen| seen.push(("one", number)));
    }
}

#[agent(topic = "in")]
async fn two(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        SEEN.with_borrow_mut(|seen| seen.push(("two", number)));
    }
}

#[agent(topic = "in")]
async fn total(mut numbers: Stream<i64, String>, totals: Table<String, i64>) {
    while let Some(event) = numbers.next_event().await {
        totals.update("all", |total| *total += event.value());
    }
}

#[agent(topics = ["in", "on"])]
async fn both(mut numbers: Stream<i64, String>) {
    while let Some(number) = numbers.next().await {
        SEEN.with_borrow_mut(|seen| seen.push(("both", number)));
    }
}

#[agent(topics = ["in", "on"])]
async fn both_total(mut numbers: Stream<i64, String>, totals: Table<String, i64>) {
    while let Some(event) = numbers.next_event().await {
        totals.update("all", |total| *total += event.value());
    }
}

fn start(app: AppBuilder) -> (TestDriver, WorkerId) {
    let mut driver = TestDriver::new(app.setting("topic_partitions", 1)).unwrap();
    driver.create_topic("in", 1).unwrap();
    let worker = driver.start_worker().unwrap();
    (driver, worker)
}

fn send(driver: &mut TestDriver, numbers: std::ops::Range<i64>) {
    numbers.for_each(|number| driver.send("in", &"all".to_owned(), &number).unwrap());
}

/// Deletes the topic under the worker, and creates it again.
fn replace(driver: &mut TestDriver) {
    driver.commit();
    driver.delete_topic("in").unwrap();
    driver.create_topic("in", 1).unwrap();
}

fn seen(agent: &str) -> Vec<i64> {
    SEEN.with_borrow(|seen| seen.iter().filter(|(name, _)| *name == agent).map(|(_, number)| *number).collect())
}

/// Law: agents without tables read a topic from its beginning that was deleted and created again. None of them takes the new
/// messages for those that it has read.
#[test]
fn a_topic_that_is_created_again_is_read_from_its_beginning() {
    let (mut driver, worker) = start(App::new("logs").only::<one>().agent::<two>());
    send(&mut driver, 0..5);
    replace(&mut driver);
    send(&mut driver, 10..13);
    driver.advance(Duration::from_secs(5));
    send(&mut driver, 13..17);
    driver.commit();
    driver.commit();
    let expected: Vec<_> = (0..5).chain(10..17).collect();
    assert_eq!((seen("one"), seen("two")), (expected.clone(), expected));
    assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(7)));
    assert_eq!(driver.status(worker).unwrap().counts.agent_failures, 0);
    driver.stop(worker).unwrap();
}

/// Starts a worker that reads five messages of a topic, which is then replaced by one with seven, and runs it for a minute.
fn after_a_longer_log(app: AppBuilder) -> (TestDriver, WorkerId) {
    let (mut driver, worker) = start_with_messages(app);
    send(&mut driver, 1..5);
    replace(&mut driver);
    send(&mut driver, 10..17);
    driver.advance(Duration::from_secs(60));
    (driver, worker)
}

/// Law: a log that was replaced is noticed also if it is longer than what was read of the former one, which no broker reports.
#[test]
fn a_longer_log_that_replaces_another_is_read_from_its_beginning() {
    let (mut driver, worker) = after_a_longer_log(App::new("logs").only::<one>());
    let read = seen("one");
    assert!(read.ends_with(&[10, 11, 12, 13, 14, 15, 16]), "{read:?}");
    driver.commit();
    assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(7)));
    driver.stop(worker).unwrap();
}

/// Law: a table does not go on with a log that has replaced another, even if no broker reports it.
#[test]
fn a_table_stops_at_a_longer_log_that_replaces_another() {
    let (mut driver, worker) = after_a_longer_log(App::new("logs").only::<total>());
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    let text = error.to_string();
    assert!(text.contains("up to offset 7 in another log: the topic was deleted and created again"), "{text}");
}

/// Law: a table has the events of the former log: the worker stops, and its error names the choice.
#[test]
fn a_table_does_not_silently_go_on_with_another_log() {
    let (mut driver, worker) = start(App::new("logs").only::<total>());
    send(&mut driver, 1..6);
    replace(&mut driver);
    send(&mut driver, 10..12);
    driver.advance(Duration::from_secs(5));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    let text = error.to_string();
    for part in ["in[0] ends at offset 2", "agent `total` has read it up to offset 5", "`reset --topics`"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    // The offsets were deleted with the topic, so that the choice cannot be made by a mere restart.
    let error = driver.start_worker().unwrap_err();
    assert!(error.to_string().contains("run `recover`"), "{error}");
}

/// Starts a worker whose topics have a message each: the log of an empty topic has no identity.
fn start_with_messages(app: AppBuilder) -> (TestDriver, WorkerId) {
    let mut driver = TestDriver::new(app.setting("topic_partitions", 1)).unwrap();
    for topic in ["in", "on"] {
        driver.create_topic(topic, 1).unwrap();
        driver.send(topic, &"all".to_owned(), &0).unwrap();
    }
    let worker = driver.start_worker().unwrap();
    (driver, worker)
}

/// The group's commit of `in`.
fn committed(driver: &TestDriver) -> Option<Committed> {
    let partition = TopicPartition::new("in", 0);
    let committed = driver.cluster().admin().unwrap().committed("logs", vec![partition.clone()]).now_or_never();
    committed.unwrap().unwrap().remove(&partition)
}

fn commit(driver: &TestDriver, commit: Committed) {
    let commits = [(TopicPartition::new("in", 0), commit)].into();
    driver.cluster().admin().unwrap().commit("logs", commits).now_or_never().unwrap().unwrap();
}

/// Deletes the topic while no worker runs, and creates it again with these messages. With `is_late`, the broker carries out the
/// commit of the former log afterwards; otherwise it has deleted it with the topic.
fn replace_behind_its_back(driver: &mut TestDriver, numbers: std::ops::Range<i64>, is_late: bool) {
    let former = committed(driver).expect("a commit of the former log");
    driver.delete_topic("in").unwrap();
    driver.create_topic("in", 1).unwrap();
    send(driver, numbers);
    if is_late {
        commit(driver, former);
    }
}

/// Law: agents without tables read all of a log that is already longer than the position in the former one.
#[test]
fn a_topic_that_is_created_again_while_no_worker_runs_is_read_from_its_beginning() {
    let (mut driver, worker) = start_with_messages(App::new("logs").only::<one>().agent::<two>());
    send(&mut driver, 1..5);
    driver.commit();
    driver.stop(worker).unwrap();
    replace_behind_its_back(&mut driver, 10..20, true);
    let worker = driver.start_worker().unwrap();
    driver.commit();
    let expected: Vec<_> = (0..5).chain(10..20).collect();
    assert_eq!((seen("one"), seen("two")), (expected.clone(), expected.clone()));
    // The commit names the new log: nothing is repeated.
    driver.stop(worker).unwrap();
    let worker = driver.start_worker().unwrap();
    driver.commit();
    driver.stop(worker).unwrap();
    assert_eq!((seen("one"), seen("two")), (expected.clone(), expected));
}

/// Law: the commits of other topics of the task name the former log, too.
#[test]
fn a_position_in_the_commit_of_another_topic_is_that_of_a_log() {
    let (mut driver, worker) = start_with_messages(App::new("logs").only::<both>());
    send(&mut driver, 1..5);
    driver.commit();
    driver.stop(worker).unwrap();
    replace_behind_its_back(&mut driver, 10..20, false);
    let worker = driver.start_worker().unwrap();
    driver.commit();
    driver.stop(worker).unwrap();
    assert_eq!(seen("both"), [0].into_iter().chain(0..5).chain(10..20).collect::<Vec<_>>());
}

/// Law: a table does not continue with another log, and the error names the choice. An offset that is committed by hand is one.
#[test]
fn a_table_stops_at_a_log_that_was_created_again_while_no_worker_ran() {
    for is_late in [true, false] {
        let (mut driver, worker) = start_with_messages(App::new("logs").only::<both_total>());
        send(&mut driver, 1..5);
        driver.commit();
        driver.stop(worker).unwrap();
        replace_behind_its_back(&mut driver, 10..20, is_late);
        let worker = driver.start_worker().unwrap();
        driver.run_until_idle();
        let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
        let text = error.to_string();
        for part in ["agent `both_total` has read in[0] up to offset 5 in another log", "`recover`", "`reset --topics`"]
        {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
        assert!(committed(&driver).is_none_or(|commit| commit.offset == Offset(5)), "nothing was committed");
        commit(&driver, Committed::at(Offset(8)));
        let worker = driver.start_worker().unwrap();
        driver.commit();
        let totals = driver.table::<String, i64>("totals").unwrap();
        assert_eq!(totals.find("all"), Some(1 + 2 + 3 + 4 + 18 + 19));
        // The commit names the new log.
        let worker = driver.restart(worker).unwrap();
        driver.run_until_idle();
        driver.stop(worker).unwrap();
    }
}

/// Law: the worker does not decide where to continue if the user has said so.
#[test]
fn without_a_policy_the_worker_stops_at_another_log() {
    let app = App::new("logs").only::<one>().setting("consumer_auto_offset_reset", "none");
    let mut driver = TestDriver::new(app.setting("topic_partitions", 1)).unwrap();
    driver.create_topic("in", 1).unwrap();
    send(&mut driver, 0..5);
    commit(&driver, Committed::at(Offset(1)));
    let worker = driver.start_worker().unwrap();
    driver.commit();
    driver.stop(worker).unwrap();
    replace_behind_its_back(&mut driver, 10..20, true);
    let worker = driver.start_worker().unwrap();
    driver.run_until_idle();
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    assert!(error.to_string().contains("`consumer_auto_offset_reset` is `none`"), "{error}");
    assert_eq!(seen("one"), [1, 2, 3, 4]);
}

/// Law: a commit names the log of its positions, also after the topic was replaced under the worker.
#[test]
fn a_log_that_was_replaced_under_the_worker_is_no_other_one_for_the_next_worker() {
    let (mut driver, worker) = start_with_messages(App::new("logs").only::<one>());
    send(&mut driver, 1..5);
    replace(&mut driver);
    send(&mut driver, 10..13);
    driver.advance(Duration::from_secs(5));
    driver.commit();
    driver.stop(worker).unwrap();
    let worker = driver.start_worker().unwrap();
    send(&mut driver, 13..20);
    driver.commit();
    driver.stop(worker).unwrap();
    assert_eq!(seen("one"), (0..5).chain(10..20).collect::<Vec<_>>());
    replace_behind_its_back(&mut driver, 20..40, true);
    let worker = driver.start_worker().unwrap();
    driver.commit();
    driver.stop(worker).unwrap();
    assert_eq!(seen("one"), (0..5).chain(10..40).collect::<Vec<_>>());
}

/// Law: an empty log that is replaced before its first message is read is no loss for a table.
#[test]
fn an_empty_log_may_be_replaced() {
    let (mut driver, worker) = start(App::new("logs").only::<total>());
    driver.run_until_idle();
    replace(&mut driver);
    send(&mut driver, 1..6);
    driver.advance(Duration::from_secs(5));
    driver.commit();
    let worker = driver.restart(worker).unwrap();
    send(&mut driver, 6..7);
    driver.commit();
    assert_eq!(driver.table::<String, i64>("totals").unwrap().find("all"), Some(21));
    driver.stop(worker).unwrap();
}

/// Law: a log that was empty at first is known once a message of it was read.
#[test]
fn a_log_that_was_empty_is_known_later() {
    let (mut driver, worker) = start(App::new("logs").only::<one>().agent::<two>());
    driver.run_until_idle();
    send(&mut driver, 0..5);
    driver.commit();
    driver.advance(Duration::from_secs(60));
    send(&mut driver, 5..6);
    driver.commit();
    driver.stop(worker).unwrap();
    replace_behind_its_back(&mut driver, 10..20, true);
    let worker = driver.start_worker().unwrap();
    driver.commit();
    driver.stop(worker).unwrap();
    let expected: Vec<_> = (0..6).chain(10..20).collect();
    assert_eq!((seen("one"), seen("two")), (expected.clone(), expected));
}

/// Reads the numbers behind a hop.
#[agent(topic = "in")]
async fn regrouped(numbers: Stream<i64, String>) {
    let mut numbers = numbers.group_by("tens", |number: &i64| number / 10);
    while let Some(number) = numbers.next().await {
        SEEN.with_borrow_mut(|seen| seen.push(("regrouped", number)));
    }
}

/// Law: what a stage has forwarded is read, also if the topic is created again.
#[test]
fn a_topic_between_stages_is_read_from_its_beginning_whatever_the_policy_is() {
    let app = App::new("logs").only::<regrouped>().setting("consumer_auto_offset_reset", "latest");
    let (mut driver, worker) = start(app);
    send(&mut driver, 0..5);
    driver.commit();
    driver.delete_topic("logs-regrouped-tens-repartition").unwrap();
    driver.create_topic("logs-regrouped-tens-repartition", 1).unwrap();
    send(&mut driver, 10..13);
    driver.advance(Duration::from_secs(10));
    assert_eq!(seen("regrouped"), (0..5).chain(10..13).collect::<Vec<_>>());
    driver.stop(worker).unwrap();
}

/// Cannot process 2 while its database is away.
#[agent(topic = "in")]
async fn stored(mut numbers: Stream<i64>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        if number == 2 && IS_AWAY.get() {
            return Err("the database is away".into());
        }
        SEEN.with_borrow_mut(|seen| seen.push(("stored", number)));
    }
    Ok(())
}

/// Does the same, and keeps the total.
#[agent(topic = "in")]
async fn stored_total(mut numbers: Stream<i64>, stored: Table<String, i64>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        if number == 2 && IS_AWAY.get() {
            return Err("the database is away".into());
        }
        stored.update("all", |total| *total += number);
    }
    Ok(())
}

/// Takes a minute for 1.
#[agent(topic = "in")]
async fn slow(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        if number == 1 {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        SEEN.with_borrow_mut(|seen| seen.push(("slow", number)));
    }
}

/// Law: no agent takes the messages of a new log for those that it has not read of the former one, however far it is behind
/// the agent that finds the new log.
#[test]
fn an_agent_that_is_behind_reads_the_other_log_from_its_beginning() {
    for agent in ["stored", "slow"] {
        SEEN.take();
        IS_AWAY.set(true);
        let app = App::new("logs").only::<one>().setting("stream_buffer_maxsize", 2);
        let app = if agent == "slow" { app.agent::<slow>() } else { app.agent::<stored>() };
        let (mut driver, worker) = start_with_messages(app);
        send(&mut driver, 1..6);
        driver.advance(Duration::from_secs(10));
        replace(&mut driver);
        send(&mut driver, 10..15);
        driver.advance(Duration::from_secs(20));
        IS_AWAY.set(false);
        driver.advance(Duration::from_secs(120));
        assert_eq!(seen("one"), (0..6).chain(10..15).collect::<Vec<_>>());
        let new: Vec<_> = seen(agent).into_iter().filter(|number| *number >= 10).collect();
        assert_eq!(new, (10..15).collect::<Vec<_>>(), "{agent}");
        driver.commit();
        driver.stop(worker).unwrap();
        // The commit names the new log.
        replace_behind_its_back(&mut driver, 20..30, true);
        let worker = driver.start_worker().unwrap();
        driver.commit();
        driver.stop(worker).unwrap();
        assert!(seen(agent).ends_with(&(20..30).collect::<Vec<_>>()), "{agent}: {:?}", seen(agent));
    }
}

/// Law: a table does not continue with another log, also if its agent fails when another agent finds the new log.
#[test]
fn a_table_that_is_behind_stops_at_another_log() {
    IS_AWAY.set(true);
    let (mut driver, worker) = start_with_messages(App::new("logs").only::<one>().agent::<stored_total>());
    send(&mut driver, 1..6);
    driver.advance(Duration::from_secs(10));
    replace(&mut driver);
    send(&mut driver, 10..15);
    IS_AWAY.set(false);
    driver.advance(Duration::from_secs(120));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    assert!(error.to_string().contains("`stored_total` has read in[0] up to offset 2 in another log"), "{error}");
}

/// Law: what was finished of a log that does not exist any more is committed: it cannot be read again.
#[test]
fn finished_events_of_a_deleted_log_are_not_lost() {
    let (mut driver, worker) = start_with_messages(App::new("logs").only::<total>());
    send(&mut driver, 1..6);
    driver.run_until_idle();
    driver.delete_topic("in").unwrap();
    driver.create_topic("in", 1).unwrap();
    send(&mut driver, 10..11);
    driver.advance(Duration::from_secs(5));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    assert!(error.to_string().contains("Its tables still contain the events of the former log"), "{error}");
    let changelog = driver.read::<String, i64>("logs-totals-changelog").unwrap();
    assert_eq!(changelog.last(), Some(&("all".to_owned(), 15)));
}

/// Law: the failures of an event end with its log: the event at the same offset of another log is another one.
#[test]
fn failures_are_not_those_of_an_event_of_another_log() {
    IS_AWAY.set(true);
    let app = App::new("logs").only::<stored>().setting("agent_failure", "skip").setting("agent_max_time", "1h");
    let (mut driver, worker) = start_with_messages(app.setting("agent_max_attempts", 8));
    send(&mut driver, 1..3);
    driver.advance(Duration::from_secs(5));
    assert_eq!(driver.status(worker).unwrap().counts.agent_failures, 6);
    replace(&mut driver);
    send(&mut driver, 10..11);
    driver.advance(Duration::from_secs(30));
    assert_eq!(seen("stored").last(), Some(&10));
    // The same number at the same offset.
    let failures = driver.status(worker).unwrap().counts.agent_failures;
    send(&mut driver, 11..12);
    send(&mut driver, 2..3);
    driver.advance(Duration::from_secs(5));
    let counts = driver.status(worker).unwrap().counts;
    assert_eq!((counts.skipped, counts.agent_failures - failures), (0, 6));
    IS_AWAY.set(false);
    driver.advance(Duration::from_secs(30));
    assert_eq!(seen("stored").last(), Some(&2));
    driver.stop(worker).unwrap();
}
