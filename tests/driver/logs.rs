//! Logs that change under a running worker: topics that are deleted and created again.

use std::cell::RefCell;
use std::time::Duration;

use faust::prelude::*;
use faust::testing::{TestDriver, WorkerId};
use faust::{AppBuilder, Offset};

thread_local! {
    static SEEN: RefCell<Vec<(&'static str, i64)>> = const { RefCell::new(Vec::new()) };
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
