//! The pace of commits that the user has not set: they come later while a worker catches up, unless an agent waits for one. What
//! the agents here sleep is time of the driver's clock.

use std::cell::Cell;
use std::time::Duration;

use faust::prelude::*;
use faust::testing::{TestDriver, WorkerId};

/// Size of a large text: three exceed the memory for finished messages.
const TEXT: usize = 11 << 20;

thread_local! {
    /// Number of events that [`large`] has begun.
    static BEGUN: Cell<u32> = const { Cell::new(0) };
}

/// Sends as many large texts as its number says, and an empty one, and takes 300 ms for the rest of the event.
#[agent(topic = "in")]
async fn large(mut numbers: Stream<i64>, #[topic("texts")] texts: Topic<i64, String>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        BEGUN.set(BEGUN.get() + 1);
        for _ in 0..number {
            texts.send(&number, &"x".repeat(TEXT)).await?;
        }
        texts.send(&number, &String::new()).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(())
}

/// Reads three thousand events in a second, and sends nothing.
#[agent(topic = "bulk")]
async fn behind(mut numbers: Stream<i64>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        if number % 30 == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(())
}

fn commits(driver: &TestDriver, worker: WorkerId) -> u64 {
    driver.status(worker).unwrap().counts.commits
}

/// Starts a worker that reads for some seconds, and whose commits take 100 ms, so that it commits every two seconds. Returns it
/// just after a commit.
fn catching_up() -> (TestDriver, WorkerId) {
    let app = App::new("pace").setting("processing_guarantee", "exactly_once").setting("topic_partitions", 1);
    let app = app.setting("event_output_max", "64MiB").only::<large>().only::<behind>();
    let mut driver = TestDriver::new(app).unwrap();
    driver.create_topic("bulk", 1).unwrap();
    for number in 0..20_000 {
        driver.send("bulk", &RawKey::NONE, &number).unwrap();
    }
    driver.cluster().delay_commits(Some(Duration::from_millis(100)));
    let worker = driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(1));
    let before = commits(&driver, worker);
    let mut waited = Duration::ZERO;
    while commits(&driver, worker) == before {
        driver.advance(Duration::from_millis(50));
        waited += Duration::from_millis(50);
        assert!(waited < Duration::from_secs(4), "there are no commits");
    }
    (driver, worker)
}

#[test]
fn a_worker_that_catches_up_commits_late() {
    let (mut driver, worker) = catching_up();
    let before = commits(&driver, worker);
    driver.advance(Duration::from_millis(1500));
    assert_eq!(commits(&driver, worker), before);
    driver.advance(Duration::from_millis(600));
    assert_eq!(commits(&driver, worker), before + 1);
}

/// The messages of the first event take the memory, and the stream waits until a commit has freed it. That commit begins while the
/// second event is open, and its end finds the memory still in use.
#[test]
fn an_agent_without_memory_for_its_messages_does_not_wait_for_a_late_commit() {
    let (mut driver, _) = catching_up();
    for number in [3, 0, 1] {
        driver.send("in", &RawKey::NONE, &number).unwrap();
    }
    BEGUN.set(0);
    driver.advance(Duration::from_millis(800));
    assert_eq!(BEGUN.get(), 3);
}
