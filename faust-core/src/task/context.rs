//! The state that all tasks of a worker share.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::ownership::Ownership;
use super::recovery::Recovery;
use crate::config::Settings;
use crate::error::Error;
use crate::stage::timestamps::TimestampRules;
use crate::stats::Stats;
use crate::time::Clock;
use crate::transport::{Group, Retries, Sink, Transport};

/// State shared by all tasks of a worker.
pub(crate) struct TaskCx {
    pub(crate) settings: Settings,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) dead_letter: String,
    /// Reports permanent failures of tasks to the worker.
    pub(crate) failed: mpsc::UnboundedSender<Error>,
    pub(crate) clock: Clock,
    /// Rules for the timestamps of sent messages.
    pub(crate) timestamps: Arc<TimestampRules>,
    /// Restores the tables of tasks.
    pub(crate) recovery: Arc<Recovery>,
    pub(crate) group: Arc<dyn Group>,
    /// The partitions that may be committed.
    pub(crate) ownership: Arc<Ownership>,
    /// Fingerprint of the plan, for the metadata of commits.
    pub(crate) plan_fingerprint: u32,
    /// Reports offsets that the broker refuses, not with each commit.
    pub(crate) refusals: Mutex<Retries>,
}
