//! A full disk: what was acknowledged is kept, nothing else is acknowledged, and the broker goes on when there is space.
//!
//! The test needs a small file system, which only root can mount. Others test the same on a double of the storage.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use faust_broker::core::records::{self, Producer, Record};
use faust_broker::{Broker, BrokerConfig, Port, Storage};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{DeleteTopicsRequest, ProduceRequest};

use crate::wire::{Client, create, fetch, topic, values};

const STORAGE_ERROR: i16 = 56;

/// A file system of one MiB in memory, which is unmounted on drop.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// Mounts the file system, or returns `None` without the rights to.
    fn mount(path: &'a Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(path);
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0).output());
    }
}

/// Appends a record of ten kilobytes and returns the error code.
fn append(client: &mut Client, name: &'static str, number: usize) -> i16 {
    let value = Some(Bytes::from(format!("{number:010000}")));
    let batch = records::encode(&[Record { value, ..Record::default() }], Producer::NONE).unwrap();
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch));
    let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![data]);
    client.call(&request, 9).responses[0].partition_responses[0].error_code
}

/// Returns the numbers of all records of the topic.
fn read(client: &mut Client, name: &'static str) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    loop {
        let response = client.call(&fetch(name, i64::try_from(found.len()).unwrap(), 0), 12);
        let more = values(&response);
        if more.is_empty() {
            return found;
        }
        found.extend(more.iter().map(|value| value.parse::<usize>().unwrap()));
    }
}

/// Appends until the disk is full, and returns the number of the next record.
fn fill(client: &mut Client, name: &'static str, from: usize) -> usize {
    let refused = (from..from + 1000).find(|number| append(client, name, *number) == STORAGE_ERROR);
    let refused = refused.expect("the disk is full at some time");
    assert_eq!(append(client, name, refused), STORAGE_ERROR, "the next one is refused as well");
    refused
}

#[test]
fn a_full_disk_loses_nothing_and_is_no_end() {
    let place = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(place.path()) else { return };
    let config = BrokerConfig::new(Storage::Directory(place.path().join("broker")), Port::Any);
    let server = Broker::start_with(config.clone()).unwrap();
    let mut client = Client::new(&server);
    create(&mut client, "t");
    create(&mut client, "ballast");
    assert_eq!((0..20).map(|number| append(&mut client, "ballast", number)).max(), Some(0));
    let next = fill(&mut client, "t", 0);
    assert_eq!(read(&mut client, "t"), (0..next).collect::<Vec<_>>());
    // Another program fills the rest.
    let rest = vec![0; 1 << 20];
    drop(std::fs::write(place.path().join("other"), rest));
    // To delete a topic, the broker needs no space.
    let deleted = client.call(&DeleteTopicsRequest::default().with_topic_names(vec![topic("ballast")]), 5);
    assert_eq!(deleted.responses[0].error_code, 0);
    let next = fill(&mut client, "t", next);
    assert_eq!(read(&mut client, "t"), (0..next).collect::<Vec<_>>());
    std::fs::remove_file(place.path().join("other")).unwrap();
    assert_eq!(append(&mut client, "t", next), 0, "there is space again");
    server.stop().unwrap();

    let server = Broker::start_with(config).unwrap();
    let mut client = Client::new(&server);
    assert_eq!(read(&mut client, "t"), (0..=next).collect::<Vec<_>>());
}
