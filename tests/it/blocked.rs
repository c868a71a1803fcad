//! Agents that block their threads.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use faust::Offset;
use faust::prelude::*;

use crate::harness::{Cluster, LONG, Message, wait_for};

/// The rounds of a test, in each of which agents block.
struct Rounds {
    ended: Mutex<i64>,
    has_ended: Condvar,
}

impl Rounds {
    const fn new() -> Self {
        Self { ended: Mutex::new(0), has_ended: Condvar::new() }
    }

    /// Blocks the thread until this round has ended.
    fn wait_for(&self, round: i64) {
        let ended = self.ended.lock().unwrap();
        drop(self.has_ended.wait_while(ended, |ended| *ended <= round).unwrap());
    }

    /// Ends the first `count` rounds.
    fn end(&self, count: i64) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = count;
        self.has_ended.notify_all();
    }

    /// Lets the blocked agents go on if the test fails: their runtime could not end otherwise.
    fn end_all_later(&self) -> impl Drop {
        struct EndAll<'a>(&'a Rounds);
        impl Drop for EndAll<'_> {
            fn drop(&mut self) {
                self.0.end(i64::MAX);
            }
        }
        EndAll(self)
    }
}

static ROUND: Rounds = Rounds::new();

/// Blocks its thread in each event with the number of a round, until the round has ended.
#[agent(topic = "bl-slot")]
async fn block(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        if number >= 0 {
            ROUND.wait_for(number);
        }
    }
}

/// Law: an agent that blocks its thread keeps no task of the worker from running.
///
/// Tokio leaves the task that a thread has woken last to this thread. Here, the threads always prefer a task that was woken from
/// outside, such as a partition with an event that blocks, which otherwise happens now and then.
#[test]
fn a_thread_that_is_blocked_keeps_no_task_of_the_worker() {
    const ROUNDS: i64 = 60;
    const BLOCKED: i32 = 3;
    const PARTITIONS: i32 = 8;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(4).global_queue_interval(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::start().await;
        cluster.create("bl-slot", PARTITIONS).await;
        let group = cluster.id("bl-slot");
        let app = cluster.app("bl-slot").only::<block>().setting("broker_commit_interval", "10ms");
        let worker = cluster.run(app).await;
        let _end = ROUND.end_all_later();
        for round in 0..ROUNDS {
            let number = |partition| if partition < BLOCKED { round } else { -1 };
            let messages = (0..PARTITIONS).map(|partition| Message::of(number(partition).to_string()).to(partition));
            cluster.produce("bl-slot", messages).await;
            wait_for("the commits of the others", LONG, async || {
                let committed = cluster.committed(&group, "bl-slot").await;
                let is_done = |partition| committed.get(&partition).is_some_and(|at| at.offset == Offset(round + 1));
                (BLOCKED..PARTITIONS).all(is_done)
            })
            .await;
            ROUND.end(round + 1);
        }
        worker.stop().await.unwrap();
    });
}

static WAITED: Rounds = Rounds::new();

/// Blocks its thread after a timer has woken it.
#[agent(topic = "bl-timer")]
async fn wait_and_block(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        tokio::time::sleep(Duration::from_millis(33)).await;
        WAITED.wait_for(number);
    }
}

/// Law: a thread that waits for the timers of all threads, and is then blocked, stops no timer.
///
/// The control loop, which reports the agent, waits for timers only. The test awaits none, because that would wake a thread.
#[test]
fn a_thread_that_has_waited_for_timers_and_is_blocked_leaves_them_to_another() {
    const ROUNDS: i64 = 6;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let (cluster, worker) = runtime.block_on(async {
        let cluster = Cluster::start().await;
        cluster.create("bl-timer", 1).await;
        let app = cluster.app("bl-timer").only::<wait_and_block>().setting("stream_processing_timeout", "100ms");
        let worker = cluster.run(app).await;
        (cluster, worker)
    });
    let _end = WAITED.end_all_later();
    for round in 0..ROUNDS {
        runtime.block_on(cluster.produce("bl-timer", [Message::of(round.to_string())]));
        for is_stuck in [true, false] {
            let began = Instant::now();
            while worker.status().stuck.is_empty() == is_stuck {
                assert!(began.elapsed() < LONG, "round {round}: the control loop stands still");
                std::thread::sleep(Duration::from_millis(5));
            }
            WAITED.end(round + 1);
        }
    }
    runtime.block_on(worker.stop()).unwrap();
}
