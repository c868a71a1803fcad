//! Tests of the broker on disk: acknowledged writes are available after a restart or a crash.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use faust_broker::core::batch::Header;
use faust_broker::core::records::{self, Producer, Record};
use faust_broker::{Broker, BrokerConfig, Error, Port, Storage};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, GroupId, InitProducerIdRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, ProduceRequest, ProducerId,
};
use kafka_protocol::protocol::StrBytes;

use crate::wire::{Client, create, fetch, produce, topic, values};

fn start(directory: &Path) -> Broker {
    Broker::start_with(BrokerConfig::new(Storage::Directory(directory.to_owned()), Port::Any)).unwrap()
}

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("g"))
}

pub(crate) fn commit(client: &mut Client, offset: i64) {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(StrBytes::from_static_str("cut 7")));
    let committed = OffsetCommitRequestTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![committed]);
    assert_eq!(client.call(&request, 8).topics[0].partitions[0].error_code, 0);
}

pub(crate) fn committed(client: &mut Client) -> (i64, String) {
    let wanted = OffsetFetchRequestTopic::default().with_name(topic("t")).with_partition_indexes(vec![0]);
    let response =
        client.call(&OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![wanted])), 7);
    let partition = &response.topics[0].partitions[0];
    (partition.committed_offset, partition.metadata.clone().unwrap_or_default().to_string())
}

fn producer_id(client: &mut Client) -> ProducerId {
    let response = client.call(&InitProducerIdRequest::default().with_transactional_id(None), 2);
    assert_eq!(response.error_code, 0);
    response.producer_id
}

/// Returns the files of all segments, the only ones named `*.log`.
pub(crate) fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(segments(&path));
        } else if path.extension().is_some_and(|extension| extension == "log") {
            found.push(path);
        }
    }
    found
}

#[test]
fn acknowledged_writes_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let mut client = Client::new(&server);
    create(&mut client, "t");
    create(&mut client, "gone");
    client.call(&produce("t", &["a", "b"], -1), 9);
    client.call(&produce("gone", &["x"], -1), 9);
    commit(&mut client, 1);
    commit(&mut client, 2);
    let id =
        client.call(&MetadataRequest::default().with_topics(None), 12).topics.iter().map(|topic| topic.topic_id).max();
    let producer = producer_id(&mut client);
    client.call(&DeleteTopicsRequest::default().with_topic_names(vec![topic("gone")]), 5);
    drop(server);

    let server = start(directory.path());
    let mut client = Client::new(&server);
    let topics = client.call(&MetadataRequest::default().with_topics(None), 12).topics;
    assert_eq!(topics.iter().map(|topic| topic.name.clone().unwrap().to_string()).collect::<Vec<_>>(), ["t"]);
    assert!(id >= topics.iter().map(|topic| topic.topic_id).max());
    assert_eq!(values(&client.call(&fetch("t", 0, 0), 12)), ["a", "b"]);
    assert_eq!(committed(&mut client), (2, "cut 7".to_owned()));
    assert!(producer_id(&mut client) > producer);
    let appended = client.call(&produce("t", &["c"], -1), 9);
    assert_eq!(appended.responses[0].partition_responses[0].base_offset, 2);
    assert_eq!(segments(directory.path()).len(), 1, "the deleted topic has no files");
}

#[test]
fn an_incomplete_write_is_truncated() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let mut client = Client::new(&server);
    create(&mut client, "t");
    client.call(&produce("t", &["whole"], -1), 9);
    drop(server);
    let segment = segments(directory.path()).remove(0);
    let whole = fs::read(&segment).unwrap();

    // Half a header, and a header without its records.
    for torn in [&whole[..20], &whole[..65]] {
        OpenOptions::new().append(true).open(&segment).unwrap().write_all(torn).unwrap();
        OpenOptions::new()
            .append(true)
            .open(directory.path().join("journal"))
            .unwrap()
            .write_all(b"{\"topic_cre")
            .unwrap();
        let server = start(directory.path());
        let mut client = Client::new(&server);
        assert_eq!(values(&client.call(&fetch("t", 0, 0), 12)), ["whole"]);
        drop(server);
        assert_eq!(fs::read(&segment).unwrap(), whole);
        let kept = segment.with_file_name(format!("{:020}.log.at-{}.damaged", 0, whole.len()));
        assert_eq!(fs::read(&kept).unwrap(), torn);
        fs::remove_file(kept).unwrap();
    }
}

