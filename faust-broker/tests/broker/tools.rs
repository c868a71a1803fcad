//! Tests of requests as the clients of admin tools send them: assignments of replicas, created topics, deleted offsets.

use faust_broker::Broker;
use kafka_protocol::messages::alter_configs_request;
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, ApiVersionsRequest, BrokerId, CreatePartitionsRequest,
    CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest, GroupId, IncrementalAlterConfigsRequest,
    MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::wire::{Client, topic};

const UNKNOWN_PARTITION: i16 = 3;
const INVALID_REPLICATION: i16 = 38;
const INVALID_ASSIGNMENT: i16 = 39;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const NOT_REASSIGNING: i16 = 85;

fn brokers(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().map(|id| BrokerId(*id)).collect()
}

/// Requests a topic with these partitions, each with the nodes of its replicas.
fn assigned(name: &'static str, partitions: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(index, replicas): &(i32, &[i32])| {
        CreatableReplicaAssignment::default().with_partition_index(*index).with_broker_ids(brokers(replicas))
    };
    CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(partitions.iter().map(assignment).collect())
}

/// Returns the error code, and whether the error has a message.
fn created(client: &mut Client, wanted: CreatableTopic) -> (i16, bool) {
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(1000);
    let response = client.call(&request, 7);
    (response.topics[0].error_code, response.topics[0].error_message.is_some())
}

#[test]
fn assignments_to_other_nodes_are_refused() {
    let broker = Broker::start().unwrap();
    let mut client = Client::new(&broker);
    let refused: [&[(i32, &[i32])]; 6] =
        [&[(0, &[2])], &[(0, &[1]), (1, &[1, 2])], &[(0, &[])], &[(0, &[1, 1])], &[(0, &[1]), (0, &[1])], &[(1, &[1])]];
    for partitions in refused {
        assert_eq!(created(&mut client, assigned("t", partitions)), (INVALID_ASSIGNMENT, true), "{partitions:?}");
    }
    let both = assigned("t", &[(0, &[1])]);
    assert_eq!(created(&mut client, both.clone().with_num_partitions(1)), (INVALID_REQUEST, true));
    assert_eq!(created(&mut client, both.with_replication_factor(1)), (INVALID_REQUEST, true));
    assert_eq!(created(&mut client, assigned("t", &[(1, &[1]), (0, &[1])])), (0, false));

    let mut grow = |assignments: Option<&[&[i32]]>| {
        let assignment = |ids: &&[i32]| CreatePartitionsAssignment::default().with_broker_ids(brokers(ids));
        let assignments = assignments.map(|all| all.iter().map(assignment).collect());
        let wanted = CreatePartitionsTopic::default().with_name(topic("t")).with_count(4).with_assignments(assignments);
        let response = client.call(&CreatePartitionsRequest::default().with_topics(vec![wanted]), 3);
        response.results[0].error_code
    };
    let refused: [&[&[i32]]; 4] = [&[&[1], &[9]], &[&[1]], &[&[1], &[1], &[1]], &[&[1], &[]]];
    for assignments in refused {
        assert_eq!(grow(Some(assignments)), INVALID_ASSIGNMENT, "{assignments:?}");
    }
    assert_eq!(grow(Some(&[&[1], &[1]])), 0);
}

#[test]
fn a_created_topic_is_described_with_its_configs() {
    let broker = Broker::start().unwrap();
    let mut client = Client::new(&broker);
    let config = CreatableTopicConfig::default()
        .with_name(StrBytes::from_static_str("retention.ms"))
        .with_value(Some(StrBytes::from_static_str("5000")));
    let wanted = assigned("t", &[(0, &[1])]).with_configs(vec![config]);
    for validate_only in [true, false] {
        let request =
            CreateTopicsRequest::default().with_topics(vec![wanted.clone()]).with_validate_only(validate_only);
        let response = client.call(&request, 7);
        let configs = response.topics[0].configs.clone().unwrap();
        let found = |name: &str| {
            let config = configs.iter().find(|config| config.name.as_str() == name).unwrap();
            (config.value.clone().unwrap_or_default().to_string(), config.config_source)
        };
        assert_eq!(found("retention.ms"), ("5000".into(), 1));
        assert_eq!(found("cleanup.policy"), ("delete".into(), 5));
    }
    assert!(client.call(&CreateTopicsRequest::default().with_topics(vec![wanted]), 4).topics[0].error_code != 0);
}

