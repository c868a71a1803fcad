//! A record batch as bytes: its header, its checksum and the fields that a broker writes.

use std::borrow::Cow;

use bytes::Bytes;

use crate::core::ErrorCode;
use crate::core::compression::{CODEC_BITS, Compression, Undecodable};
use crate::core::records::raw::{self, RawRecord};

/// Size of the batch header: the bytes before the first record.
pub const HEADER_LEN: usize = 61;
/// Number of bytes that the length field does not count: base offset and length.
const LENGTH_END: usize = 12;
/// Number of leading bytes that the checksum does not cover: base offset, length and leader epoch.
pub(crate) const STAMP_LEN: usize = 16;
const CRC_START: usize = 21;
const MAGIC: u8 = 2;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

/// The header of one batch, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Length of the whole batch in bytes, header included.
    pub size: usize,
    /// Compression, timestamp type, transactional and control bits.
    pub attributes: i16,
    /// Offset of the last record, relative to the first.
    pub last_offset_delta: i32,
    /// Timestamp of the first record, in milliseconds since the Unix epoch; after compaction it may be the delete
    /// horizon.
    pub base_timestamp: i64,
    /// Highest timestamp of the records, in milliseconds since the Unix epoch.
    pub max_timestamp: i64,
    /// Id of the idempotent producer that wrote the batch, or -1.
    pub producer_id: i64,
    /// Epoch of the producer, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