#[test]
fn the_error_for_a_locked_directory_names_its_broker() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(directory.path());
    let config = BrokerConfig::new(Storage::Directory(directory.path().to_owned()), Port::Any);
    let refused = Broker::start_with(config.clone()).unwrap_err();
    let holder = format!("process {} on {}", std::process::id(), first.bootstrap());
    assert!(refused.to_string().contains(&holder), "{refused}");
    first.stop().unwrap();
    Broker::start_with(config).unwrap().stop().unwrap();
}

#[test]
fn a_damaged_journal_keeps_what_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("journal"), "{\"cluster\":{\"id\":\"c\"}}\nnonsense\n").unwrap();
    let server = start(directory.path());
    let metadata = Client::new(&server).call(&MetadataRequest::default().with_topics(None), 12);
    assert_eq!(metadata.cluster_id.as_deref(), Some("c"));
    assert_eq!(fs::read(directory.path().join("journal.at-23.damaged")).unwrap(), b"nonsense");
}

#[test]
fn an_error_names_the_file_and_fits_its_cause() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("logs"), "a file").unwrap();
    let config = BrokerConfig::new(Storage::Directory(directory.path().to_owned()), Port::Any);
    let refused = Broker::start_with(config).unwrap_err();
    assert!(matches!(refused, Error::Directory { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("logs") && text.contains("another program") && !text.contains("permissions"), "{text}");
}

#[test]
fn only_a_stop_leaves_the_mark_of_one() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("stopped");
    let server = start(directory.path());
    create(&mut Client::new(&server), "t");
    assert!(!mark.exists());
    server.stop().unwrap();
    assert!(mark.exists());
    let _server = start(directory.path());
    assert!(!mark.exists(), "removed before anything is written");
}

/// Creates a produce request for a batch of records with keys; `None` is a tombstone.
fn keyed(records: &[(&'static str, Option<&'static str>)]) -> ProduceRequest {
    let record = |(key, value): &(&'static str, Option<&'static str>)| Record {
        key: Some(Bytes::from_static(key.as_bytes())),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
        ..Record::default()
    };
    let records: Vec<Record> = records.iter().map(record).collect();
    let batch = records::encode(&records, Producer::NONE).unwrap();
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch));
    let data = TopicProduceData::default().with_name(topic("t")).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![data])
}

#[test]
fn a_compacted_topic_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let config = BrokerConfig::new(Storage::Directory(directory.path().to_owned()), Port::Any)
        .with_compaction_interval(Duration::from_millis(5));
    let server = Broker::start_with(config.clone()).unwrap();
    let mut client = Client::new(&server);
    let settings = [("cleanup.policy", "compact"), ("segment.bytes", "100"), ("min.cleanable.dirty.ratio", "0")];
    let settings = settings.map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_static_str(value)))
    });
    let wanted = CreatableTopic::default()
        .with_name(topic("t"))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(settings.into());
    let created = client.call(&CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(1000), 5);
    assert_eq!(created.topics[0].error_code, 0);
    let refused = client.call(&produce("t", &["no key"], -1), 9);
    assert_eq!(refused.responses[0].partition_responses[0].error_code, 87);
    for number in ["1", "2", "3"] {
        client.call(&keyed(&[("a", Some(number)), ("b", Some(number))]), 9);
    }
    client.call(&keyed(&[("a", Some("4"))]), 9);
    let all = |client: &mut Client| {
        let (mut position, mut found) = (0, Vec::new());
        while position < 7 {
            let response = client.call(&fetch("t", position, 0), 12);
            found.extend(values(&response));
            let mut batches = response.responses[0].partitions[0].records.clone().unwrap();
            while let Some(header) = Header::read(&batches) {
                drop(batches.split_to(header.size));
                position = header.last_offset() + 1;
            }
        }
        found
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    // The last segment is not compacted, and the records superseded by it are kept as well.
    while all(&mut client) != ["3", "3", "4"] {
        assert!(Instant::now() < deadline, "not compacted: {:?}", all(&mut client));
    }
    drop(server);

    let server = Broker::start_with(config).unwrap();
    let mut client = Client::new(&server);
    assert_eq!(all(&mut client), ["3", "3", "4"]);
    let appended = client.call(&keyed(&[("c", Some("5"))]), 9);
    assert_eq!(appended.responses[0].partition_responses[0].base_offset, 7);
}
