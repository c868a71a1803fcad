//! The status of a worker, and its description at start.

use crate::stats::Counts;
use crate::task::FailingAgent;
use crate::transport::port::TopicPartition;

/// Description of a worker, for display at start-up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Description {
    /// The consumer group.
    pub group: String,
    /// The broker's address and its origin.
    pub broker: String,
    /// This worker's directory; `None` with the test driver.
    pub directory: Option<std::path::PathBuf>,
    /// Location of the tables' stores; `None` for an app without tables.
    pub store: Option<String>,
    /// Notices for the user, one line each.
    pub notices: Vec<String>,
}

/// Current state of a worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// `true` if the worker has its partitions, their tables are restored, no partition waits for others, no agent is stuck or
    /// fails again and again, and it is not shutting down.
    pub ready: bool,
    /// Number of partitions whose tables are being restored.
    pub restoring: usize,
    /// Bytes of changed entries that are pending to be written to the stores.
    pub state_backlog: u64,
    /// Bytes that tables hold in memory.
    pub state_memory: u64,
    /// The assigned partitions.
    pub assignment: Vec<TopicPartition>,
    /// Agents that have not finished their event within `stream_processing_timeout`, each with the position of the
    /// event.
    pub stuck: Vec<String>,
    /// Partitions that wait because others of their tables are assigned to a worker of another version of the app.
    pub waiting: Vec<String>,
    /// Agents that have failed `agent_max_attempts` times or more at one event, and are tried again.
    pub failing: Vec<FailingAgent>,
    /// Copies of tables' partitions that other workers own, which this worker keeps to take them over sooner.
    pub standbys: Vec<StandbyStatus>,
    /// Counters since the worker was started.
    pub counts: Counts,
}

/// A standby that a worker keeps: a copy of a table's partition that another worker owns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StandbyStatus {
    /// Name of the table.
    pub table: String,
    /// Partition of the table.
    pub partition: i32,
    /// Number of offsets in the changelog between the copy and the last commit, 0 if the copy is complete; `None` until it is
    /// known.
    pub lag: Option<u64>,
    /// Number of records that were applied to the copy since the worker has been keeping it.
    pub records: u64,
}
