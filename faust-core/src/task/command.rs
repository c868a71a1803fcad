//! Commands from the worker to its tasks, and their replies.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::cut::Cut;
use crate::error::TransportError;

/// A command to a task.
pub(crate) enum Command {
    /// Take a cut. The reply is `None` if there is nothing to commit, or if the stages do not come to rest in time.
    Cut(oneshot::Sender<Option<Cut>>),
    /// The result of the commit of the last cut.
    Resolved(Resolution),
    /// End the streams, wait until the deadline for the stages to return, then take the last cut and end.
    Drain(Instant, oneshot::Sender<Drained>),
}

/// The result of a drain.
#[derive(Debug)]
pub(crate) struct Drained {
    /// The last cut; `None` if there is nothing to commit.
    pub(crate) cut: Option<Cut>,
    /// `true` if every agent returned; otherwise an agent was dropped during an event.
    pub(crate) in_order: bool,
}

/// The result of a commit for one cut.
#[derive(Debug)]
pub(crate) enum Resolution {
    /// The broker has accepted the commit.
    Committed,
    /// The broker was unavailable or the group has rebalanced: the next commit covers the cut.
    Unconfirmed,
    /// A message of the task was not delivered, permanently.
    Undelivered(TransportError),
}
