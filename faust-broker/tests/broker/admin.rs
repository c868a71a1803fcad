//! Tests of the requests of admin consoles: configs of the broker, log directories, quorum, elections and pages of topics.

use std::path::Path;
use std::time::{Duration, Instant};

use faust_broker::core::records::Record;
use faust_broker::{Broker, BrokerConfig, Port, Storage};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    CreateAclsRequest, DescribeAclsRequest, DescribeClientQuotasRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, DescribeProducersRequest, DescribeQuorumRequest, DescribeTopicPartitionsRequest,
    DescribeTransactionsRequest, DescribeUserScramCredentialsRequest, ElectLeadersRequest,
    IncrementalAlterConfigsRequest, ListConfigResourcesRequest, ListPartitionReassignmentsRequest,
    ListTransactionsRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use crate::peer::{Peer, batch, named, peers};
use crate::wire::{Client, create, produce, topic};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

/// Describes a resource; the error is the error code.
fn describe(
    client: &mut Client,
    resource_type: i8,
    name: &'static str,
) -> Result<Vec<DescribeConfigsResourceResult>, i16> {
    let resource = DescribeConfigsResource::default().with_resource_type(resource_type).with_resource_name(text(name));
    let resource = resource.with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
    let mut response = client.call(&request, 4);
    let result = response.results.remove(0);
    if result.error_code == 0 { Ok(result.configs) } else { Err(result.error_code) }
}

/// Returns the value of a config, its source, and whether it can be changed.
fn config(client: &mut Client, resource_type: i8, name: &'static str, key: &str) -> (String, i8, bool) {
    let configs = describe(client, resource_type, name).unwrap();
    let found = configs.into_iter().find(|config| config.name.as_str() == key).unwrap();
    (found.value.unwrap_or_default().to_string(), found.config_source, !found.read_only)
}

/// Sets or, with `None`, resets a config; returns the error code and the message.
fn alter(
    client: &mut Client,
    name: &'static str,
    key: &'static str,
    value: Option<&'static str>,
) -> (i16, Option<String>) {
    let edit = AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(i8::from(value.is_none()))
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text(name))
        .with_configs(vec![edit]);
    let response = client.call(&IncrementalAlterConfigsRequest::default().with_resources(vec![resource]), 1);
    let result = &response.responses[0];
    (result.error_code, result.error_message.as_ref().map(|message| message.to_string()))
}

#[test]
fn configs_of_the_broker_are_described_and_changed() {
    let broker = Broker::start_with(BrokerConfig::default().with_config("log.retention.hours", 1)).unwrap();
    let mut client = Client::new(&broker);
    create(&mut client, "t");
    assert_eq!(config(&mut client, BROKER, "1", "num.partitions"), ("8".into(), 5, false));
    assert_eq!(config(&mut client, BROKER, "1", "log.retention.hours"), ("1".into(), 4, false));
    assert_eq!(config(&mut client, BROKER, "1", "log.dirs").0, "memory");
    assert_eq!(config(&mut client, BROKER, "1", "listeners").0, format!("PLAINTEXT://{}", broker.bootstrap()));
    assert_eq!(config(&mut client, TOPIC, "t", "retention.ms"), ("3600000".into(), 4, true));
    assert_eq!(describe(&mut client, BROKER, "2"), Err(42));
    assert_eq!(describe(&mut client, BROKER, ""), Ok(Vec::new()), "nothing is set for all brokers");

    assert_eq!(alter(&mut client, "", "log.retention.ms", Some("5000")), (0, None));
    assert_eq!(config(&mut client, BROKER, "1", "log.retention.ms"), ("5000".into(), 3, true));
    assert_eq!(config(&mut client, TOPIC, "t", "retention.ms"), ("5000".into(), 3, true));
    assert_eq!(describe(&mut client, BROKER, "").unwrap().len(), 1);
    assert_eq!(alter(&mut client, "1", "log.retention.ms", Some("6000")), (0, None));
    assert_eq!(config(&mut client, TOPIC, "t", "retention.ms"), ("6000".into(), 2, true));
    assert_eq!(alter(&mut client, "1", "log.retention.ms", None), (0, None));
    assert_eq!(config(&mut client, TOPIC, "t", "retention.ms"), ("5000".into(), 3, true));

    assert_eq!(alter(&mut client, "1", "sasl.kerberos.min.time.before.relogin", Some("58000")), (0, None));
    assert_eq!(config(&mut client, BROKER, "1", "sasl.kerberos.min.time.before.relogin"), ("58000".into(), 2, true));

    let (code, message) = alter(&mut client, "", "num.partitions", Some("3"));
    assert_eq!((code, message.unwrap().contains("`num.partitions`")), (42, true));
    let (code, message) = alter(&mut client, "1", "message.max.bytes", Some("many"));
    assert_eq!((code, message.unwrap().contains("`message.max.bytes`")), (42, true));
    assert_eq!(alter(&mut client, "7", "message.max.bytes", Some("1")).0, 42);
}

