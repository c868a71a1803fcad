//! `ListOffsets`, `OffsetForLeaderEpoch`, `DeleteRecords`: offset lookups and the log start offset.

use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

use crate::core::{BrokerCore, ErrorCode, FoundOffset, LEADER_EPOCH, OffsetSpec};
use crate::listener::api::fetch::{READ_COMMITTED, check_epoch};
use crate::listener::router::Call;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// The first offset in local storage, which is the log start offset because there is no tiered storage.
const EARLIEST_LOCAL: i64 = -4;
/// The last offset in tiered storage.
const LATEST_TIERED: i64 = -5;
/// The first offset that is not in tiered storage yet.
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub(crate) fn list(call: &Call, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let is_committed = request.isolation_level == READ_COMMITTED;
    let topics = request.topics.into_iter().map(|topic| {
        let found = topic.partitions.iter().map(|partition| {
            let spec = spec(partition.timestamp, call.version);
            // Locked for each partition: a look-up by time may decompress a batch.
            let found =
                spec.and_then(|spec| find(&call.shared.lock().broker, &topic.name, partition, spec, is_committed));
            offset_response(call.version, partition.partition_index, found)
        });
        let partitions = found.collect();
        ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

/// Returns the offset that a timestamp stands for in a version of the request. `None` stands for one that only a broker
/// with tiered storage has.
fn spec(timestamp: i64, version: i16) -> Result<Option<OffsetSpec>, ErrorCode> {
    match timestamp {
        time_ms if time_ms >= 0 => Ok(Some(OffsetSpec::Since(time_ms))),
        LATEST => Ok(Some(OffsetSpec::Latest)),
        EARLIEST => Ok(Some(OffsetSpec::Earliest)),
        MAX_TIMESTAMP if version >= 7 => Ok(Some(OffsetSpec::MaxTimestamp)),
        EARLIEST_LOCAL if version >= 8 => Ok(Some(OffsetSpec::Earliest)),
        LATEST_TIERED if version >= 9 => Ok(None),
        EARLIEST_PENDING_UPLOAD if version >= 11 => Ok(None),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

fn find(
    broker: &BrokerCore,
    topic: &str,
    partition: &ListOffsetsPartition,
    spec: Option<OffsetSpec>,
    is_committed: bool,
) -> Result<FoundOffset, ErrorCode> {
    check_epoch(partition.current_leader_epoch)?;
    let Some(spec) = spec else {
        let nothing = FoundOffset { offset: -1, timestamp: -1 };
        return broker.find_offset(topic, partition.partition_index, OffsetSpec::Earliest).map(|_| nothing);
    };
    if is_committed {
        broker.find_committed_offset(topic, partition.partition_index, spec)
    } else {
        broker.find_offset(topic, partition.partition_index, spec)
    }
}

fn offset_response(version: i16, index: i32, found: Result<FoundOffset, ErrorCode>) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
    match found {
        // The encoder rejects a leader epoch in versions without that field.
        Ok(found) if version >= 4 && found.offset >= 0 => {
            response.with_offset(found.offset).with_timestamp(found.timestamp).with_leader_epoch(LEADER_EPOCH)
        }
        Ok(found) => response.with_offset(found.offset).with_timestamp(found.timestamp),
        Err(code) => response.with_error_code(code.code()),
    }
}

pub(crate) fn for_leader_epoch(call: &Call, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let state = call.shared.lock();
    let topics = request.topics.into_iter().map(|topic| {
        let ends = topic.partitions.iter().map(|partition| epoch_end(&state.broker, &topic.topic, partition)).collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(ends)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn epoch_end(broker: &BrokerCore, topic: &str, partition: &OffsetForLeaderPartition) -> EpochEndOffset {
    let end = EpochEndOffset::default().with_partition(partition.partition);
    let found = check_epoch(partition.current_leader_epoch)
        .and_then(|()| broker.find_offset(topic, partition.partition, OffsetSpec::Latest));
    match found {
        Ok(found) if partition.leader_epoch == LEADER_EPOCH => {
            end.with_leader_epoch(LEADER_EPOCH).with_end_offset(found.offset)
        }
        Ok(_) => end,
        Err(code) => end.with_error_code(code.code()),
    }
}

pub(crate) fn delete_records(call: &Call, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut state = call.shared.lock();
    let topics = request.topics.into_iter().map(|topic| {
        let deleted = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            // -1 means the end of the log.
            let offset = Some(partition.offset).filter(|offset| *offset != -1);
            let result = DeleteRecordsPartitionResult::default().with_partition_index(index);
            match state.broker.delete_records(&topic.name, index, offset) {
                Ok(start) => result.with_low_watermark(start),
                Err(code) => result.with_low_watermark(-1).with_error_code(code.code()),
            }
        });
        let partitions = deleted.collect();
        DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}
