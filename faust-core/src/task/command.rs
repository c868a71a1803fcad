//! The commands of the worker to a task, and their answers.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::cut::Cut;
use crate::error::TransportError;

/// What a task is asked to do.
pub(crate) enum Command {
    /// Take a cut. The answer is `None` when there is nothing to commit or no rest in time.
    Cut(oneshot::Sender<Option<Cut>>),
    /// What became of the commit of the last cut.
    Resolved(Resolution),
    /// End the streams, let the stages return until the deadline, then take the last cut and end.
    Drain(Instant, oneshot::Sender<Drained>),
}

/// How a task has ended.
#[derive(Debug)]
pub(crate) struct Drained {
    /// What there is to commit.
    pub(crate) cut: Option<Cut>,
    /// Whether every agent returned; otherwise it was dropped in the middle of something.
    pub(crate) in_order: bool,
}

/// What became of a commit.
#[derive(Debug)]
pub(crate) enum Resolution {
    /// The broker has it.
    Committed,
    /// The broker was away or the group has moved on: the next commit covers it.
    Unconfirmed,
    /// Something this task had sent will never arrive.
    Undelivered(TransportError),
}
