//! `Metadata`, `DescribeCluster`, `FindCoordinator`, `InitProducerId`: metadata, coordinators and producer ids.

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest,
    MetadataResponse, TopicName,
};
use uuid::Uuid;

use crate::core::{BrokerCore, ErrorCode, LEADER_EPOCH, Topic, TopicSpec, check_name};
use crate::listener::api::{NODE, Operations, text};
use crate::listener::router::Call;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(crate) fn metadata(call: &Call, request: MetadataRequest) -> MetadataResponse {
    let mut state = call.shared.lock();
    let broker = &mut state.broker;
    // Version 0 has no null: an empty list requests all topics.
    let wanted = request.topics.filter(|topics| call.version > 0 || !topics.is_empty());
    let may_create = call.shared.settings.auto_create_topics && (call.version < 4 || request.allow_auto_topic_creation);
    let topics: Vec<MetadataResponseTopic> = match wanted {
        None => broker.topics().map(|(name, topic)| describe_topic(call.version, name, topic)).collect(),
        Some(wanted) => wanted.into_iter().map(|topic| metadata_of(call, broker, topic, may_create)).collect(),
    };
    let operations = Operations::Topic.if_wanted(request.include_topic_authorized_operations);
    let permitted = |topic: MetadataResponseTopic| match topic.error_code {
        0 => topic.with_topic_authorized_operations(operations),
        _ => topic,
    };
    let topics: Vec<_> = topics.into_iter().map(permitted).collect();
    let (host, port) = call.advertised();
    let node = MetadataResponseBroker::default().with_node_id(NODE).with_host(host).with_port(port);
    let response = MetadataResponse::default();
    let response = match call.version {
        8..=10 => {
            let is_wanted = request.include_cluster_authorized_operations;
            response.with_cluster_authorized_operations(Operations::Cluster.if_wanted(is_wanted))
        }
        _ => response,
    };
    response
        .with_brokers(vec![node])
        .with_cluster_id((call.version >= 2).then(|| text(broker.cluster_id())))
        .with_controller_id(NODE)
        .with_topics(topics)
}

fn metadata_of(
    call: &Call,
    broker: &mut BrokerCore,
    wanted: MetadataRequestTopic,
    may_create: bool,
) -> MetadataResponseTopic {
    let id = wanted.topic_id.as_u128();
    let by_id = broker.topic_name(id).map(str::to_owned);
    let failed = |code: ErrorCode| {
        let topic_id = if call.version >= 10 { wanted.topic_id } else { Uuid::nil() };
        let topic = MetadataResponseTopic::default().with_error_code(code.code()).with_topic_id(topic_id);
        // Before version 12, the name cannot be null.
        let name = wanted.name.clone().or_else(|| (call.version < 12).then(TopicName::default));
        topic.with_name(name)
    };
    // Java's Admin requests a topic by its id with an empty name, so the id takes precedence.
    let by_name = if id == 0 { wanted.name.as_ref().map(|name| name.to_string()) } else { by_id };
    let Some(name) = by_name else {
        return failed(ErrorCode::UnknownTopicId);
    };
    if broker.topic(&name).is_none() && may_create {
        let spec = TopicSpec { partitions: call.shared.settings.default_partitions, ..TopicSpec::default() };
        if let Err(refusal) = broker.create_topic(&name, spec) {
            return failed(refusal.code);
        }
        tracing::info!(
            topic = name,
            partitions = call.shared.settings.default_partitions,
            "created a topic on first use"
        );
    }
    match broker.topic(&name) {
        Some(topic) => describe_topic(call.version, &name, topic),
        None => failed(check_name(&name).map_or_else(|refusal| refusal.code, |()| ErrorCode::UnknownTopicOrPartition)),
    }
}

fn describe_topic(version: i16, name: &str, topic: &Topic) -> MetadataResponseTopic {
    let partition = |index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(NODE)
            .with_leader_epoch(if version >= 7 { LEADER_EPOCH } else { -1 })
            .with_replica_nodes(vec![NODE])
            .with_isr_nodes(vec![NODE])
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(name))))
        .with_topic_id(if version >= 10 { Uuid::from_u128(topic.id()) } else { Uuid::nil() })
        .with_partitions((0..topic.partitions()).map(partition).collect())
}

pub(crate) fn describe(call: &Call, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let cluster_id = text(call.shared.lock().broker.cluster_id());
    let response = DescribeClusterResponse::default()
        .with_cluster_id(cluster_id)
        .with_controller_id(NODE)
        .with_endpoint_type(if call.version >= 1 { request.endpoint_type } else { 1 })
        .with_cluster_authorized_operations(
            Operations::Cluster.if_wanted(request.include_cluster_authorized_operations),
        );
    let (host, port) = call.advertised();
    let node = DescribeClusterBroker::default().with_broker_id(NODE).with_host(host).with_port(port);
    response.with_brokers(vec![node])
}

pub(crate) fn find_coordinator(call: &Call, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let code = if matches!(request.key_type, GROUP | TRANSACTION) { 0 } else { ErrorCode::UnsupportedVersion.code() };
    let (host, port) = call.advertised();
    if call.version < 4 {
        return FindCoordinatorResponse::default()
            .with_error_code(code)
            .with_node_id(NODE)
            .with_host(host)
            .with_port(port);
    }
    let coordinator = |key| {
        Coordinator::default()
            .with_key(key)
            .with_error_code(code)
            .with_node_id(NODE)
            .with_host(host.clone())
            .with_port(port)
    };
    let coordinators = request.coordinator_keys.into_iter().map(coordinator).collect();
    FindCoordinatorResponse::default().with_coordinators(coordinators)
}
