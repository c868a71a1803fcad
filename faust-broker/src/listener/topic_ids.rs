//! Decoding of `OffsetCommit` and `OffsetFetch` in version 10: the codec has its responses, but not its requests.
//!
//! The requests are those of version 9, except that a topic has its id in place of its name.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::{Decodable, StrBytes};
use uuid::Uuid;

use crate::listener::fault::Fault;

/// First version of both requests in which topics have ids.
pub(crate) const TOPIC_IDS: i16 = 10;
/// Version in which the codec decodes the parts that have not changed.
const CODEC: i16 = 9;

/// Decodes the body of an `OffsetCommit` request in version 10.
pub(crate) fn offset_commit(body: Bytes) -> Result<OffsetCommitRequest, Fault> {
    let mut reader = Reader { rest: body };
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(reader.text()?))
        .with_generation_id_or_member_epoch(reader.int32()?)
        .with_member_id(reader.text()?)
        .with_group_instance_id(reader.nullable_text()?);
    let topics = reader.array(|reader| {
        let topic = OffsetCommitRequestTopic::default()
            .with_topic_id(reader.uuid()?)
            .with_partitions(reader.array(Reader::partition)?);
        reader.end_struct()?;
        Ok(topic)
    })?;
    reader.end_struct()?;
    Ok(request.with_topics(topics))
}

/// Decodes the body of an `OffsetFetch` request in version 10.
pub(crate) fn offset_fetch(body: Bytes) -> Result<OffsetFetchRequest, Fault> {
    let mut reader = Reader { rest: body };
    let groups = reader.array(|reader| {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(reader.text()?))
            .with_member_id(reader.nullable_text()?)
            .with_member_epoch(reader.int32()?);
        let topics = reader.nullable_array(|reader| {
            let topic = OffsetFetchRequestTopics::default()
                .with_topic_id(reader.uuid()?)
                .with_partition_indexes(reader.array(Reader::int32)?);
            reader.end_struct()?;
            Ok(topic)
        })?;
        reader.end_struct()?;
        Ok(group.with_topics(topics))
    })?;
    let require_stable = reader.byte()? != 0;
    reader.end_struct()?;
    Ok(OffsetFetchRequest::default().with_groups(groups).with_require_stable(require_stable))
}

/// Reads the primitives of flexible versions, and trusts no length.
struct Reader {
    rest: Bytes,
}

impl Reader {
    fn partition(&mut self) -> Result<OffsetCommitRequestPartition, Fault> {
        OffsetCommitRequestPartition::decode(&mut self.rest, CODEC).map_err(malformed)
    }

    fn array<T>(&mut self, element: impl FnMut(&mut Self) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        self.nullable_array(element)?.ok_or_else(|| malformed("an array is null"))
    }

    fn nullable_array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, Fault>,
    ) -> Result<Option<Vec<T>>, Fault> {
        // Collecting into a result allocates nothing ahead.
        self.len()?.map(|len| (0..len).map(|_| element(self)).collect()).transpose()
    }

    fn text(&mut self) -> Result<StrBytes, Fault> {
        self.nullable_text()?.ok_or_else(|| malformed("a string is null"))
    }

    fn nullable_text(&mut self) -> Result<Option<StrBytes>, Fault> {
        let Some(len) = self.len()? else {
            return Ok(None);
        };
        StrBytes::from_utf8(self.bytes(len)?).map(Some).map_err(malformed)
    }

    /// Reads the length of an array or a string: a varint that is 0 for null, and otherwise one more than the length.
    fn len(&mut self) -> Result<Option<usize>, Fault> {
        Ok(self.varint()?.checked_sub(1))
    }

    /// Skips the tagged fields, of which neither request has any.
    fn end_struct(&mut self) -> Result<(), Fault> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let size = self.varint()?;
            self.bytes(size)?;
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<usize, Fault> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(value).map_err(malformed);
            }
        }
        Err(malformed("a varint exceeds five bytes"))
    }

    fn uuid(&mut self) -> Result<Uuid, Fault> {
        self.rest.try_get_u128().map(Uuid::from_u128).map_err(malformed)
    }

    fn int32(&mut self) -> Result<i32, Fault> {
        self.rest.try_get_i32().map_err(malformed)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        self.rest.try_get_u8().map_err(malformed)
    }

    fn bytes(&mut self, len: usize) -> Result<Bytes, Fault> {
        if len > self.rest.len() {
            return Err(malformed("a length exceeds the request"));
        }
        Ok(self.rest.split_to(len))
    }
}

fn malformed(error: impl std::fmt::Display) -> Fault {
    Fault::Malformed(error.to_string())
}

#[cfg(test)]
mod tests;
