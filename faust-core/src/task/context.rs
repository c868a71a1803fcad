//! The state that all tasks of a worker share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::input_log::BegunLogs;
use super::ownership::Ownership;
use super::recovery::Recovery;
use super::transaction::Transactor;
use crate::config::Settings;
use crate::directory::Directory;
use crate::error::Error;
use crate::offsets::CommitMetadata;
use crate::stage::observer::StageObserver;
use crate::stage::staging::OutputBudget;
use crate::stage::timestamps::TimestampRules;
use crate::stats::Stats;
use crate::time::Clock;
use crate::transport::{Group, Retries, Sink, Transport};

/// State shared by all tasks of a worker.
pub(crate) struct TaskCx {
    pub(crate) settings: Settings,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) sink: Arc<dyn Sink>,
    /// Memory for messages that wait for a commit, under exactly-once.
    pub(crate) outputs: Option<Arc<OutputBudget>>,
    /// The maker of transactions, under exactly-once.
    pub(crate) transactor: Option<Arc<Transactor>>,
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
    /// The directory of the app's workers.
    pub(crate) directory: Arc<Directory>,
    /// Logs whose first message was read.
    pub(crate) begun_logs: Arc<BegunLogs>,
    /// Fingerprint of the plan, for the metadata of commits.
    pub(crate) plan_fingerprint: u32,
    /// Set once a commit of another plan has been reported.
    pub(crate) has_reported_plan: AtomicBool,
    /// Reports offsets that the broker refuses, not with each commit.
    pub(crate) refusals: Mutex<Retries>,
    /// The test driver's observer.
    pub(crate) observer: Option<Arc<dyn StageObserver>>,
}

impl TaskCx {
    /// Reports a failure of an agent to the observer.
    pub(super) fn observe_failure(&self, agent: &str, place: &str, what: &str) {
        if let Some(observer) = &self.observer {
            observer.failed(agent, place, what, self.clock.now());
        }
    }

    /// Reports once that commits were made by another version of the app.
    pub(super) fn compare_plans<'a>(&self, commits: impl IntoIterator<Item = &'a CommitMetadata>) {
        let is_other = |commit: &&CommitMetadata| commit.plan != 0 && commit.plan != self.plan_fingerprint;
        let Some(other) = commits.into_iter().find(is_other) else { return };
        if self.has_reported_plan.swap(true, Ordering::Relaxed) {
            return;
        }
        let what = match self.directory.differences(other.plan).filter(|differences| !differences.is_empty()) {
            Some(differences) => differences.join("; "),
            None => "its agents, topics or tables differ from this one's".to_owned(),
        };
        tracing::info!("the last commits were made by another version of the app: {what}");
    }
}