#[test]
fn offsets_of_missing_partitions_are_not_deleted() {
    let broker = Broker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let mut client = Client::new(&broker);
    let group = GroupId(StrBytes::from_static_str("g"));
    let offset = OffsetCommitRequestPartition::default().with_committed_offset(0);
    let offsets = OffsetCommitRequestTopic::default().with_name(topic("t")).with_partitions(vec![offset]);
    let commit = OffsetCommitRequest::default().with_group_id(group.clone()).with_topics(vec![offsets]);
    client.call(&commit.with_generation_id_or_member_epoch(-1), 8);
    let partition = |index| OffsetDeleteRequestPartition::default().with_partition_index(index);
    let wanted = OffsetDeleteRequestTopic::default().with_name(topic("t")).with_partitions(vec![
        partition(0),
        partition(1),
        partition(-1),
    ]);
    let response = client.call(&OffsetDeleteRequest::default().with_group_id(group).with_topics(vec![wanted]), 0);
    let codes: Vec<i16> = response.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [0, UNKNOWN_PARTITION, UNKNOWN_PARTITION]);
}

#[test]
fn replicas_are_reassigned_to_their_node_only() {
    let broker = Broker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let mut client = Client::new(&broker);
    let mut reassign = |name: &'static str, partition: i32, replicas: Option<&[i32]>| {
        let wanted =
            ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas.map(brokers));
        let wanted = ReassignableTopic::default().with_name(topic(name)).with_partitions(vec![wanted]);
        let response = client.call(&AlterPartitionReassignmentsRequest::default().with_topics(vec![wanted]), 1);
        assert_eq!(response.error_code, 0);
        response.responses[0].partitions[0].error_code
    };
    assert_eq!(reassign("t", 0, Some(&[1])), 0);
    assert_eq!(reassign("t", 0, Some(&[2])), INVALID_ASSIGNMENT);
    assert_eq!(reassign("t", 0, Some(&[])), INVALID_ASSIGNMENT);
    assert_eq!(reassign("t", 0, None), NOT_REASSIGNING);
    assert_eq!(reassign("t", 1, Some(&[1])), UNKNOWN_PARTITION);
    assert_eq!(reassign("u", 0, None), UNKNOWN_PARTITION);
}

#[test]
fn a_replication_factor_other_than_one_is_refused() {
    let broker = Broker::start().unwrap();
    let mut client = Client::new(&broker);
    for factor in [0, 2, -2] {
        let wanted =
            CreatableTopic::default().with_name(topic("t")).with_num_partitions(1).with_replication_factor(factor);
        assert_eq!(created(&mut client, wanted), (INVALID_REPLICATION, true), "{factor}");
    }
}

/// Describes the configs of a resource.
fn configs_of(client: &mut Client, resource_type: i8, name: &'static str) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(StrBytes::from_static_str(name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
    client.call(&request, 4).results.remove(0)
}

#[test]
fn configs_have_the_types_of_kafka() {
    let broker = Broker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let mut client = Client::new(&broker);
    let mut has_type = |resource_type: i8, name: &'static str, key: &str| {
        let described = configs_of(&mut client, resource_type, name);
        let config = described.configs.into_iter().find(|config| config.name.as_str() == key);
        config.unwrap_or_else(|| panic!("no config {key}")).config_type
    };
    let (boolean, text, int, long, double, list) = (1, 2, 3, 5, 6, 7);
    let expected = [
        ("preallocate", boolean),
        ("compression.type", text),
        ("max.message.bytes", int),
        ("compression.zstd.level", int),
        ("retention.ms", long),
        ("min.cleanable.dirty.ratio", double),
        ("cleanup.policy", list),
        ("leader.replication.throttled.replicas", list),
    ];
    for (key, wanted) in expected {
        assert_eq!(has_type(2, "t", key), wanted, "{key}");
    }
    for (key, wanted) in [("num.partitions", int), ("log.retention.ms", long), ("listeners", list), ("node.id", int)] {
        assert_eq!(has_type(4, "1", key), wanted, "{key}");
    }
}

