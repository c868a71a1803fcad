//! Commands from the worker to its tasks, and their replies.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::cut::Cut;
use crate::error::TransportError;

/// A command to a task.
pub(crate) enum Command {
    /// Take a cut. The reply is `None` if there is no seal to commit.
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
    /// `true` if every agent returned or failed by the deadline; otherwise one was dropped inside an event.
    pub(crate) in_time: bool,
}

/// The result of a commit for one cut.
#[derive(Debug)]
pub(crate) struct Resolution {
    /// The broker has accepted the commit. Otherwise, it was unavailable or the group has rebalanced, and the next commit
    /// covers the cut.
    pub(super) is_confirmed: bool,
    /// Groups of which a message was not delivered, permanently. The commit does not contain them.
    pub(super) undelivered: BTreeMap<usize, TransportError>,
}

impl Resolution {
    /// Creates the resolution of a commit that was abandoned.
    pub(crate) fn abandoned() -> Self {
        Self { is_confirmed: false, undelivered: BTreeMap::new() }
    }
}
