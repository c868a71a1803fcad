//! `Produce`. Batches are checked, decompressed and compressed without the lock, and appended with it. The check is repeated
//! with the lock only if the topic's configuration has changed in between.

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use crate::core::{Appended, Batch, Compression, ErrorCode, Rejection};
use crate::listener::api::text;
use crate::listener::router::Call;
use crate::listener::shared::wall_ms;

/// First version in which requests identify topics by id instead of name.
const TOPIC_IDS: i16 = 13;
/// First version whose clients add a partition to a transaction by producing to it (KIP-890).
const IMPLICIT_PARTITIONS: i16 = 12;
/// First version whose clients know `TransactionAbortable`.
const ABORTABLE: i16 = 11;
/// First version with an error message, and with the records because of which a batch is rejected.
const ERROR_MESSAGES: i16 = 8;
/// First version whose clients can send zstd.
const ZSTD: i16 = 7;
/// Maximum number of records that a response names: a small compressed request can contain millions of invalid ones.
const MAX_NAMED: usize = 10_000;

pub(crate) fn handle(call: &Call, request: ProduceRequest) -> ProduceResponse {
    let valid_acks = (-1..=1).contains(&request.acks);
    let mut room = MAX_NAMED;
    let topics = request.topic_data.into_iter();
    let responses = topics.map(|topic| append_to_topic(call, topic, valid_acks, &mut room));
    ProduceResponse::default().with_responses(responses.collect())
}

/// Appends the batches for a topic. `room` is the number of records that the response may still name.
fn append_to_topic(call: &Call, topic: TopicProduceData, valid_acks: bool, room: &mut usize) -> TopicProduceResponse {
    let id = (call.version >= TOPIC_IDS).then(|| topic.topic_id.as_u128());
    let name = match id {
        Some(id) => call.shared.lock().broker.topic_name(id).map(str::to_owned).ok_or(ErrorCode::UnknownTopicId),
        None => Ok(topic.name.to_string()),
    };
    let partitions = topic.partition_data.into_iter().map(|data| {
        let index = data.index;
        let appended = match &name {
            Ok(_) if !valid_acks => Err(ErrorCode::InvalidRequest.into()),
            Ok(name) => append(call, name, id, data),
            Err(code) => Err(Rejection::from(*code)),
        };
        let appended = appended.map_err(|rejection| within(rejection, room));
        partition_response(call.version, index, appended)
    });
    let partition_responses = partitions.collect();
    TopicProduceResponse::default()
        .with_name(topic.name)
        .with_topic_id(topic.topic_id)
        .with_partition_responses(partition_responses)
}

fn append(call: &Call, topic: &str, id: Option<u128>, data: PartitionProduceData) -> Result<Appended, Rejection> {
    let batch = Batch::parse(data.records.unwrap_or_default())?;
    if call.version < ZSTD && batch.header().compression() == Some(Compression::Zstd) {
        return Err(ErrorCode::UnsupportedCompressionType.into());
    }
    let rules = call.shared.lock().broker.append_rules(topic)?;
    let checked = batch.check(&rules, wall_ms())?;
    let mut state = call.shared.lock();
    // The topic may have been created again during the check.
    if id.is_some_and(|id| state.broker.topic_name(id) != Some(topic)) {
        return Err(ErrorCode::UnknownTopicId.into());
    }
    if call.version >= IMPLICIT_PARTITIONS {
        state.broker.enlist(checked.batch().header(), topic, data.index, call.shared.steady_ms())?;
    }
    let appended = state.broker.append_checked(topic, data.index, checked, wall_ms()).map_err(|mut rejection| {
        if rejection.code == ErrorCode::TransactionAbortable && call.version < ABORTABLE {
            rejection.code = ErrorCode::InvalidTxnState;
        }
        rejection
    })?;
    if let Some(id) = state.broker.topic(topic).map(|topic| topic.id()) {
        state.appended(id, data.index);
    }
    Ok(appended)
}

/// Leaves at most `room` records in a rejection, and takes them from the room.
fn within(mut rejection: Rejection, room: &mut usize) -> Rejection {
    rejection.records.truncate(*room);
    *room -= rejection.records.len();
    rejection
}

fn partition_response(version: i16, index: i32, appended: Result<Appended, Rejection>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match appended {
        Ok(appended) => response
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(appended.append_time_ms)
            .with_log_start_offset(if version >= 5 { appended.log_start } else { -1 }),
        Err(rejection) => {
            let response =
                response.with_error_code(rejection.code.code()).with_base_offset(-1).with_log_append_time_ms(-1);
            if version < ERROR_MESSAGES {
                return response;
            }
            let records = rejection.records.into_iter().map(|record| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(record.index)
                    .with_batch_index_error_message(Some(text(record.message)))
            });
            response.with_error_message(Some(text(rejection.message))).with_record_errors(records.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::RejectedRecord;

    #[test]
    fn a_response_names_a_limited_number_of_records() {
        let rejection = || {
            let records = (0..3).map(|index| RejectedRecord { index, message: String::new() }).collect();
            Rejection { records, ..Rejection::from(ErrorCode::InvalidRecord) }
        };
        let mut room = 5;
        let named = [0; 4].map(|_| within(rejection(), &mut room).records.len());
        assert_eq!((named, room), ([3, 2, 0, 0], 0));
    }
}
