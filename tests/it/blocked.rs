//! Agents that block their threads.

use std::sync::{Condvar, Mutex, PoisonError};

use faust::Offset;
use faust::prelude::*;

use crate::harness::{Cluster, LONG, Message, wait_for};

/// Number of rounds that have ended.
static ENDED: Mutex<i64> = Mutex::new(0);
static HAS_ENDED: Condvar = Condvar::new();

/// Blocks its thread in each event with the number of a round, until the round has ended.
#[agent(topic = "bl-slot")]
async fn block(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        if number >= 0 {
            let ended = ENDED.lock().unwrap();
            drop(HAS_ENDED.wait_while(ended, |ended| *ended <= number).unwrap());
        }
    }
}

fn end_rounds(ended: i64) {
    *ENDED.lock().unwrap_or_else(PoisonError::into_inner) = ended;
    HAS_ENDED.notify_all();
}

/// Lets the blocked agents go on if the test fails: their runtime could not end otherwise.
struct EndRounds;

impl Drop for EndRounds {
    fn drop(&mut self) {
        end_rounds(i64::MAX);
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
        let _end = EndRounds;
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
            end_rounds(round + 1);
        }
        worker.stop().await.unwrap();
    });
}
