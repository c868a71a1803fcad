//! Encoding and decoding of the records in a batch, for tests and the memory transport.

pub(crate) mod marker;
pub(crate) mod raw;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::core::ErrorCode;
use crate::core::batch::{HEADER_LEN, Header};

/// One record of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Offset in the partition; ignored by [`encode`].
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The key, if any.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Header names and values, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// The idempotent producer of a batch, or [`Producer::NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Producer id allocated by `InitProducerId`.
    pub id: i64,
    /// The producer's epoch.
    pub epoch: i16,
    /// Sequence number of the batch's first record in its partition.
    pub sequence: i32,
}

impl Producer {
    /// A producer without idempotence.
    pub const NONE: Self = Self { id: -1, epoch: -1, sequence: -1 };
}

/// Encodes records into one uncompressed batch, with offsets starting at 0.
///
/// # Errors
/// `InvalidRecord` if there are no records, `MessageTooLarge` if the batch would exceed 2 GiB.
pub fn encode(records: &[Record], producer: Producer) -> Result<Bytes, ErrorCode> {
    let base_timestamp = records.first().ok_or(ErrorCode::InvalidRecord)?.timestamp;
    let max_timestamp = records.iter().map(|record| record.timestamp).max().unwrap_or(base_timestamp);
    let count = i32::try_from(records.len()).map_err(|_| ErrorCode::MessageTooLarge)?;
    let mut out = BytesMut::with_capacity(HEADER_LEN + records.len() * 64);
    out.put_bytes(0, 16);
    out.put_u8(2);
    out.put_bytes(0, 4);
    out.put_i16(0);
    out.put_i32(count - 1);
    out.put_i64(base_timestamp);
    out.put_i64(max_timestamp);
    out.put_i64(producer.id);
    out.put_i16(producer.epoch);
    out.put_i32(producer.sequence);
    out.put_i32(count);
    let mut body = BytesMut::new();
    for (delta, record) in (0..).zip(records) {
        body.clear();
        put_record(&mut body, record, record.timestamp - base_timestamp, delta);
        put_varint(&mut out, len_i64(body.len()));
        out.put_slice(&body);
    }
    let length = i32::try_from(out.len() - 12).map_err(|_| ErrorCode::MessageTooLarge)?;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    Ok(out.freeze())
}

fn put_record(body: &mut BytesMut, record: &Record, timestamp_delta: i64, offset_delta: i64) {
    body.put_i8(0);
    put_varint(body, timestamp_delta);
    put_varint(body, offset_delta);
    put_blob(body, record.key.as_deref());
    put_blob(body, record.value.as_deref());
    put_varint(body, len_i64(record.headers.len()));
    for (name, value) in &record.headers {
        put_blob(body, Some(name.as_bytes()));
        put_blob(body, value.as_deref());
    }
}

fn put_blob(body: &mut BytesMut, blob: Option<&[u8]>) {
    match blob {
        None => put_varint(body, -1),
        Some(bytes) => {
            put_varint(body, len_i64(bytes.len()));
            body.put_slice(bytes);
        }
    }
}

fn put_varint(out: &mut impl BufMut, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.put_u8(zigzag.to_le_bytes()[0] | 0x80);
        zigzag >>= 7;
    }
    out.put_u8(zigzag.to_le_bytes()[0]);
}

fn len_i64(len: usize) -> i64 {
    i64::try_from(len).expect("a length in memory is below 2^63")
}

/// Decodes the records of a stored batch. The bytes of uncompressed records are not copied.
///
/// # Errors
/// `CorruptMessage` if the batch is malformed, `InvalidRecord` if it cannot be decompressed;
/// `UnsupportedCompressionType` if it is compressed and the feature `compression` is disabled; `MessageTooLarge` if a
/// small batch decompresses to more than 16 MiB, or any to more than 128 MiB.
pub fn decode(batch: &Bytes) -> Result<Vec<Record>, ErrorCode> {
    let header = Header::read(batch).ok_or(ErrorCode::CorruptMessage)?;
    if batch.len() < header.size {
        return Err(ErrorCode::CorruptMessage);
    }
    let mut rest = if header.is_compressed() {
        raw::body(&header, batch).map_err(|undecodable| undecodable.code())?.into_owned().into()
    } else {
        batch.slice(HEADER_LEN..header.size)
    };
    let mut records = Vec::new();
    for _ in 0..header.record_count {
        let record = take_record(&mut rest, &header).ok_or(ErrorCode::CorruptMessage)?;
        records.push(record);
    }
    Ok(records)
}

