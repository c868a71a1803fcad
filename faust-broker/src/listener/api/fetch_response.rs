//! The encoding of a fetch's response without copying its records.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{ApiKey, FetchResponse};
use kafka_protocol::protocol::Encodable;

use crate::listener::answer::Answer;
use crate::listener::fault::Fault;

/// First version in which lengths are varints and each struct ends with tagged fields.
const FLEXIBLE: i16 = 12;
/// First version in which topics have ids instead of names.
const TOPIC_IDS: i16 = 13;
/// First version with an error code and a session.
const SESSIONS: i16 = 7;
/// Records of fewer bytes are copied.
const SMALL: usize = 16 * 1024;

/// Encodes length, header and body. What is encoded of a response are the fields that this broker sets.
pub(crate) fn encode(response: FetchResponse, version: i16, id: i32) -> Result<Answer, Fault> {
    let mut writer = Writer { version, answer: Answer::default(), tail: BytesMut::new(), len: 0 };
    writer.tail.put_i32(id);
    writer.end_struct();
    writer.tail.put_i32(response.throttle_time_ms);
    if version >= SESSIONS {
        writer.tail.put_i16(response.error_code);
        writer.tail.put_i32(response.session_id);
    }
    writer.count(response.responses.len());
    for topic in response.responses {
        writer.topic(topic)?;
    }
    writer.end_struct();
    writer.finish()
}

#[derive(Debug)]
struct Writer {
    version: i16,
    answer: Answer,
    /// The bytes after the parts of the answer.
    tail: BytesMut,
    /// Number of bytes in the parts.
    len: usize,
}

impl Writer {
    fn is_flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    fn topic(&mut self, topic: FetchableTopicResponse) -> Result<(), Fault> {
        if self.version >= TOPIC_IDS {
            self.tail.put_slice(topic.topic_id.as_bytes());
        } else if self.is_flexible() {
            self.count(topic.topic.len());
            self.tail.put_slice(topic.topic.as_bytes());
        } else {
            let len = i16::try_from(topic.topic.len()).map_err(|_| self.fault("the name of a topic is too long"))?;
            self.tail.put_i16(len);
            self.tail.put_slice(topic.topic.as_bytes());
        }
        self.count(topic.partitions.len());
        for partition in topic.partitions {
            self.partition(partition)?;
        }
        self.end_struct();
        Ok(())
    }

    /// The codec encodes the fields, of which the records are the last one.
    fn partition(&mut self, mut partition: PartitionData) -> Result<(), Fault> {
        let records = partition.records.replace(Bytes::new()).unwrap_or_default();
        let encoded = partition.encode(&mut self.tail, self.version);
        encoded.map_err(|error| self.fault(&error.to_string()))?;
        // Without the length of the records, and the number of tagged fields behind them.
        let without = self.tail.len() - if self.is_flexible() { 2 } else { 4 };
        self.tail.truncate(without);
        self.count(records.len());
        if records.len() < SMALL {
            self.tail.put_slice(&records);
        } else {
            self.end_part();
            self.len += records.len();
            self.answer.push(records);
        }
        self.end_struct();
        Ok(())
    }

    /// Writes the length of an array or of bytes.
    fn count(&mut self, count: usize) {
        if !self.is_flexible() {
            self.tail.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
            return;
        }
        let mut rest = count + 1;
        while rest >= 0x80 {
            self.tail.put_u8((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.tail.put_u8((rest & 0x7f) as u8);
    }

    /// Writes that there are no tagged fields.
    fn end_struct(&mut self) {
        if self.is_flexible() {
            self.tail.put_u8(0);
        }
    }

    fn end_part(&mut self) {
        self.len += self.tail.len();
        self.answer.push(self.tail.split().freeze());
    }

    fn finish(mut self) -> Result<Answer, Fault> {
        self.end_part();
        let len = i32::try_from(self.len).map_err(|_| self.fault("larger than 2 GiB"))?;
        self.answer.push_front(Bytes::copy_from_slice(&len.to_be_bytes()));
        Ok(self.answer)
    }

    fn fault(&self, reason: &str) -> Fault {
        Fault::Encode { api_key: ApiKey::Fetch as i16, version: self.version, reason: reason.to_owned() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use bytes::Buf;
    use kafka_protocol::messages::fetch_response::AbortedTransaction;
    use kafka_protocol::messages::{ProducerId, TopicName};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::listener::api::{text, versions};
    use crate::listener::router::encode_as;

    fn partition() -> impl Strategy<Value = PartitionData> {
        let aborted = proptest::option::of(proptest::collection::vec((0i64..100, 0i64..100), 0..3));
        let records = prop_oneof![Just(0usize), 1..200usize, Just(SMALL - 1), SMALL..3 * SMALL];
        (0..9i32, any::<bool>(), 0..1000i64, aborted, records).prop_map(|(index, fails, offset, aborted, records)| {
            let aborted = aborted.map(|aborted| {
                let listed = |(id, first)| {
                    AbortedTransaction::default().with_producer_id(ProducerId(id)).with_first_offset(first)
                };
                aborted.into_iter().map(listed).collect()
            });
            PartitionData::default()
                .with_partition_index(index)
                .with_error_code(if fails { 3 } else { 0 })
                .with_high_watermark(offset)
                .with_aborted_transactions(aborted)
                .with_records(Some(vec![7; records].into()))
        })
    }

    proptest! {
        /// Law: in every version, the bytes are those of the codec.
        #[test]
        fn the_bytes_are_those_of_the_codec(
            topics in proptest::collection::vec(("[a-z]{0,200}", proptest::collection::vec(partition(), 0..4)), 0..4),
            error_code in 0..9i16,
            id in any::<i32>(),
        ) {
            for version in versions::range(ApiKey::Fetch) {
                let topic = |(name, partitions): &(String, Vec<PartitionData>)| {
                    let topic = FetchableTopicResponse::default().with_partitions(partitions.clone());
                    let named = |topic: FetchableTopicResponse| topic.with_topic(TopicName(text(name.clone())));
                    if version < TOPIC_IDS { named(topic) } else { topic.with_topic_id(Uuid::from_u128(name.len() as u128)) }
                };
                let error_code = if version < SESSIONS { 0 } else { error_code };
                let response = FetchResponse::default()
                    .with_error_code(error_code)
                    .with_responses(topics.iter().map(topic).collect());
                let expected = encode_as(ApiKey::Fetch, version, id, &response).unwrap();
                let mut answer = encode(response, version, id).unwrap();
                prop_assert_eq!(answer.remaining(), expected.len());
                let mut sent = Vec::new();
                // As a connection that sends as much as it can.
                while answer.has_remaining() {
                    let count = answer.chunk().len().min(5000);
                    sent.extend_from_slice(&answer.chunk()[..count]);
                    answer.advance(count);
                }
                prop_assert_eq!(sent, expected, "version {}", version);
            }
        }
    }
}
