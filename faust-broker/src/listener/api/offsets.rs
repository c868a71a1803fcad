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

pub(crate) fn list(call: &Call, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let is_committed = request.isolation_level == READ_COMMITTED;
    let topics = request.topics.into_iter().map(|topic| {
        let found = topic.partitions.iter().map(|partition| {
            // Locked for each partition: a look-up by time may decompress a batch.
            let found = find(&call.shared.lock().broker, &topic.name, partition, is_committed);
            offset_response(call.version, partition.partition_index, found)
        });
        let partitions = found.collect();
        ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn find(
    broker: &BrokerCore,
    topic: &str,
    partition: &ListOffsetsPartition,
    is_committed: bool,
) -> Result<FoundOffset, ErrorCode> {
    check_epoch(partition.current_leader_epoch)?;
    let spec = match partition.timestamp {
        LATEST => OffsetSpec::Latest,
        EARLIEST | EARLIEST_LOCAL => OffsetSpec::Earliest,
        MAX_TIMESTAMP => OffsetSpec::MaxTimestamp,
        time_ms if time_ms >= 0 => OffsetSpec::Since(time_ms),
        // The remaining values refer to tiered storage, which is not supported.
        _ => {
            return Ok(FoundOffset { offset: -1, timestamp: -1 });
        }
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