#[test]
fn a_changed_limit_of_messages_is_in_force_at_once_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let start =
        |path: &Path| Broker::start_with(BrokerConfig::new(Storage::Directory(path.to_owned()), Port::Any)).unwrap();
    let sent = |client: &mut Client| {
        client.call(&produce("t", &["a value"], -1), 9).responses[0].partition_responses[0].error_code
    };
    let broker = start(directory.path());
    let mut client = Client::new(&broker);
    create(&mut client, "t");
    assert_eq!(sent(&mut client), 0);
    assert_eq!(alter(&mut client, "", "message.max.bytes", Some("20")), (0, None));
    assert_eq!(sent(&mut client), 10, "the message is too large");
    broker.stop().unwrap();
    let broker = start(directory.path());
    let mut client = Client::new(&broker);
    assert_eq!(sent(&mut client), 10);
    assert_eq!(alter(&mut client, "", "message.max.bytes", None), (0, None));
    assert_eq!(sent(&mut client), 0);
}

#[test]
fn a_new_interval_of_compaction_applies_at_once() {
    let hours = Duration::from_secs(24 * 3600);
    let mut peer = Peer::own(BrokerConfig::default().with_compaction_interval(hours));
    let topic = peer.create(&[("cleanup.policy", "compact"), ("segment.ms", "1"), ("min.cleanable.dirty.ratio", "0")]);
    let record =
        |timestamp| Record { key: Some("key".into()), value: Some("v".into()), timestamp, ..Record::default() };
    // Each record starts a new segment.
    for timestamp in 1..4 {
        peer.append(&topic, &batch(&[record(timestamp * 1000)]));
    }
    assert_eq!(alter(&mut peer.client, "1", "log.cleaner.backoff.ms", Some("1")), (0, None));
    let deadline = Instant::now() + Duration::from_secs(60);
    while peer.read(&topic, 3).len() > 2 {
        assert!(Instant::now() < deadline, "nothing is compacted");
    }
}

#[test]
fn log_directories_have_the_sizes_of_partitions() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::Directory(directory.path().to_owned());
    let broker = Broker::start_with(BrokerConfig::new(storage, Port::Any)).unwrap();
    let mut client = Client::new(&broker);
    create(&mut client, "t");
    client.call(&produce("t", &["a", "b"], -1), 9);
    let response = client.call(&DescribeLogDirsRequest::default().with_topics(None), 4);
    let dir = &response.results[0];
    assert_eq!(dir.log_dir.as_str(), directory.path().to_str().unwrap());
    assert!(dir.total_bytes >= dir.usable_bytes && dir.total_bytes > 0, "{dir:?}");
    let partitions = &dir.topics[0].partitions;
    assert_eq!((partitions.len(), dir.topics[0].name.as_str()), (8, "t"));
    assert!(partitions[0].partition_size > 60 && partitions[1].partition_size == 0, "{partitions:?}");
    let active = kafka_protocol::messages::describe_producers_request::TopicRequest::default();
    let active = active.with_name(topic("t")).with_partition_indexes(vec![0, 9]);
    let response = client.call(&DescribeProducersRequest::default().with_topics(vec![active]), 0);
    let codes: Vec<i16> = response.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [0, 3]);
}

#[test]
fn producers_are_described_for_each_entry_of_a_request() {
    for mut peer in peers() {
        let name = peer.create(&[]);
        peer.append(&name, &batch(&[Record::default()]));
        let entry = |indexes: &[i32]| {
            let entry = kafka_protocol::messages::describe_producers_request::TopicRequest::default();
            entry.with_name(named(&name)).with_partition_indexes(indexes.to_vec())
        };
        let request = DescribeProducersRequest::default().with_topics(vec![entry(&[0, 9, 0]), entry(&[0]), entry(&[])]);
        let response = peer.client.call(&request, 0);
        let answered: Vec<Vec<_>> = response
            .topics
            .iter()
            .map(|topic| topic.partitions.iter().map(|of| (of.partition_index, of.error_code)).collect())
            .collect();
        assert_eq!(answered, [vec![(0, 0), (9, 3), (0, 0)], vec![(0, 0)], vec![]], "{}", peer.name);
    }
}

