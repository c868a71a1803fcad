//! The state that a worker's handle and its control loop share.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch as channel;
use tokio::time::Instant;

use crate::error::Error;
use crate::stats::Stats;
use crate::transport::port::TopicPartition;

/// What the handle and the control loop share.
pub(crate) struct WorkerState {
    pub(crate) stats: Arc<Stats>,
    pub(crate) phase: channel::Sender<Phase>,
    /// Why it ended, until somebody has asked.
    pub(super) outcome: Mutex<Option<Error>>,
    /// When its end was asked for.
    pub(super) stopping: OnceLock<Instant>,
    pub(crate) assignment: Mutex<Vec<TopicPartition>>,
    /// Agents that stay in one event for too long.
    pub(crate) stuck: Mutex<Vec<String>>,
}

/// How far a worker is; only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Has joined the group and waits for partitions.
    Starting,
    /// Has its first assignment.
    Ready,
    /// Was asked to stop, or has to.
    Stopping,
    /// Is over.
    Done,
}

impl WorkerState {
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

    /// When its end was first asked for: now, if it was not.
    pub(crate) fn stopping_since(&self) -> Instant {
        *self.stopping.get_or_init(Instant::now)
    }

    /// Keeps the first error: what follows is its consequence.
    pub(crate) fn fail(&self, error: Error) {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// A task: its set of topics, and the partition.
pub(super) type Key = (usize, i32);
