//! A record batch as bytes: its header, its checksum and the fields that a broker writes.

use bytes::Bytes;

use crate::core::ErrorCode;
use crate::core::records::raw;

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
const COMPRESSION: i16 = 0b111;

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

    /// Returns the offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Returns the sequence number of the last record. Sequence numbers wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        let last = (i64::from(self.base_sequence) + i64::from(self.last_offset_delta)) & i64::from(i32::MAX);
        i32::try_from(last).expect("31 bits fit")
    }

    /// Returns true if the records are compressed. This broker does not decompress them.
    pub fn is_compressed(&self) -> bool {
        self.attributes & COMPRESSION != 0
    }

    /// Returns true if the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Returns true if the timestamp of every record is the time at which the broker stored the batch.
    pub fn has_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
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
        Self { attributes: self.attributes & !(COMPRESSION | DELETE_HORIZON), record_count: 0, ..self }
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
    /// `CorruptMessage`, `UnsupportedForMessageFormat` for older formats, `InvalidRecord` for content that clients may
    /// not send.
    pub fn parse(bytes: Bytes) -> Result<Self, ErrorCode> {
        if bytes.get(16).is_some_and(|magic| *magic < MAGIC) {
            return Err(ErrorCode::UnsupportedForMessageFormat);
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
        let counts_agree = header.last_offset_delta >= 0 && header.record_count - 1 == header.last_offset_delta;
        if header.attributes & (CONTROL | DELETE_HORIZON) != 0 || !counts_agree {
            return Err(ErrorCode::InvalidRecord);
        }
        Ok(Self { header, bytes })
    }

    /// Returns the decoded header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns true if every record has a key, as a compacted topic requires. Compressed batches are not checked and
    /// always pass.
    ///
    /// # Errors
    /// `InvalidRecord` if the records cannot be parsed.
    pub(crate) fn has_keys(&self) -> Result<bool, ErrorCode> {
        if self.header.is_compressed() {
            return Ok(true);
        }
        let records = raw::walk(&self.header, &self.bytes).ok_or(ErrorCode::InvalidRecord)?;
        Ok(records.iter().all(|record| record.key.is_some()))
    }

    /// Returns true if `accepts` returns true for the timestamp of every record. Of a compressed batch, only the header's
    /// two timestamps are checked: those of the first record and the highest.
    ///
    /// # Errors
    /// `InvalidRecord` if the records cannot be parsed.
    pub(crate) fn all_timestamps(&self, accepts: impl Fn(i64) -> bool) -> Result<bool, ErrorCode> {
        if self.header.is_compressed() {
            return Ok(accepts(self.header.base_timestamp) && accepts(self.header.max_timestamp));
        }
        let records = raw::walk(&self.header, &self.bytes).ok_or(ErrorCode::InvalidRecord)?;
        Ok(records.iter().all(|record| accepts(record.timestamp)))
    }

    /// Returns the batch with `now_ms` as the timestamp of every record, for `message.timestamp.type=LogAppendTime`.
    pub(crate) fn with_append_time(&self, now_ms: i64) -> Self {
        let mut bytes = self.bytes.to_vec();
        let attributes = self.header.attributes | LOG_APPEND_TIME;
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        bytes[35..43].copy_from_slice(&now_ms.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[CRC_START..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let header = Header { attributes, max_timestamp: now_ms, ..self.header };
        Self { header, bytes: bytes.into() }
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
