//! The worker's handle of a running task.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use super::command::Command;
use super::failure_history::FailingAgent;
use super::partition::TaskPartition;
use crate::stage::running::RunningStage;
use crate::transport::Assigned;

/// The worker's handle of a running task.
pub(crate) struct TaskHandle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) join: tokio::task::JoinHandle<()>,
    /// Partitions of the task. They outlive it, so that a new task can be started with them after a rebalance.
    pub(crate) parts: Vec<TaskPartition>,
    /// The running stages, for the detection of idle and stuck stages.
    pub(crate) live: Arc<Mutex<LiveStages>>,
}

/// The running stages of a task.
#[derive(Debug, Default)]
pub(crate) struct LiveStages {
    pub(crate) stages: Vec<Arc<RunningStage>>,
    /// Agents that fail again and again.
    pub(crate) failing: Vec<FailingAgent>,
    /// Every stage of the task is running: it does not restore its tables, and no group waits to retry.
    pub(crate) is_complete: bool,
}

impl TaskHandle {
    /// Returns whether the task can continue in this assignment, of all of its partitions.
    pub(crate) fn can_continue(&self, assigned: &[Assigned]) -> bool {
        let find = |part: &TaskPartition| assigned.iter().find(|new| new.partition == *part.reader.partition());
        self.parts.len() == assigned.len()
            && self.parts.iter().all(|part| find(part).is_some_and(|assigned| part.can_continue(assigned)))
    }

    /// Continues in this assignment.
    pub(crate) fn continue_in(&self, assigned: Vec<Assigned>) {
        for assigned in assigned {
            if let Some(part) = self.parts.iter().find(|part| *part.reader.partition() == assigned.partition) {
                part.continue_in(assigned);
            }
        }
    }

    /// Aborts the task. Its tables and stores are released when this returns, unless an agent blocks its thread.
    pub(crate) async fn end(mut self) {
        self.join.abort();
        // The task has been aborted, or its agent blocks the thread.
        drop(tokio::time::timeout(Duration::from_millis(100), &mut self.join).await);
    }
}

impl Drop for TaskHandle {
    /// Aborts the task: it must not outlive its worker, however the worker ends.
    fn drop(&mut self) {
        self.join.abort();
    }
}
