//! The drain of tasks: their streams end, their agents return within a time budget, and their last cuts are committed together.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::commit;
use super::shared::Key;
use crate::task::{Command, CommittedOffsets, Drained, TaskCx, TaskHandle, TaskPartition};

/// Fraction of the time for a drain that agents have to return. The rest is for the acknowledgement of their messages
/// and the commit.
const AGENTS_SHARE: f64 = 0.6;

/// Drained tasks.
pub(super) struct DrainedTasks {
    /// The tasks, each with whether it can be resumed; otherwise it has ended.
    pub(super) tasks: Vec<(Key, TaskHandle, bool)>,
    /// The partitions of tasks that were dropped before they were drained, because their partitions were lost.
    pub(super) dropped: Vec<(Key, Vec<TaskPartition>)>,
    /// Every agent returned in time.
    pub(super) in_time: bool,
}

/// Begins to drain tasks, at once. The future resolves once their last cuts are committed, or at the deadline.
pub(super) fn drain(
    tasks: Vec<(Key, TaskHandle)>,
    deadline: Instant,
    cx: Arc<TaskCx>,
) -> impl Future<Output = DrainedTasks> {
    let agents = Instant::now() + deadline.saturating_duration_since(Instant::now()).mul_f64(AGENTS_SHARE);
    // A task that does not answer has an agent that blocks its thread. The remaining time is for the commit of the other
    // tasks.
    let answers = agents + deadline.saturating_duration_since(agents).mul_f64(0.25);
    let drains: Vec<_> = tasks.iter().map(|(_, task)| begin_drain(task, agents)).collect();
    async move {
        let drained = join_all(drains.into_iter().map(|drain| drained(drain, answers))).await;
        let in_time = drained.iter().all(|drained| drained.in_time);
        let (mut cuts, mut ended) = (Vec::new(), Vec::new());
        for ((key, task), Drained { cut, can_resume, .. }) in tasks.into_iter().zip(drained) {
            cuts.extend(cut);
            ended.push((key, task, can_resume));
        }
        match timeout_at(deadline, commit::finish(cuts, &cx, None)).await {
            Ok(committed) => ended.iter().for_each(|(_, task, _)| record(&task.parts, &committed)),
            Err(_) => {
                tracing::warn!(
                    "the last commit before partitions are revoked timed out; its events will be read again"
                );
                // Its outcome is unknown.
                ended.iter_mut().for_each(|(_, _, can_resume)| *can_resume = false);
            }
        }
        DrainedTasks { tasks: ended, dropped: Vec::new(), in_time }
    }
}

/// Ends tasks, and returns their partitions. Their tables and stores are released then.
pub(super) async fn end_all(tasks: Vec<(Key, TaskHandle, bool)>) -> Vec<(Key, Vec<TaskPartition>)> {
    let end = |(key, task, _)| end(key, task);
    join_all(tasks.into_iter().map(end)).await
}

async fn end(key: Key, mut task: TaskHandle) -> (Key, Vec<TaskPartition>) {
    let parts = std::mem::take(&mut task.parts);
    task.end().await;
    (key, parts)
}

/// Records the committed offsets of a task's partitions.
pub(super) fn record(parts: &[TaskPartition], outcome: &CommittedOffsets) {
    let accepted = |part: &TaskPartition| outcome.get(part.reader.partition()).cloned();
    if parts.iter().any(|part| accepted(part).is_some()) {
        parts.iter().for_each(TaskPartition::advance);
    }
    for part in parts {
        if let Some(committed) = accepted(part) {
            part.commit(committed);
        }
    }
}

/// Requests the drain of a task. It answers once its agents have returned; a task that has ended does not answer.
fn begin_drain(task: &TaskHandle, agents: Instant) -> oneshot::Receiver<Drained> {
    let (reply, drained) = oneshot::channel();
    drop(task.commands.send(Command::Drain(agents, reply)));
    drained
}

/// Waits for the result of a drain. A task that does not answer by the deadline has an agent that blocks its thread.
async fn drained(drain: oneshot::Receiver<Drained>, deadline: Instant) -> Drained {
    match timeout_at(deadline, drain).await {
        // A task that has ended has nothing to commit.
        Ok(drained) => drained.unwrap_or(Drained { cut: None, in_time: true, can_resume: false }),
        Err(_) => Drained { cut: None, in_time: false, can_resume: false },
    }
}
