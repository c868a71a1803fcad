//! The state that a worker's handle and its control loop share.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch as channel;
use tokio::time::Instant;

use crate::error::Error;
use crate::stats::Stats;
use crate::task::{FailingAgent, StandbyProgress};
use crate::transport::port::TopicPartition;

/// State shared by a worker's handle and its control loop.
pub(crate) struct WorkerState {
    pub(crate) stats: Arc<Stats>,
    pub(crate) phase: channel::Sender<Phase>,
    /// The error that ended the worker, until it is taken by `wait`.
    pub(super) outcome: Mutex<Option<Error>>,
    /// Time at which shutdown was requested.
    pub(super) stopping: OnceLock<Instant>,
    pub(crate) assignment: Mutex<Vec<TopicPartition>>,
    /// Agents that have exceeded the processing timeout in one event.
    pub(crate) stuck: Mutex<Vec<String>>,
    /// Partitions that wait for the rest of their sets.
    pub(crate) waiting: Mutex<Vec<String>>,
    /// The standbys that the worker keeps.
    pub(super) standbys: Mutex<Vec<Arc<StandbyProgress>>>,
    /// Agents that fail again and again.
    pub(crate) failing: Mutex<Vec<FailingAgent>>,
}

/// Phase of a worker. It only increases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The worker has joined the group and waits for partitions.
    Starting,
    /// The worker has its first assignment.
    Ready,
    /// Shutdown was requested, or an error ends the worker.
    Stopping,
    /// The worker has ended.
    Done,
}

impl WorkerState {
    /// Creates the state of a worker that starts.
    pub(super) fn starting() -> Self {
        Self {
            stats: Arc::default(),
            phase: channel::Sender::new(Phase::Starting),
            outcome: Mutex::default(),
            stopping: OnceLock::new(),
            assignment: Mutex::default(),
            stuck: Mutex::default(),
            failing: Mutex::default(),
            waiting: Mutex::default(),
            standbys: Mutex::default(),
        }
    }

    pub(crate) fn advance(&self, phase: Phase) {
        if phase >= Phase::Stopping {
            self.stopping_since();
        }
        self.phase.send_if_modified(|now| {
            let grows = phase > *now;
            *now = phase.max(*now);
            grows
        });
    }

    /// Returns the time at which shutdown was first requested, and sets it to now if it was not.
    pub(crate) fn stopping_since(&self) -> Instant {
        *self.stopping.get_or_init(Instant::now)
    }

    /// Records the error that ended the worker. The first one is kept: later ones are its consequences.
    pub(crate) fn fail(&self, error: Error) {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Key of a task: the index of its set of topics, and the partition number.
pub(super) type Key = (usize, i32);
