//! Refused commits, topics that are deleted, and partitions that are given away.

use std::time::Duration;

use faust::prelude::*;
use faust::testing::TestDriver;

use super::laws::{SLOW, before_a_hand_over, both, committed, driver, send, summing};

/// Reads `other` without using it. Beside [`both`], its reader has two subscribers.
#[agent(topic = "other")]
async fn other(mut numbers: Stream<i64, String>) -> Result<()> {
    while numbers.next().await.is_some() {}
    Ok(())
}

/// The changes of a commit that is not confirmed would be written again with each of the next.
#[test]
fn a_deleted_topic_does_not_stop_the_commits_of_others() {
    let mut driver = driver(App::new("owners").only::<summing>().only::<other>(), 1);
    driver.start_worker().unwrap();
    send(&mut driver, "a", [1; 3]);
    driver.send("other", &"a".to_owned(), &1i64).unwrap();
    driver.commit();
    driver.send("other", &"a".to_owned(), &2i64).unwrap();
    driver.run_until_idle();
    driver.delete_topic("other").unwrap();
    for key in 'b'..'l' {
        send(&mut driver, &key.to_string(), [1]);
        driver.commit();
    }
    assert_eq!(driver.messages("owners-sums-changelog").unwrap().len(), 11, "one record for each change");
}

/// The positions of a task stand in the commits of all of its topics, also after one of them has been deleted. A table has the
/// events of the former log, so that the new one is not read into it.
#[test]
fn a_topic_that_was_created_again_is_not_read_into_a_table() {
    let app = App::new("owners").only::<both>().only::<other>().setting("topic_partitions", 1);
    let mut driver = TestDriver::new(app.setting("broker_commit_interval", "500ms")).unwrap();
    let worker = driver.start_worker().unwrap();
    let send_other = |driver: &mut TestDriver, count| {
        for _ in 0..count {
            driver.send("other", &"a".to_owned(), &1i64).unwrap();
        }
        driver.run_until_idle();
    };
    send(&mut driver, "a", [1; 3]);
    send_other(&mut driver, 5);
    driver.commit();
    driver.crash(worker);
    driver.advance(Duration::from_secs(60));
    driver.delete_topic("other").unwrap();
    driver.create_topic("other", 1).unwrap();
    send_other(&mut driver, 2);
    let worker = driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(5));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    let text = error.to_string();
    for part in ["other[0] ends at offset 2", "agent `both` has read it up to offset 5", "`reset --topics`"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

/// Law: a worker does not commit for partitions that were given away while it was busy.
#[test]
fn a_commit_for_partitions_that_were_given_away_is_not_sent() {
    let (mut driver, first) = before_a_hand_over();
    // The first worker is inside an event for longer than the rebalance waits for it.
    SLOW.set(true);
    send(&mut driver, "d", [1]);
    driver.begin_stop(first);
    driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(2));
    send(&mut driver, "d", [1; 9]);
    driver.commit();
    let before = committed(&mut driver, 1);
    assert_eq!(before, Some(16), "the second worker has processed everything");
    // The first worker returns from its event, and the second one has not committed again.
    let mut lowest = before;
    for _ in 0..150 {
        driver.advance(Duration::from_millis(100));
        lowest = lowest.min(committed(&mut driver, 1));
    }
    assert_eq!(lowest, before, "the lowest committed offset");
}