#[test]
fn defaults_in_another_unit_are_no_synonyms() {
    let broker = Broker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let mut client = Client::new(&broker);
    let described = configs_of(&mut client, 2, "t");
    let synonyms = |key: &str| {
        let config = described.configs.iter().find(|config| config.name.as_str() == key).unwrap();
        config.synonyms.iter().map(|synonym| synonym.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(synonyms("segment.ms"), Vec::<String>::new());
    assert_eq!(synonyms("retention.bytes"), ["log.retention.bytes"]);
    assert_eq!(synonyms("local.retention.ms"), ["log.local.retention.ms"]);
    assert_eq!(synonyms("compression.gzip.level"), ["compression.gzip.level"]);
}

#[test]
fn the_rate_of_replication_is_described_only_if_it_is_set() {
    let broker = Broker::start().unwrap();
    let mut client = Client::new(&broker);
    let name = "leader.replication.throttled.rate";
    let is_listed =
        |client: &mut Client| configs_of(client, 4, "1").configs.iter().any(|config| config.name.as_str() == name);
    assert!(!is_listed(&mut client));
    let set = AlterableConfig::default()
        .with_name(StrBytes::from_static_str(name))
        .with_value(Some(StrBytes::from_static_str("1000")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(StrBytes::from_static_str("1"))
        .with_configs(vec![set]);
    let response = client.call(&IncrementalAlterConfigsRequest::default().with_resources(vec![resource]), 1);
    assert_eq!(response.responses[0].error_code, 0);
    assert!(is_listed(&mut client));
}

#[test]
fn loggers_and_client_metrics_are_described() {
    let broker = Broker::start().unwrap();
    let mut client = Client::new(&broker);
    let loggers = configs_of(&mut client, 8, "1");
    let names: Vec<_> = loggers.configs.iter().map(|logger| (logger.name.as_str(), logger.config_source)).collect();
    assert_eq!((loggers.error_code, names), (0, vec![("root", 6)]));
    assert_eq!(configs_of(&mut client, 8, "2").error_code, INVALID_REQUEST);
    let metrics = configs_of(&mut client, 16, "m");
    assert_eq!((metrics.error_code, metrics.configs.len()), (0, 0));
}

#[test]
fn the_cluster_has_the_metadata_version_of_kafka() {
    let broker = Broker::start().unwrap();
    let mut client = Client::new(&broker);
    let response = client.call(&ApiVersionsRequest::default(), 4);
    let names: Vec<_> = response.finalized_features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(names, ["metadata.version", "group.version", "transaction.version"]);
    assert_eq!(response.supported_features[0].max_version, response.finalized_features[0].max_version_level);
    assert_eq!(client.call(&ApiVersionsRequest::default(), 2).finalized_features.len(), 0);
}

#[test]
fn a_topic_is_found_by_its_id_whatever_its_name() {
    let broker = Broker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let mut client = Client::new(&broker);
    let all = client.call(&MetadataRequest::default().with_topics(None), 12);
    let id = all.topics[0].topic_id;
    let mut found = |name: Option<&'static str>, id| {
        let wanted = MetadataRequestTopic::default().with_name(name.map(topic)).with_topic_id(id);
        let mut response = client.call(&MetadataRequest::default().with_topics(Some(vec![wanted])), 12);
        let described = response.topics.remove(0);
        (described.error_code, described.name.map(|name| name.to_string()))
    };
    for name in [None, Some(""), Some("other")] {
        assert_eq!(found(name, id), (0, Some("t".to_owned())), "{name:?}");
    }
    assert_eq!(found(Some("t"), Uuid::nil()), (0, Some("t".to_owned())));
    assert_eq!(found(None, Uuid::from_u128(5)).0, 100);
}

#[test]
fn ambiguous_changes_of_configs_are_refused() {
    let broker = Broker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let mut client = Client::new(&broker);
    let mut alter = |edits: &[(&'static str, i8, Option<&'static str>)]| {
        let edit = |(name, operation, value): &(&'static str, i8, Option<&'static str>)| {
            AlterableConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_config_operation(*operation)
                .with_value(value.map(StrBytes::from_static_str))
        };
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(StrBytes::from_static_str("t"))
            .with_configs(edits.iter().map(edit).collect());
        let response = client.call(&IncrementalAlterConfigsRequest::default().with_resources(vec![resource]), 1);
        let altered = &response.responses[0];
        (altered.error_code, altered.error_message.is_some())
    };
    let (set, reset, append) = (0, 1, 2);
    assert_eq!(alter(&[("retention.ms", set, Some("1")), ("retention.ms", set, Some("2"))]), (INVALID_REQUEST, true));
    assert_eq!(alter(&[("retention.ms", set, None)]), (INVALID_REQUEST, true));
    assert_eq!(alter(&[("cleanup.policy", append, None)]), (INVALID_REQUEST, true));
    assert_eq!(alter(&[("retention.ms", 9, Some("1"))]), (INVALID_REQUEST, true));
    assert_eq!(alter(&[("retention.ms", reset, None), ("cleanup.policy", set, Some(""))]), (0, false));
    assert_eq!(configs_of(&mut client, 2, "no topic").error_code, 17);
    assert_eq!(configs_of(&mut client, 2, "missing").error_code, UNKNOWN_PARTITION);
}

#[test]
fn a_config_needs_a_value() {
    let broker = Broker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let mut client = Client::new(&broker);
    let retention = StrBytes::from_static_str("retention.ms");
    let config = CreatableTopicConfig::default().with_name(retention.clone()).with_value(None);
    assert_eq!(created(&mut client, assigned("u", &[(0, &[1])]).with_configs(vec![config])), (INVALID_CONFIG, true));

    let mut replace = |values: &[Option<&'static str>]| {
        let config = |value: &Option<&'static str>| {
            alter_configs_request::AlterableConfig::default()
                .with_name(retention.clone())
                .with_value(value.map(StrBytes::from_static_str))
        };
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(StrBytes::from_static_str("t"))
            .with_configs(values.iter().map(config).collect());
        let response = client.call(&AlterConfigsRequest::default().with_resources(vec![resource]), 2);
        response.responses[0].error_code
    };
    assert_eq!(replace(&[None]), INVALID_REQUEST);
    assert_eq!(replace(&[Some("5"), Some("6")]), INVALID_REQUEST);
    assert_eq!(replace(&[Some("5")]), 0);
    assert_eq!(replace(&[]), 0);
}

#[test]
fn repeated_topics_are_refused() {
    let broker = Broker::start().unwrap();
    let mut client = Client::new(&broker);
    let wanted =
        |name| CreatableTopic::default().with_name(topic(name)).with_num_partitions(1).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![wanted("twice"), wanted("twice"), wanted("once")]);
    let codes: Vec<_> = client.call(&request, 7).topics.iter().map(|created| created.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST, 0]);

    let more = CreatePartitionsTopic::default().with_name(topic("once")).with_count(2).with_assignments(None);
    let response = client.call(&CreatePartitionsRequest::default().with_topics(vec![more.clone(), more]), 3);
    let codes: Vec<_> = response.results.iter().map(|grown| grown.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST]);

    let mut delete = |times: usize| {
        let topics = vec![DeleteTopicState::default().with_name(Some(topic("once"))); times];
        let response = client.call(&DeleteTopicsRequest::default().with_topics(topics), 6);
        response.responses.iter().map(|deleted| deleted.error_code).collect::<Vec<_>>()
    };
    assert_eq!(delete(2), [INVALID_REQUEST]);
    assert_eq!(delete(1), [0]);
}

#[test]
fn impossible_names_and_empty_lists_of_configs() {
    let broker = Broker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let mut client = Client::new(&broker);
    let names = ["no topic", "missing"].map(|name| MetadataRequestTopic::default().with_name(Some(topic(name))));
    let described = client.call(&MetadataRequest::default().with_topics(Some(names.to_vec())), 9);
    let codes: Vec<_> = described.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [17, 0], "the second topic is created on first use");

    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("t"))
        .with_configuration_keys(Some(Vec::new()));
    let response = client.call(&DescribeConfigsRequest::default().with_resources(vec![resource]), 4);
    assert_eq!(response.results[0].configs.len(), configs_of(&mut client, 2, "t").configs.len());
}
