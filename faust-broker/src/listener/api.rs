//! The request handlers, one module per group of APIs.

mod assignment;
mod repeated;
pub(super) mod cluster;
pub(super) mod configs;
pub(super) mod fetch;
pub(super) mod fetch_response;
pub(super) mod group_admin;
pub(super) mod group_offsets;
pub(super) mod groups;
pub(super) mod consumer_groups;
pub(super) mod log_dirs;
pub(super) mod offsets;
pub(super) mod produce;
pub(super) mod quorum;
pub(super) mod security;
pub(super) mod topic_partitions;
pub(super) mod topics;
pub(super) mod transaction_admin;
pub(super) mod transactions;
pub(super) mod versions;

use kafka_protocol::messages::BrokerId;
use kafka_protocol::protocol::StrBytes;

use crate::core::ErrorCode;

/// Id of the only node.
pub(super) const NODE: BrokerId = BrokerId(1);
/// The operations that a client may be allowed to do, one bit each. As in Kafka without an authorizer, it may do all.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operations {
    /// Read, write, create, delete, alter, describe, describe configs, alter configs.
    Topic = 0b0000_1101_1111_1000,
    /// Read, delete, describe, describe configs, alter configs.
    Group = 0b0000_1101_0100_1000,
    /// Create, alter, describe, cluster action, describe configs, alter configs, idempotent write.
    Cluster = 0b0001_1111_1010_0000,
}

impl Operations {
    /// Returns the value of the field for authorized operations, or the value for "not requested".
    pub(super) fn if_wanted(self, is_wanted: bool) -> i32 {
        if is_wanted { self as i32 } else { i32::MIN }
    }
}

pub(super) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

pub(super) fn code(outcome: Result<(), ErrorCode>) -> i16 {
    outcome.err().map_or(0, ErrorCode::code)
}
