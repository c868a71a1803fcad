//! `DescribeProducers`, `ListTransactions`, `DescribeTransactions`: there are idempotent producers, but no transactions.

use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    ListTransactionsRequest, ListTransactionsResponse, ProducerId,
};

use crate::core::{ActiveProducer, ErrorCode};
use crate::listener::api::text;
use crate::listener::router::Call;

/// The states that a transaction of Kafka may have, as clients name them in a filter.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

pub(crate) fn describe_producers(call: &Call, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let state = call.shared.lock();
    let topics = request.topics.into_iter().map(|topic| {
        let partition = |index| {
            let response = PartitionResponse::default().with_partition_index(index);
            match state.broker.active_producers(&topic.name, index) {
                Ok(active) => {
                    response.with_error_message(None).with_active_producers(active.into_iter().map(described).collect())
                }
                Err(code) => response.with_error_code(code.code()).with_error_message(Some(text(code.to_string()))),
            }
        };
        // As often as it is asked for, as in Kafka.
        let partitions = topic.partition_indexes.into_iter().map(partition).collect();
        TopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn described(producer: ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(i32::from(producer.epoch))
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_timestamp)
        .with_coordinator_epoch(-1)
        .with_current_txn_start_offset(-1)
}

pub(crate) fn list(_call: &Call, request: ListTransactionsRequest) -> ListTransactionsResponse {
    let unknown = request.state_filters.into_iter().filter(|state| !STATES.contains(&state.as_str()));
    ListTransactionsResponse::default().with_unknown_state_filters(unknown.collect())
}

pub(crate) fn describe(_call: &Call, request: DescribeTransactionsRequest) -> DescribeTransactionsResponse {
    let unknown = request.transactional_ids.into_iter().map(|id| {
        TransactionState::default().with_transactional_id(id).with_error_code(ErrorCode::TransactionalIdNotFound.code())
    });
    DescribeTransactionsResponse::default().with_transaction_states(unknown.collect())
}
