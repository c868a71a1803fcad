//! The per-partition results of requests.

use std::ffi::CStr;
use std::fmt;

use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{TopicPartitionList, bindings as rd};

use super::partition::bytes_at;
use crate::message::Offset;
use crate::transport::port::Committed;

/// One row of a response about partitions.
pub(crate) struct PartitionAnswer {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The offset and metadata that were committed or looked up, if any.
    pub(crate) committed: Option<Committed>,
    pub(crate) error: RDKafkaErrorCode,
}

impl fmt::Debug for PartitionAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] {:?} {}", self.topic, self.partition, self.committed, self.error)
    }
}

/// Returns the rows of a list. Metadata that is not UTF-8 is converted lossily.
pub(crate) fn answers(list: &TopicPartitionList) -> Vec<PartitionAnswer> {
    // SAFETY: the list is valid while borrowed, its array has `cnt` elements; topics end with a NUL, metadata is null
    // or has the given length.
    unsafe {
        let list = &*list.ptr();
        let count = usize::try_from(list.cnt).unwrap_or(0);
        let rows = if count == 0 { &[] } else { std::slice::from_raw_parts(list.elems.cast_const(), count) };
        let row = |row: &rd::rd_kafka_topic_partition_t| PartitionAnswer {
            topic: CStr::from_ptr(row.topic).to_string_lossy().into_owned(),
            partition: row.partition,
            committed: (row.offset >= 0).then(|| Committed {
                offset: Offset(row.offset),
                metadata: String::from_utf8_lossy(bytes_at(row.metadata, row.metadata_size).unwrap_or_default())
                    .into_owned(),
            }),
            error: row.err.into(),
        };
        rows.iter().map(row).collect()
    }
}
