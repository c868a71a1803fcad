//! Commands from the worker to its tasks, and their replies.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::cut::Cut;

/// A command to a task.
pub(crate) enum Command {
    /// Take a cut. The reply is `None` if there is no seal to commit.
    Cut(oneshot::Sender<Option<Cut>>),
    /// End the streams, wait until the deadline for the stages to return, then take the last cut. The task then waits to be
    /// resumed, or to end.
    Drain(Instant, oneshot::Sender<Drained>),
    /// Run again after a drain: the partitions have been assigned again, and their readers continue.
    Resume,
}

/// The result of a drain.
#[derive(Debug)]
pub(crate) struct Drained {
    /// The last cut; `None` if there is nothing to commit.
    pub(crate) cut: Option<Cut>,
    /// `true` if every agent returned or failed by the deadline; otherwise one was dropped inside an event.
    pub(crate) in_time: bool,
    /// The task can be resumed. Otherwise it has ended.
    pub(crate) can_resume: bool,
}
