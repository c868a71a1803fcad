//! `Produce`. Batches are verified without the lock and appended with it.

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use crate::core::{Appended, Batch, ErrorCode};
use crate::listener::api::text;
use crate::listener::router::Call;
use crate::listener::shared::wall_ms;

/// First version in which requests identify topics by id instead of name.
const TOPIC_IDS: i16 = 13;
const ERROR_MESSAGES: i16 = 8;

pub(crate) fn handle(call: &Call, request: ProduceRequest) -> ProduceResponse {
    let valid_acks = (-1..=1).contains(&request.acks);
    let responses = request.topic_data.into_iter().map(|topic| append_to_topic(call, topic, valid_acks)).collect();
    ProduceResponse::default().with_responses(responses)
}

fn append_to_topic(call: &Call, topic: TopicProduceData, valid_acks: bool) -> TopicProduceResponse {
    let name = if call.version >= TOPIC_IDS {
        let id = topic.topic_id.as_u128();
        call.shared.lock().broker.topic_name(id).map(str::to_owned).ok_or(ErrorCode::UnknownTopicId)
    } else {
        Ok(topic.name.to_string())
    };
    let partitions = topic.partition_data.into_iter().map(|data| {
        let index = data.index;
        let appended = match &name {
            Ok(_) if !valid_acks => Err(ErrorCode::InvalidRequest),
            Ok(name) => append(call, name, data),
            Err(code) => Err(*code),
        };
        partition_response(call.version, index, appended)
    });
    let partition_responses = partitions.collect();
    TopicProduceResponse::default()
        .with_name(topic.name)
        .with_topic_id(topic.topic_id)
        .with_partition_responses(partition_responses)
}

fn append(call: &Call, topic: &str, data: PartitionProduceData) -> Result<Appended, ErrorCode> {
    let batch = Batch::parse(data.records.unwrap_or_default())?;
    let mut state = call.shared.lock();
    let appended = state.broker.append(topic, data.index, &batch, wall_ms())?;
    if let Some(id) = state.broker.topic(topic).map(|topic| topic.id()) {
        state.appended(id, data.index);
    }
    Ok(appended)
}

fn partition_response(version: i16, index: i32, appended: Result<Appended, ErrorCode>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match appended {
        Ok(appended) => response
            .with_base_offset(appended.base_offset)
            .with_log_append_time_ms(appended.append_time_ms)
            .with_log_start_offset(if version >= 5 { appended.log_start } else { -1 }),
        Err(code) => {
            let message = (version >= ERROR_MESSAGES).then(|| text(code.to_string()));
            response
                .with_error_code(code.code())
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_error_message(message)
        }
    }
}
