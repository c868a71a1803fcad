//! Produce requests with compressed batches, valid but for what is inside the compression.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use faust_broker::core::records::{self, Producer, Record};
use faust_broker::core::{Batch, Compression};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, CreateTopicsRequest, ProduceRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};

/// Size of the header of a batch.
const HEADER: usize = 61;
/// The values of `compression.type`; there is a topic of this name for each.
const TYPES: [&str; 6] = ["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"];

/// Batches of 50 records in every codec, and records that expand beyond the limit.
static BATCHES: LazyLock<Vec<Batch>> = LazyLock::new(|| {
    let record = |number: i64| Record {
        timestamp: number,
        key: Some(Bytes::from(format!("key {}", number % 7))),
        value: (number % 5 != 0).then(|| Bytes::from("value ".repeat(usize::try_from(number).unwrap()))),
        headers: vec![("name".to_owned(), None)],
        ..Record::default()
    };
    let usual: Vec<Record> = (0..50).map(record).collect();
    let zeros = Record { value: Some(vec![0; 20 << 20].into()), ..Record::default() };
    let empty = vec![Record::default(); 200_000];
    let in_every_codec = |records: &[Record]| {
        let plain = Batch::parse(records::encode(records, Producer::NONE).unwrap()).unwrap();
        Compression::ALL.map(|codec| plain.recompressed(codec).unwrap())
    };
    let mut batches = in_every_codec(&usual).to_vec();
    for records in [&[zeros][..], &empty] {
        batches.extend(in_every_codec(records).into_iter().filter(|batch| batch.bytes().len() < 200_000));
    }
    batches
});

fn frame<M: Encodable>(api: ApiKey, version: i16, request: &M) -> Bytes {
    let header = RequestHeader::default().with_request_api_key(api as i16).with_request_api_version(version);
    let mut frame = BytesMut::new();
    header.encode(&mut frame, api.request_header_version(version)).unwrap();
    request.encode(&mut frame, version).unwrap();
    frame.freeze()
}

fn name(topic: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(topic))
}

/// Returns the requests that create the topics.
pub(crate) fn topics() -> Vec<Bytes> {
    let config = |name, value| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_static_str(value)))
    };
    let topic = |compression: &'static str| {
        CreatableTopic::default()
            .with_name(name(compression))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(vec![
                config("compression.type", compression),
                config("cleanup.policy", "compact"),
                config("segment.bytes", "20000"),
                config("min.cleanable.dirty.ratio", "0"),
                config("delete.retention.ms", "0"),
            ])
    };
    let request = CreateTopicsRequest::default().with_topics(TYPES.map(topic).into());
    vec![frame(ApiKey::CreateTopics, 5, &request)]
}

/// Returns a produce request whose batch has a correct checksum, but often damaged contents. `below` draws a number
/// below its argument.
pub(crate) fn hostile(mut below: impl FnMut(usize) -> usize) -> Bytes {
    // Large ones are rare, because they take long.
    let among = if below(40) == 0 { BATCHES.len() } else { Compression::ALL.len() };
    let batch = &BATCHES[below(among)];
    let mut bytes = batch.bytes().to_vec();
    match below(4) {
        0 => {}
        1 => bytes.truncate(HEADER + below(bytes.len() - HEADER)),
        _ => {
            for _ in 0..=below(4) {
                let at = HEADER + below(bytes.len() - HEADER);
                // Often near the start, where the codecs have their lengths.
                let at = if below(2) == 0 { HEADER + (at - HEADER) % 24 } else { at };
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = [0, 0xff, *byte ^ (1 << below(8)), 0x7f][below(4)];
                }
            }
        }
    }
    if below(8) == 0 {
        // Another codec than that of the records.
        bytes[22] = u8::try_from(below(8)).unwrap();
    }
    let length = i32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let data = PartitionProduceData::default().with_records(Some(bytes.into()));
    let topic = name(TYPES[below(TYPES.len())]);
    let topic = TopicProduceData::default().with_name(topic).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic]);
    frame(ApiKey::Produce, 9, &request)
}
