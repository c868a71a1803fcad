//! Tests of a broker whose process may have few open files.
#![cfg(unix)]

use std::net::TcpStream;

use bytes::Bytes;
use faust_broker::core::records::{self, Producer, Record};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{CreateTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest};

use crate::process::Process;
use crate::wire::{Client, topic, values};

/// The default limit of macOS.
const LIMIT: usize = 256;
const PARTITIONS: i32 = 1000;

fn create_topic(client: &mut Client, partitions: i32) {
    let wanted = CreatableTopic::default().with_name(topic("t")).with_num_partitions(partitions);
    let wanted = wanted.with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(1000);
    assert_eq!(client.call(&request, 5).topics[0].error_code, 0);
}

fn append(client: &mut Client, partition: i32, value: &str) {
    let record = Record { value: Some(Bytes::from(value.to_owned())), ..Record::default() };
    let batch = records::encode(&[record], Producer::NONE).unwrap();
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let data = TopicProduceData::default().with_name(topic("t")).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![data]);
    assert_eq!(client.call(&request, 9).responses[0].partition_responses[0].error_code, 0, "partition {partition}");
}

fn read(client: &mut Client, partition: i32) -> Vec<String> {
    let wanted = FetchPartition::default().with_partition(partition).with_partition_max_bytes(1 << 20);
    let wanted = FetchTopic::default().with_topic(topic("t")).with_partitions(vec![wanted]);
    values(&client.call(&FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![wanted]), 12))
}

fn is_served(client: &mut Client) {
    assert_eq!(client.call(&MetadataRequest::default().with_topics(None), 9).topics.len(), 1);
}

#[test]
fn a_thousand_partitions_need_few_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    let mut broker = Process::start_with_files(directory.path(), LIMIT, LIMIT);
    let mut client = Client::connect(broker.address);
    create_topic(&mut client, PARTITIONS);
    for round in ["first", "second"] {
        (0..PARTITIONS).for_each(|partition| append(&mut client, partition, &format!("{round} {partition}")));
    }
    // Other clients are accepted meanwhile.
    let mut others: Vec<_> = (0..100).map(|_| Client::connect(broker.address)).collect();
    others.iter_mut().for_each(is_served);
    let expected = |partition| vec![format!("first {partition}"), format!("second {partition}")];
    let all_are_there = |client: &mut Client| {
        (0..PARTITIONS).for_each(|partition| assert_eq!(read(client, partition), expected(partition)));
    };
    all_are_there(&mut client);
    broker.kill();
    let broker = Process::start_with_files(directory.path(), LIMIT, LIMIT);
    all_are_there(&mut Client::connect(broker.address));
}

#[test]
fn a_broker_without_descriptors_serves_its_clients_and_accepts_others_later() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Process::start_with_files(directory.path(), LIMIT, LIMIT);
    let mut first = Client::connect(broker.address);
    create_topic(&mut first, 100);
    // More connections than the broker accepts; the system holds the others.
    let held: Vec<_> = (0..LIMIT * 3 / 4).map(|_| TcpStream::connect(broker.address).unwrap()).collect();
    let mut waiting = Client::connect(broker.address);
    let sent = waiting.send(&MetadataRequest::default().with_topics(None), 9);
    // Each of these needs a descriptor for its segment.
    (0..100).for_each(|partition| append(&mut first, partition, "value"));
    (0..100).for_each(|partition| assert_eq!(read(&mut first, partition), ["value"]));
    drop(held);
    assert_eq!(waiting.receive::<MetadataRequest>(sent, 9).topics.len(), 1);
    is_served(&mut first);
}

#[test]
fn segments_are_closed_for_connections_if_the_program_has_many_files() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Process::start_with_files(directory.path(), LIMIT, 8);
    let mut clients = vec![Client::connect(broker.address)];
    create_topic(&mut clients[0], 100);
    for count in 1..5 {
        // The open segments take all descriptors that are left, so that the next client cannot be accepted at first.
        (0..100).for_each(|partition| append(&mut clients[0], partition, "value"));
        clients.push(Client::connect(broker.address));
        is_served(&mut clients[count]);
    }
    (0..100).for_each(|partition| assert_eq!(read(&mut clients[0], partition), ["value"; 4]));
}
