//! Changes of the broker's persistent state other than records: topics, configs, committed offsets and producer ids.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::broker_values::ConfigScope;
use crate::core::group::{ConsumerGroupNote, ConsumerMemberNote};
use crate::core::records::marker::Outcome;
use crate::core::transactions::Transaction;

/// One entry of the journal. Applying all entries in order restores the state. `LogEnd` is not in the journal, but in the
/// checkpoint of what is synced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    Cluster { id: String },
    TopicCreated { name: String, id: Id, partitions: i32, configs: BTreeMap<String, String> },
    TopicDeleted { name: String },
    PartitionsAdded { name: String, partitions: i32 },
    ConfigsSet { name: String, configs: BTreeMap<String, String> },
    LogStart { topic: String, partition: i32, offset: i64 },
    LogCleaned { topic: String, partition: i32, offset: i64 },
    LogEnd { id: Id, partition: i32, offset: i64 },
    OffsetCommitted { group: String, topic: String, partition: i32, committed: Committed },
    OffsetDeleted { group: String, topic: String, partition: i32 },
    GroupDeleted { group: String },
    GroupNoted { group: String, protocol_type: String, emptied_ms: Option<i64> },
    ConsumerGroupNoted { group: String, note: ConsumerGroupNote },
    ConsumerGroupEnded { group: String },
    ConsumerMemberNoted { group: String, note: Box<ConsumerMemberNote> },
    ConsumerMemberRemoved { group: String, id: String },
    GroupConfigsSet { group: String, configs: BTreeMap<String, String> },
    BrokerConfigsSet { scope: ConfigScope, configs: BTreeMap<String, String> },
    ProducerIds { next: i64 },
    TransactionNoted { id: String, transaction: Transaction },
    PartitionsEnlisted { id: String, partitions: Vec<(String, i32)> },
    GroupEnlisted { id: String, group: String },
    TransactionForgotten { id: String },
    OffsetPending { group: String, producer_id: i64, topic: String, partition: i32, committed: Committed },
    OffsetsDecided { group: String, producer_id: i64, outcome: Outcome },
}

impl Change {
    /// Returns true if the change must be synced before it is acknowledged, as it is rare and the loss of it could lose
    /// records. Offsets that are committed again and again are not synced, nor are transactions, nor what segments show as
    /// well. A power failure may take the outcome of a transaction and leave some of its markers, or the other way round.
    pub(crate) fn is_vital(&self) -> bool {
        !matches!(
            self,
            Self::OffsetCommitted { .. }
                | Self::OffsetDeleted { .. }
                | Self::GroupDeleted { .. }
                | Self::GroupNoted { .. }
                | Self::ConsumerGroupNoted { .. }
                | Self::ConsumerGroupEnded { .. }
                | Self::ConsumerMemberNoted { .. }
                | Self::ConsumerMemberRemoved { .. }
                | Self::TransactionNoted { .. }
                | Self::PartitionsEnlisted { .. }
                | Self::GroupEnlisted { .. }
                | Self::TransactionForgotten { .. }
                | Self::OffsetPending { .. }
                | Self::OffsetsDecided { .. }
                | Self::LogStart { .. }
                | Self::LogCleaned { .. }
                | Self::LogEnd { .. }
        )
    }
}

/// A topic id, serialized as a hexadecimal string because JSON has no 128-bit numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Id(pub(crate) u128);

impl TryFrom<String> for Id {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        format!("{:032x}", id.0)
    }
}

/// A group's committed offset for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch reported by the client, or -1.
    pub leader_epoch: i32,
    /// Metadata set by the client, at most `offset.metadata.max.bytes` of the broker.
    pub metadata: String,
    /// Time of the commit, in milliseconds since the Unix epoch.
    pub committed_ms: i64,
    /// Time at which the offset expires if the client has set a retention time of its own, in milliseconds since the
    /// Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
}
