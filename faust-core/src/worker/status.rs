//! The status of a worker, and its description at start.

use crate::stats::Counts;
use crate::transport::port::TopicPartition;

/// What a person is told when a worker starts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Description {
    /// The consumer group.
    pub group: String,
    /// The broker's address, and whose it is.
    pub broker: String,
    /// This worker's own directory.
    pub directory: Option<std::path::PathBuf>,
    /// Where tables are kept; nothing for an app without tables.
    pub store: Option<String>,
    /// What people should be told, one line each.
    pub notices: Vec<String>,
}

/// What a worker is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Whether it has its partitions with their tables, is not stopping, and no agent is stuck.
    pub ready: bool,
    /// Partitions whose tables are being restored.
    pub restoring: usize,
    /// Bytes of changed entries that wait to be written to the stores of tables.
    pub state_backlog: u64,
    /// Bytes that tables hold in memory.
    pub state_memory: u64,
    /// The partitions it has.
    pub assignment: Vec<TopicPartition>,
    /// Agents that have stayed in one event longer than `stream_processing_timeout`, with the event's place.
    pub stuck: Vec<String>,
    /// What it has done so far.
    pub counts: Counts,
}