#[test]
fn topics_are_described_in_pages() {
    let broker = Broker::start().unwrap();
    for name in ["a", "b", "c"] {
        broker.create_topic(name, 3).unwrap();
    }
    let mut client = Client::new(&broker);
    let mut cursor = None;
    let mut seen = Vec::new();
    loop {
        let request =
            DescribeTopicPartitionsRequest::default().with_response_partition_limit(4).with_cursor(cursor.take());
        let response = client.call(&request, 0);
        for described in &response.topics {
            let name = described.name.as_ref().unwrap().to_string();
            seen.extend(described.partitions.iter().map(|partition| (name.clone(), partition.partition_index)));
        }
        match response.next_cursor {
            Some(next) => {
                let next =
                    Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index);
                cursor = Some(next);
            }
            None => break,
        }
    }
    let expected: Vec<_> =
        ["a", "b", "c"].iter().flat_map(|name| (0..3).map(|index| ((*name).to_owned(), index))).collect();
    assert_eq!(seen, expected);
    let wanted = ["b", "missing"].map(|name| TopicRequest::default().with_name(topic(name)));
    let request = DescribeTopicPartitionsRequest::default().with_topics(wanted.to_vec());
    let codes = |client: &mut Client, request: &DescribeTopicPartitionsRequest| -> Vec<i16> {
        client.call(request, 0).topics.iter().map(|described| described.error_code).collect()
    };
    assert_eq!(codes(&mut client, &request.clone().with_response_partition_limit(10)), [0, 3]);
    let elsewhere = Cursor::default().with_topic_name(topic("a")).with_partition_index(0);
    assert_eq!(codes(&mut client, &request.with_cursor(Some(elsewhere))), [42, 42]);
}

#[test]
fn the_node_is_the_leader_of_everything() {
    let broker = Broker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    let mut client = Client::new(&broker);
    let quorum = |name: &'static str| {
        let wanted = TopicData::default().with_topic_name(topic(name)).with_partitions(vec![PartitionData::default()]);
        DescribeQuorumRequest::default().with_topics(vec![wanted])
    };
    let response = client.call(&quorum("__cluster_metadata"), 2);
    let partition = &response.topics[0].partitions[0];
    assert_eq!((partition.leader_id.0, partition.current_voters[0].replica_id.0), (1, 1));
    assert_eq!(response.nodes[0].listeners[0].port, broker.address().port());
    assert_eq!(client.call(&quorum("t"), 2).error_code, 3);

    let wanted = ["t", "u"].map(|name| TopicPartitions::default().with_topic(topic(name)).with_partitions(vec![0]));
    let request = ElectLeadersRequest::default().with_topic_partitions(Some(wanted.to_vec()));
    let response = client.call(&request, 2);
    let results: Vec<i16> =
        response.replica_election_results.iter().map(|result| result.partition_result[0].error_code).collect();
    assert_eq!(results, [84, 3]);
    let all = client.call(&ElectLeadersRequest::default().with_topic_partitions(None), 2);
    assert_eq!((all.error_code, all.replica_election_results.len()), (0, 0));
    assert_eq!(client.call(&ListPartitionReassignmentsRequest::default().with_topics(None), 0).topics.len(), 0);
    let resources = client.call(&ListConfigResourcesRequest::default(), 1).config_resources;
    let resources: Vec<_> =
        resources.iter().map(|resource| (resource.resource_type, resource.resource_name.to_string())).collect();
    assert_eq!(resources, [(TOPIC, "t".into()), (BROKER, "1".into())]);
}

#[test]
fn there_are_no_access_rights_credentials_and_quotas_and_no_transaction_at_first() {
    let broker = Broker::start().unwrap();
    let mut client = Client::new(&broker);
    let refused = client.call(&DescribeAclsRequest::default(), 3);
    assert_eq!((refused.error_code, refused.error_message.is_some()), (54, true));
    let creations = vec![kafka_protocol::messages::create_acls_request::AclCreation::default()];
    assert_eq!(client.call(&CreateAclsRequest::default().with_creations(creations), 3).results[0].error_code, 54);
    assert_eq!(client.call(&DescribeClientQuotasRequest::default(), 1).entries, Some(Vec::new()));
    let credentials = client.call(&DescribeUserScramCredentialsRequest::default().with_users(None), 0);
    assert_eq!((credentials.error_code, credentials.results.len()), (0, 0));
    let states = vec![text("Ongoing"), text("Sleeping")];
    let listed = client.call(&ListTransactionsRequest::default().with_state_filters(states), 1);
    assert_eq!((listed.unknown_state_filters, listed.transaction_states.len()), (vec![text("Sleeping")], 0));
    let ids = vec![TransactionalId(text("x"))];
    let described = client.call(&DescribeTransactionsRequest::default().with_transactional_ids(ids), 0);
    assert_eq!(described.transaction_states[0].error_code, 105);
}
