//! The special timestamps of `ListOffsets`, on our broker and on Apache Kafka: both must answer alike.

use bytes::BytesMut;
use faust_broker::core::records::Record;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};
use kafka_protocol::protocol::Encodable;

use crate::peer::{Peer, batch, named, peers};

/// The last version of the codec. Version 11 has its format.
const CODEC: i16 = 10;
const LIST_OFFSETS: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;

/// The error code, offset, timestamp and leader epoch of a response.
type Found = (i16, i64, i64, i32);

fn look_up(peer: &mut Peer, topic: &str, partition: i32, timestamp: i64, version: i16) -> Found {
    let partition = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
    let wanted = ListOffsetsTopic::default().with_name(named(topic)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted]);
    let codec = version.min(CODEC);
    let mut body = BytesMut::new();
    request.encode(&mut body, codec).unwrap();
    let response = peer.client.call_encoded::<ListOffsetsRequest>(&body, version, codec);
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.offset, found.timestamp, found.leader_epoch)
}

#[test]
fn each_special_timestamp_has_a_first_version() {
    let records = [10, 30, 20].map(|timestamp| Record { timestamp, ..Record::default() });
    let unsupported = (UNSUPPORTED_VERSION, -1, -1, -1);
    // The last two are offsets in tiered storage, of which there is none.
    let cases: [(i64, i16, Found); 6] = [
        (-1, 1, (0, 3, -1, 0)),
        (-2, 1, (0, 0, -1, 0)),
        (-3, 7, (0, 1, 30, 0)),
        (-4, 8, (0, 0, -1, 0)),
        (-5, 9, (0, -1, -1, -1)),
        (-6, 11, (0, -1, -1, -1)),
    ];
    for mut peer in peers() {
        let name = peer.name;
        assert_eq!(peer.versions(LIST_OFFSETS), (1, 11), "{name}");
        let topic = peer.create(&[]);
        peer.append(&topic, &batch(&records));
        for version in 6..=11 {
            for (timestamp, first, found) in cases {
                let expected = if version < first { unsupported } else { found };
                let found = look_up(&mut peer, &topic, 0, timestamp, version);
                assert_eq!(found, expected, "{name}: {timestamp} in version {version}");
            }
            assert_eq!(look_up(&mut peer, &topic, 0, -7, version), unsupported, "{name}: version {version}");
        }
    }
}

#[test]
fn a_partition_that_does_not_exist_is_unknown_whatever_is_looked_up() {
    for mut peer in peers() {
        let topic = peer.create(&[]);
        peer.append(&topic, &batch(&[Record::default()]));
        for timestamp in [0, -1, -2, -3, -4, -5, -6] {
            let found = look_up(&mut peer, &topic, 7, timestamp, 11);
            assert_eq!(found, (UNKNOWN_TOPIC_OR_PARTITION, -1, -1, -1), "{}: {timestamp}", peer.name);
        }
        assert_eq!(look_up(&mut peer, &topic, 7, -7, 11).0, UNSUPPORTED_VERSION, "{}", peer.name);
    }
}
