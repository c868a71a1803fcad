//! The request handlers, one module per group of APIs.

pub(super) mod cluster;
pub(super) mod configs;
pub(super) mod fetch;
pub(super) mod group_admin;
pub(super) mod group_offsets;
pub(super) mod groups;
pub(super) mod log_dirs;
pub(super) mod offsets;
pub(super) mod produce;
pub(super) mod quorum;
pub(super) mod security;
pub(super) mod topic_partitions;
pub(super) mod topics;
pub(super) mod transactions;
pub(super) mod versions;

use kafka_protocol::messages::BrokerId;
use kafka_protocol::protocol::StrBytes;

use crate::core::ErrorCode;

/// Id of the only node.
pub(super) const NODE: BrokerId = BrokerId(1);
/// Value of the authorized operations fields if they are not provided.
pub(super) const NO_OPERATIONS: i32 = i32::MIN;

pub(super) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

pub(super) fn code(outcome: Result<(), ErrorCode>) -> i16 {
    outcome.err().map_or(0, ErrorCode::code)
}