fn take_record(rest: &mut Bytes, header: &Header) -> Option<Record> {
    let mut body = take_blob(rest)??;
    body.try_get_i8().ok()?;
    let timestamp = header.base_timestamp.checked_add(take_varint(&mut body)?)?;
    let offset = header.base_offset.checked_add(take_varint(&mut body)?)?;
    let key = take_blob(&mut body)?;
    let value = take_blob(&mut body)?;
    let mut headers = Vec::new();
    for _ in 0..take_varint(&mut body)? {
        let name = take_blob(&mut body)??;
        headers.push((String::from_utf8_lossy(&name).into_owned(), take_blob(&mut body)?));
    }
    let timestamp = if header.has_append_time() { header.max_timestamp } else { timestamp };
    Some(Record { offset, timestamp, key, value, headers })
}

/// Returns `None` if the bytes are malformed and `Some(None)` for a null.
fn take_blob(from: &mut Bytes) -> Option<Option<Bytes>> {
    let len = take_varint(from)?;
    if len < 0 {
        return Some(None);
    }
    let len = usize::try_from(len).ok().filter(|len| *len <= from.len())?;
    Some(Some(from.split_to(len)))
}

fn take_varint(from: &mut impl Buf) -> Option<i64> {
    let mut zigzag = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = from.try_get_u8().ok()?;
        zigzag |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::Batch;
    #[cfg(feature = "compression")]
    use crate::core::Compression;

    fn blob() -> impl Strategy<Value = Option<Bytes>> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from))
    }

    proptest! {
        /// Law: an encoded batch is valid and decodes to the same records, with offsets starting at 0.
        #[test]
        fn encode_then_decode_is_identity(
            input in proptest::collection::vec((0i64..1 << 45, blob(), blob(), proptest::collection::vec(("[a-z]{0,5}", blob()), 0..3)), 1..20)
        ) {
            let records: Vec<Record> = (0..).zip(input).map(|(offset, (timestamp, key, value, headers))| Record { offset, timestamp, key, value, headers }).collect();
            let bytes = encode(&records, Producer::NONE).unwrap();
            prop_assert!(Batch::parse(bytes.clone()).is_ok());
            prop_assert_eq!(decode(&bytes).unwrap(), records);
        }

        /// Law: a batch has the same records in every codec, and compressing it back gives the same bytes.
        #[test]
        #[cfg(feature = "compression")]
        fn recompression_keeps_the_records(
            values in proptest::collection::vec((0i64..1 << 45, blob(), blob()), 1..20),
            codec in proptest::sample::select(&Compression::ALL[..]),
        ) {
            let record = |(offset, (timestamp, key, value))| Record { offset, timestamp, key, value, headers: Vec::new() };
            let records: Vec<Record> = (0..).zip(values).map(record).collect();
            let plain = Batch::parse(encode(&records, Producer::NONE).unwrap()).unwrap();
            let compressed = plain.recompressed(codec).unwrap();
            prop_assert_eq!(decode(compressed.bytes()).unwrap(), records);
            let parsed = Batch::parse(compressed.bytes().clone()).unwrap();
            let again = parsed.recompressed(Compression::None).unwrap();
            prop_assert_eq!(again.bytes(), plain.bytes());
        }

        /// Law: `parse` rejects a batch with any bit flipped from the magic byte on; `decode` does not panic on it.
        #[test]
        fn damage_is_detected(at in 16usize..90, bit in 0u8..8) {
            let record = Record { value: Some(Bytes::from_static(b"some text that is long enough")), ..Record::default() };
            let mut bytes = encode(&[record], Producer::NONE).unwrap().to_vec();
            prop_assume!(at < bytes.len());
            bytes[at] ^= 1 << bit;
            let bytes = Bytes::from(bytes);
            prop_assert!(Batch::parse(bytes.clone()).is_err());
            // It may fail, but must not panic.
            drop(decode(&bytes));
        }
    }

    #[test]
    fn an_empty_batch_is_rejected() {
        assert_eq!(encode(&[], Producer::NONE), Err(ErrorCode::InvalidRecord));
    }
}
