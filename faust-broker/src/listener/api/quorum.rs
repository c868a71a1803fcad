//! `DescribeQuorum`, `ElectLeaders`, `ListPartitionReassignments`, `AlterPartitionReassignments`: the answers of a cluster
//! of one node.

use kafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::describe_quorum_request::TopicData as WantedTopic;
use kafka_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, ElectLeadersRequest, ElectLeadersResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
};

use crate::core::{BrokerCore, ErrorCode, Refusal};
use crate::listener::api::{NODE, assignment, text};
use crate::listener::router::Call;
use crate::listener::wall_ms;

/// The topic of Kafka's metadata, which the quorum of controllers replicates.
const METADATA: &str = "__cluster_metadata";

pub(crate) fn describe(call: &Call, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let is_metadata = |topics: &[WantedTopic]| {
        let [topic] = topics else { return false };
        let [partition] = &*topic.partitions else { return false };
        topic.topic_name.as_str() == METADATA && partition.partition_index == 0
    };
    if !is_metadata(&request.topics) {
        let code = ErrorCode::UnknownTopicOrPartition;
        let message = (call.version >= 2).then(|| text(code.to_string()));
        return DescribeQuorumResponse::default().with_error_code(code.code()).with_error_message(message);
    }
    let topics = request.topics.into_iter().map(|topic| {
        TopicData::default().with_topic_name(topic.topic_name).with_partitions(vec![metadata_partition(call.version)])
    });
    let response = DescribeQuorumResponse::default().with_error_message(None).with_topics(topics.collect());
    if call.version < 2 {
        return response;
    }
    let (host, port) = call.advertised();
    let listener = Listener::default()
        .with_name(text("PLAINTEXT"))
        .with_host(host)
        .with_port(u16::try_from(port).unwrap_or_default());
    response.with_nodes(vec![Node::default().with_node_id(NODE).with_listeners(vec![listener])])
}

/// Describes the quorum: this node is its leader and only voter. There is no log of metadata, so its end is 0.
fn metadata_partition(version: i16) -> PartitionData {
    let voter = ReplicaState::default().with_replica_id(NODE).with_log_end_offset(0);
    let voter = if version >= 1 {
        let now_ms = wall_ms();
        voter.with_last_fetch_timestamp(now_ms).with_last_caught_up_timestamp(now_ms)
    } else {
        voter
    };
    PartitionData::default()
        .with_error_message(None)
        .with_leader_id(NODE)
        .with_leader_epoch(1)
        .with_high_watermark(0)
        .with_current_voters(vec![voter])
}

/// Elects no leader: the only replica of each partition is its leader already.
pub(crate) fn elect_leaders(call: &Call, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let state = call.shared.lock();
    // Without a list, Kafka names only the partitions that have got another leader.
    let wanted = request.topic_partitions.unwrap_or_default();
    let results = wanted.into_iter().map(|topic| {
        let partition = |index| {
            let code = outcome(&state.broker, &topic.topic, index);
            PartitionResult::default()
                .with_partition_id(index)
                .with_error_code(code.code())
                .with_error_message(Some(text(code.to_string())))
        };
        let partitions = topic.partitions.iter().copied().map(partition).collect();
        ReplicaElectionResult::default().with_topic(topic.topic).with_partition_result(partitions)
    });
    ElectLeadersResponse::default().with_replica_election_results(results.collect())
}

fn outcome(broker: &BrokerCore, topic: &str, partition: i32) -> ErrorCode {
    match broker.partition_bytes(topic, partition) {
        Ok(_) => ErrorCode::ElectionNotNeeded,
        Err(missing) => missing,
    }
}

/// Lists no reassignments: there is no other node to move a partition to.
pub(crate) fn reassignments(
    _call: &Call,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default().with_error_message(None)
}

/// Moves nothing: each partition stays on the only node, to which it may be reassigned.
pub(crate) fn reassign(
    call: &Call,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let state = call.shared.lock();
    let responses = request.topics.into_iter().map(|topic| {
        let partition = |wanted: &ReassignablePartition| {
            let (code, message) = match reassigned(&state.broker, &topic.name, wanted) {
                Ok(()) => (0, None),
                Err(refusal) => (refusal.code.code(), Some(text(refusal.message))),
            };
            ReassignablePartitionResponse::default()
                .with_partition_index(wanted.partition_index)
                .with_error_code(code)
                .with_error_message(message)
        };
        let partitions = topic.partitions.iter().map(partition).collect();
        ReassignableTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    AlterPartitionReassignmentsResponse::default()
        .with_allow_replication_factor_change(request.allow_replication_factor_change)
        .with_error_message(None)
        .with_responses(responses.collect())
}

fn reassigned(broker: &BrokerCore, topic: &str, wanted: &ReassignablePartition) -> Result<(), Refusal> {
    broker.partition_bytes(topic, wanted.partition_index)?;
    match &wanted.replicas {
        Some(replicas) => assignment::check(replicas),
        None => Err(ErrorCode::NoReassignmentInProgress.into()),
    }
}
