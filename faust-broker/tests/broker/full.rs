//! A full disk: what was acknowledged is kept, nothing else is acknowledged, and the broker goes on when there is space.
//!
//! The tests need a small file system. Without the rights to mount one, they run again in a user namespace, which has them.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "a test that cannot run says so")]

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use faust_broker::core::records::{self, Producer, Record};
use faust_broker::{Broker, BrokerConfig, Port, Storage};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{DeleteTopicsRequest, ProduceRequest};

use crate::process::Process;
use crate::wire::{Client, create, fetch, topic, values};

const STORAGE_ERROR: i16 = 56;
/// Set in a process that can mount file systems, because it runs in a user namespace.
const IN_NAMESPACE: &str = "FAUST_BROKER_TEST_IN_NAMESPACE";

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

/// Runs a test on a small disk. `name` is that of the test.
fn on_small_disk(name: &str, test: impl FnOnce(&Path)) {
    let place = tempfile::tempdir().unwrap();
    if let Some(_disk) = SmallDisk::mount(place.path()) {
        return test(place.path());
    }
    assert!(std::env::var_os(IN_NAMESPACE).is_none(), "a user namespace cannot mount a file system");
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--mount"]).arg(std::env::current_exe().unwrap());
    again.args([name, "--exact", "--nocapture"]).env(IN_NAMESPACE, "yes");
    if Command::new("unshare").args(["--user", "--mount", "true"]).status().is_ok_and(|status| status.success()) {
        assert!(again.status().unwrap().success(), "the test in a user namespace has failed");
    } else {
        println!("{name} has not run: it needs root or user namespaces, to mount a small file system");
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

/// Takes all space that is left, as another program may.
fn take_the_rest(place: &Path) {
    // Fails in part.
    drop(std::fs::write(place.join("other"), vec![0; 1 << 20]));
}

fn delete_topic(client: &mut Client, name: &'static str) {
    let deleted = client.call(&DeleteTopicsRequest::default().with_topic_names(vec![topic(name)]), 5);
    assert_eq!(deleted.responses[0].error_code, 0);
}

#[test]
fn a_full_disk_loses_nothing_and_is_no_end() {
    on_small_disk("full::a_full_disk_loses_nothing_and_is_no_end", |place| {
        let config = BrokerConfig::new(Storage::Directory(place.join("broker")), Port::Any);
        std::fs::write(place.join("removable"), vec![0; 64 << 10]).unwrap();
        let server = Broker::start_with(config.clone()).unwrap();
        let mut client = Client::new(&server);
        create(&mut client, "t");
        create(&mut client, "ballast");
        assert_eq!((0..20).map(|number| append(&mut client, "ballast", number)).max(), Some(0));
        let next = fill(&mut client, "t", 0);
        assert_eq!(read(&mut client, "t"), (0..next).collect::<Vec<_>>());
        take_the_rest(place);
        // To delete a topic, the broker needs no space.
        delete_topic(&mut client, "ballast");
        let next = fill(&mut client, "t", next);
        assert_eq!(read(&mut client, "t"), (0..next).collect::<Vec<_>>());
        std::fs::remove_file(place.join("removable")).unwrap();
        assert_eq!(append(&mut client, "t", next), 0, "there is space again");
        server.stop().unwrap();

        let server = Broker::start_with(config).unwrap();
        let mut client = Client::new(&server);
        assert_eq!(read(&mut client, "t"), (0..=next).collect::<Vec<_>>());
    });
}

#[test]
fn a_broker_that_is_killed_on_a_full_disk_starts_on_it() {
    on_small_disk("full::a_broker_that_is_killed_on_a_full_disk_starts_on_it", |place| {
        let directory = place.join("broker");
        let mut broker = Process::start(&directory, 0);
        let mut client = Client::connect(broker.address);
        create(&mut client, "t");
        create(&mut client, "ballast");
        assert_eq!((0..20).map(|number| append(&mut client, "ballast", number)).max(), Some(0));
        let mut next = fill(&mut client, "t", 0);
        take_the_rest(place);
        for _ in 0..3 {
            broker.kill();
            broker = Process::start(&directory, 0);
            client = Client::connect(broker.address);
            assert_eq!(read(&mut client, "t"), (0..next).collect::<Vec<_>>());
            assert_eq!(append(&mut client, "t", next), STORAGE_ERROR);
        }
        delete_topic(&mut client, "ballast");
        next = fill(&mut client, "t", next);
        broker.kill();
        broker = Process::start(&directory, 0);
        assert_eq!(read(&mut Client::connect(broker.address), "t"), (0..next).collect::<Vec<_>>());
    });
}
