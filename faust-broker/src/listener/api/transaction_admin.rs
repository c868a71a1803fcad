//! `DescribeProducers`, `ListTransactions`, `DescribeTransactions`, `WriteTxnMarkers`: the view of an administrator.

use std::collections::HashSet;

use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::list_transactions_response::TransactionState as ListedTransaction;
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    ListTransactionsRequest, ListTransactionsResponse, ProducerId, TopicName, TransactionalId, WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
};

use crate::core::pattern::NamePattern;
use crate::core::{ActiveProducer, ErrorCode, Outcome, TransactionView};
use crate::listener::api::transactions::identity;
use crate::listener::api::{code, text};
use crate::listener::router::Call;
use crate::listener::shared::wall_ms;

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
        .with_coordinator_epoch(if producer.is_transactional { 0 } else { -1 })
        .with_current_txn_start_offset(producer.open_since.unwrap_or(-1))
}

pub(crate) fn list(call: &Call, request: ListTransactionsRequest) -> ListTransactionsResponse {
    let state = call.shared.lock();
    let unknown = request.state_filters.iter().filter(|state| !STATES.contains(&state.as_str())).cloned().collect();
    let now_ms = wall_ms();
    let pattern = request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty());
    let pattern = match pattern.map(|pattern| NamePattern::new("TransactionalIdPattern", pattern)).transpose() {
        Ok(pattern) => pattern,
        Err(refusal) => return ListTransactionsResponse::default().with_error_code(refusal.code.code()),
    };
    let states: HashSet<&str> = request.state_filters.iter().map(|state| state.as_str()).collect();
    let producers: HashSet<i64> = request.producer_id_filters.iter().map(|producer| producer.0).collect();
    let is_wanted = |view: &TransactionView<'_>| {
        (states.is_empty() || states.contains(view.phase.name()))
            && (producers.is_empty() || producers.contains(&view.producer.id))
            && (request.duration_filter < 0
                || (view.started_ms >= 0 && now_ms - view.started_ms > request.duration_filter))
            && pattern.as_ref().is_none_or(|pattern| pattern.matches(view.id))
    };
    let listed = state.broker.transactional_ids().filter(is_wanted).map(|view| {
        ListedTransaction::default()
            .with_transactional_id(TransactionalId(text(view.id)))
            .with_producer_id(ProducerId(view.producer.id))
            .with_transaction_state(text(view.phase.name()))
    });
    let listed = listed.collect();
    ListTransactionsResponse::default().with_unknown_state_filters(unknown).with_transaction_states(listed)
}

pub(crate) fn describe(call: &Call, request: DescribeTransactionsRequest) -> DescribeTransactionsResponse {
    let state = call.shared.lock();
    // Each once, however often it is asked for: the answer is in memory, and a transaction may have thousands of partitions.
    let mut seen = HashSet::new();
    let ids = request.transactional_ids.into_iter().filter(|id| seen.insert(id.clone()));
    let states = ids.map(|id| {
        let response = TransactionState::default();
        let response = match state.broker.transactional_id(&id) {
            Some(view) => response
                .with_transaction_state(text(view.phase.name()))
                .with_transaction_timeout_ms(view.timeout_ms)
                .with_transaction_start_time_ms(view.started_ms)
                .with_producer_id(ProducerId(view.producer.id))
                .with_producer_epoch(view.producer.epoch)
                .with_topics(by_topic(&view.partitions)),
            None => response.with_error_code(ErrorCode::TransactionalIdNotFound.code()),
        };
        response.with_transactional_id(id)
    });
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}

fn by_topic(partitions: &[(&str, i32)]) -> Vec<TopicData> {
    let chunks = partitions.chunk_by(|one, other| one.0 == other.0);
    let topic = |chunk: &[(&str, i32)]| {
        let partitions = chunk.iter().map(|(_, partition)| *partition).collect();
        Some(TopicData::default().with_topic(TopicName(text(chunk.first()?.0))).with_partitions(partitions))
    };
    chunks.filter_map(topic).collect()
}

pub(crate) fn write_markers(call: &Call, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let markers = request.markers.into_iter().map(|marker| {
        let producer = identity(marker.producer_id, marker.producer_epoch);
        let outcome = if marker.transaction_result { Outcome::Commit } else { Outcome::Abort };
        let topics = marker.topics.into_iter().map(|topic| {
            let partitions = topic.partition_indexes.into_iter().map(|index| {
                let written = call
                    .shared
                    .with_groups(|broker, now_ms| broker.force_marker(&topic.name, index, producer, outcome, now_ms));
                WritableTxnMarkerPartitionResult::default().with_partition_index(index).with_error_code(code(written))
            });
            let partitions = partitions.collect();
            WritableTxnMarkerTopicResult::default().with_name(topic.name).with_partitions(partitions)
        });
        WritableTxnMarkerResult::default().with_producer_id(marker.producer_id).with_topics(topics.collect())
    });
    WriteTxnMarkersResponse::default().with_markers(markers.collect())
}
