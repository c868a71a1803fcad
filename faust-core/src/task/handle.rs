//! The worker's handle of a running task.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use super::command::Command;
use super::partition::TaskPartition;
use crate::stage::running::RunningStage;

/// The worker's handle of a running task.
pub(crate) struct TaskHandle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) join: tokio::task::JoinHandle<()>,
    /// Outlive the task, so that another can be made of them when partitions come or go.
    pub(crate) parts: Vec<TaskPartition>,
    /// The stages of the present generation, for whoever watches over idle and stuck ones.
    pub(crate) live: Arc<Mutex<Vec<Arc<RunningStage>>>>,
}

impl TaskHandle {
    /// Ends the task; its tables and their stores are let go of when this returns, unless an agent holds its thread.
    pub(crate) async fn end(mut self) {
        self.join.abort();
        drop(tokio::time::timeout(Duration::from_millis(100), &mut self.join).await);
    }
}

impl Drop for TaskHandle {
    /// A task does not outlive its worker, whichever way that ends.
    fn drop(&mut self) {
        self.join.abort();
    }
}
