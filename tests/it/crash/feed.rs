//! A producer of numbered events at a steady rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use faust::{App, Topic};
use tokio::task::JoinHandle;

use super::scenario::PARTITIONS;
use super::work::Number;
use crate::harness::LONG;

/// Returns the group of an event. Every partition has events of each group.
pub(super) fn group(n: u64) -> String {
    format!("g{}", n % 97)
}

/// A running feed.
pub(super) struct Feed {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Feed {
    /// Starts a feed. Event `n` is sent to partition `n % PARTITIONS`, so that the order in each partition is known.
    pub(super) async fn start(bootstrap: &str, input: &str, run: u64, per_second: u32) -> Self {
        // Below the time in which a busy Kafka acknowledges, each producer would take a core from it.
        let app = App::new("crash-feed").setting("broker", bootstrap).setting("producer_linger", "100ms");
        let client = app.client().await.unwrap();
        let topic: Topic<u64, Number> = client.topic(input).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let (began, mut sent) = (Instant::now(), 0);
            while !stopped.load(Ordering::Relaxed) {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of events")]
                let due = (began.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
                while sent < due {
                    let number = Number { run, n: sent, group: group(sent) };
                    let partition = i32::try_from(sent % PARTITIONS).unwrap();
                    topic.send_with(&sent, &number, |message| message.partition(partition)).await.unwrap();
                    sent += 1;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            client.flush(LONG).await.unwrap();
            sent
        });
        Self { stop, task }
    }

    /// Stops the feed and returns the number of events in the input.
    pub(super) async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}
