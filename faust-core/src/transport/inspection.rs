//! The state of a cluster and the rights of this client, as the command `doctor` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// A cluster as an app's client sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterState {
    /// Addresses of the brokers: `host:port`.
    pub brokers: Vec<String>,
    /// Versions of the requests that the brokers to which the client has connected answer, by Kafka's number of the request; empty if they are unknown.
    pub apis: BTreeMap<i16, RangeInclusive<i16>>,
    /// The topics that were asked for. Those that do not exist are omitted; a topic that cannot be described has the reason.
    pub topics: BTreeMap<String, Result<TopicState, String>>,
    /// Rights of this client for the consumer group, or the reason why they are unknown; `None` if the broker does not tell.
    pub group_rights: Option<Result<BTreeSet<Operation>, String>>,
}

/// The partitions of a topic, and the rights of this client for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicState {
    /// The partitions, by number.
    pub partitions: Vec<PartitionReplicas>,
    /// Rights of this client; `None` if the broker does not tell.
    pub rights: Option<BTreeSet<Operation>>,
}

/// The replicas of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionReplicas {
    /// `true` if a broker leads the partition, so that it can be read and written.
    pub has_leader: bool,
    /// Number of replicas.
    pub replicas: usize,
    /// Number of replicas that are in sync with the leader.
    pub in_sync: usize,
}

impl PartitionReplicas {
    /// Creates the description of a partition with this number of replicas, and of those in sync.
    pub fn new(has_leader: bool, replicas: usize, in_sync: usize) -> Self {
        Self { has_leader, replicas, in_sync }
    }
}

/// An operation that an access control list allows or denies, under Kafka's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// Read from a topic, or join a group.
    Read,
    /// Write to a topic.
    Write,
    /// Delete topics and records.
    Delete,
    /// Describe the partitions of a topic, or a group.
    Describe,
    /// Read the configuration of a topic.
    DescribeConfigs,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Delete => "Delete",
            Self::Describe => "Describe",
            Self::DescribeConfigs => "DescribeConfigs",
        })
    }
}