impl Header {
    /// Decodes the header at the start of `bytes`. Returns `None` if it is not a version 2 batch or the header is
    /// incomplete.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        let size = usize::try_from(int32(head, 8)).ok()?.checked_add(LENGTH_END)?;
        if head[16] != MAGIC || size < HEADER_LEN {
            return None;
        }
        Some(Self {
            base_offset: int64(head, 0),
            size,
            attributes: int16(head, 21),
            last_offset_delta: int32(head, 23),
            base_timestamp: int64(head, 27),
            max_timestamp: int64(head, 35),
            producer_id: int64(head, 43),
            producer_epoch: int16(head, 51),
            base_sequence: int32(head, 53),
            record_count: int32(head, 57),
        })
    }

    /// Returns true if the batch has a record at each of its offsets, as a client sends it.
    pub(crate) fn has_all_records(&self) -> bool {
        self.last_offset_delta >= 0 && self.record_count.checked_sub(1) == Some(self.last_offset_delta)
    }

    /// Returns the offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Returns the sequence number of the last record. Sequence numbers wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        let last = (i64::from(self.base_sequence) + i64::from(self.last_offset_delta)) & i64::from(i32::MAX);
        i32::try_from(last).expect("31 bits fit")
    }

    /// Returns true if the records are compressed.
    pub fn is_compressed(&self) -> bool {
        self.attributes & CODEC_BITS != 0
    }

    /// Returns the codec of the records, or `None` for a number that Kafka has not assigned.
    pub fn compression(&self) -> Option<Compression> {
        Compression::of(self.attributes)
    }

    /// Returns true if the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Returns true if the batch was written by the broker, to end a transaction.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Returns true if the timestamp of every record is the time at which the broker stored the batch.
    pub fn has_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// Returns the timestamp of a record of this batch.
    pub(crate) fn timestamp_of(&self, record: &RawRecord<'_>) -> i64 {
        if self.has_append_time() { self.max_timestamp } else { record.timestamp }
    }

    /// Returns the delete horizon of a compacted batch: the time from which its tombstones may be removed, in
    /// milliseconds since the Unix epoch.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    /// Returns the header with another delete horizon. As in Kafka, it is stored in place of the base timestamp.
    pub(crate) fn with_delete_horizon(self, horizon_ms: Option<i64>) -> Self {
        match horizon_ms {
            Some(base_timestamp) => Self { attributes: self.attributes | DELETE_HORIZON, base_timestamp, ..self },
            None => Self { attributes: self.attributes & !DELETE_HORIZON, ..self },
        }
    }

    /// Returns the header of the batch without its records.
    pub(crate) fn emptied(self) -> Self {
        Self { attributes: self.attributes & !(CODEC_BITS | DELETE_HORIZON), record_count: 0, ..self }
    }

    /// Writes the fields that compaction changes into the header of `batch`, then the length and the checksum.
    pub(crate) fn finish(&self, batch: &mut [u8]) -> Option<()> {
        let length = i32::try_from(batch.len().checked_sub(LENGTH_END)?).ok()?;
        batch[8..LENGTH_END].copy_from_slice(&length.to_be_bytes());
        batch[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        batch[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        batch[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        batch[57..HEADER_LEN].copy_from_slice(&self.record_count.to_be_bytes());
        let crc = crc32c::crc32c(&batch[CRC_START..]);
        batch[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
        Some(())
    }
}

/// A batch whose lengths and checksum have been verified, ready to be appended.
#[derive(Debug, Clone)]
pub struct Batch {
    header: Header,
    bytes: Bytes,
}

impl Batch {
    /// Verifies a batch sent by a producer: it must be exactly one complete batch of version 2, with a correct CRC32C
    /// and without attributes that only brokers set.
    ///
    /// # Errors
    /// `CorruptMessage`; `InvalidRecord` for older formats, and for content that clients may not send.
    pub fn parse(bytes: Bytes) -> Result<Self, ErrorCode> {
        if bytes.get(16).is_none_or(|magic| *magic < MAGIC) {
            return Err(ErrorCode::InvalidRecord);
        }
        let header = Header::read(&bytes).ok_or(ErrorCode::CorruptMessage)?;
        match bytes.len().cmp(&header.size) {
            std::cmp::Ordering::Less => return Err(ErrorCode::CorruptMessage),
            std::cmp::Ordering::Greater => return Err(ErrorCode::InvalidRecord),
            std::cmp::Ordering::Equal => {}
        }
        if !checksum_holds(&bytes) {
            return Err(ErrorCode::CorruptMessage);
        }
        if header.attributes & (CONTROL | DELETE_HORIZON) != 0 || !header.has_all_records() {
            return Err(ErrorCode::InvalidRecord);
        }
        Ok(Self { header, bytes })
    }

    /// Turns an uncompressed batch into the control batch of a transaction, which only the broker writes.
    pub(crate) fn control(bytes: Bytes) -> Option<Self> {
        let header = Header::read(&bytes)?;
        let header = Header { attributes: TRANSACTIONAL | CONTROL, ..header };
        let mut bytes = bytes.to_vec();
        header.finish(&mut bytes)?;
        Some(Self { header, bytes: bytes.into() })
    }

    /// Returns the decoded header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the batch as bytes, with the offset that the producer has set.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the batch as a part of its producer's transaction.
    #[must_use]
    pub fn transactional(self) -> Self {
        let header = Header { attributes: self.header.attributes | TRANSACTIONAL, ..self.header };
        let mut bytes = self.bytes.to_vec();
        match header.finish(&mut bytes) {
            Some(()) => Self { header, bytes: bytes.into() },
            None => self,
        }
    }

    /// Returns the batch with its records compressed by another codec, at the codec's default level.
    ///
    /// # Errors
    /// `InvalidRecord` if the records cannot be read; `UnsupportedCompressionType` without the feature `compression`.
    pub fn recompressed(&self, codec: Compression) -> Result<Self, ErrorCode> {
        if codec != Compression::None && !Compression::has_codecs() {
            return Err(ErrorCode::UnsupportedCompressionType);
        }
        let body = self.body().map_err(|undecodable| undecodable.code())?;
        let header = Header { attributes: (self.header.attributes & !CODEC_BITS) | codec.bits(), ..self.header };
        let assembled = raw::assemble(header, &self.bytes, &body, None).ok_or(ErrorCode::InvalidRecord)?;
        Ok(Self { header: assembled.0, bytes: assembled.1 })
    }

    /// Returns the decompressed records as bytes.
    pub(crate) fn body(&self) -> Result<Cow<'_, [u8]>, Undecodable> {
        raw::body(&self.header, &self.bytes)
    }

    /// Returns the batch in the form in which a topic stores it: with this codec, this highest timestamp and, if the
    /// topic uses `LogAppendTime`, with that as the timestamp of every record. `body` contains the records. Returns
    /// `None` if they cannot be compressed.
    pub(crate) fn stored_as(
        &self,
        (codec, level): (Compression, Option<i32>),
        max_timestamp: i64,
        has_append_time: bool,
        body: &[u8],
    ) -> Option<Self> {
        let own = self.header.attributes & !(CODEC_BITS | LOG_APPEND_TIME);
        let attributes = own | codec.bits() | if has_append_time { LOG_APPEND_TIME } else { 0 };
        let header = Header { attributes, max_timestamp, ..self.header };
        if header == self.header {
            return Some(self.clone());
        }
        if self.header.compression() != Some(codec) {
            let (header, bytes) = raw::assemble(header, &self.bytes, body, level)?;
            return Some(Self { header, bytes });
        }
        let mut bytes = self.bytes.to_vec();
        header.finish(&mut bytes)?;
        Some(Self { header, bytes: bytes.into() })
    }

    /// Returns the first bytes with the offset and leader epoch set, and the remaining bytes.
    pub(crate) fn stamped(&self, base_offset: i64, leader_epoch: i32) -> ([u8; STAMP_LEN], &[u8]) {
        let mut stamp = [0; STAMP_LEN];
        stamp[..8].copy_from_slice(&base_offset.to_be_bytes());
        stamp[8..12].copy_from_slice(&self.bytes[8..12]);
        stamp[12..].copy_from_slice(&leader_epoch.to_be_bytes());
        (stamp, &self.bytes[STAMP_LEN..])
    }
}

/// Returns true if the CRC32C of a whole batch matches its checksum field.
pub(crate) fn checksum_holds(batch: &[u8]) -> bool {
    batch.len() >= HEADER_LEN && crc32c::crc32c(&batch[CRC_START..]).to_be_bytes() == batch[17..21]
}

fn int16(bytes: &[u8; HEADER_LEN], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn int32(bytes: &[u8; HEADER_LEN], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn int64(bytes: &[u8; HEADER_LEN], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
