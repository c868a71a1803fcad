//! Reading and removal of encoded records, without copying their contents. The remaining records of a batch are copied;
//! at most their timestamps are re-encoded.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::{put_varint, take_varint};
use crate::core::ErrorCode;
use crate::core::batch::{self, HEADER_LEN, Header};
use crate::core::compression::Undecodable;

/// One encoded record of a batch.
#[derive(Debug)]
pub(crate) struct RawRecord<'a> {
    pub(crate) offset: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) is_tombstone: bool,
    /// The timestamp set by the producer. With `LogAppendTime`, that of the batch counts instead.
    pub(crate) timestamp: i64,
    attributes: u8,
    /// The bytes from the offset on, which do not depend on the batch's base timestamp.
    tail: &'a [u8],
    /// The whole record, preceded by its length.
    whole: &'a [u8],
}

/// The records of a batch, one after the other. A malformed record is an error and ends them.
///
/// Records are not collected: a small batch can contain millions of empty ones.
#[derive(Debug)]
pub(crate) struct RawRecords<'a> {
    header: Header,
    rest: &'a [u8],
    left: i32,
    /// The lowest offset of the next record.
    next_offset: i64,
}

/// Returns the decompressed records of a whole batch as bytes.
pub(crate) fn body<'a>(header: &Header, batch: &'a [u8]) -> Result<Cow<'a, [u8]>, Undecodable> {
    let records = batch.get(HEADER_LEN..header.size).unwrap_or_default();
    let codec = header.compression().ok_or(Undecodable::Unsupported)?;
    codec.decompress(records)
}

/// Returns the records in the body of a batch.
pub(crate) fn records<'a>(header: &Header, body: &'a [u8]) -> RawRecords<'a> {
    RawRecords { header: *header, rest: body, left: header.record_count, next_offset: header.base_offset }
}

/// Returns the body of a stored batch if its checksum is right and all its records can be read. Otherwise, the batch
/// has been damaged, or it was stored by an earlier version, which did not read compressed batches.
pub(crate) fn readable<'a>(header: &Header, batch: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let body = batch::checksum_holds(batch).then(|| body(header, batch).ok()).flatten()?;
    records(header, &body).all(|record| record.is_ok()).then_some(body)
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, ErrorCode>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            let is_whole = std::mem::take(&mut self.rest).is_empty();
            return (!is_whole).then_some(Err(ErrorCode::InvalidRecord));
        }
        let Some(record) = self.take_record() else {
            self.left = 0;
            self.rest = &[];
            return Some(Err(ErrorCode::InvalidRecord));
        };
        self.left -= 1;
        self.next_offset = record.offset.saturating_add(1);
        Some(Ok(record))
    }
}

impl<'a> RawRecords<'a> {
    fn take_record(&mut self) -> Option<RawRecord<'a>> {
        let start = self.rest;
        let mut body = take_blob(&mut self.rest)??;
        let whole = &start[..start.len() - self.rest.len()];
        let (attributes, after) = body.split_first()?;
        body = after;
        let timestamp = self.header.base_timestamp.checked_add(take_varint(&mut body)?)?;
        let tail = body;
        let offset = self.header.base_offset.checked_add(take_varint(&mut body)?)?;
        let key = take_blob(&mut body)?;
        let is_tombstone = take_blob(&mut body)?.is_none();
        let headers = take_varint(&mut body).filter(|headers| *headers >= 0)?;
        for _ in 0..headers {
            take_blob(&mut body)??;
            take_blob(&mut body)?;
        }
        let is_next = (self.next_offset..=self.header.last_offset()).contains(&offset);
        let record = RawRecord { offset, key, is_tombstone, timestamp, attributes: *attributes, tail, whole };
        (is_next && body.is_empty()).then_some(record)
    }
}

/// The records of a batch that compaction keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) count: i32,
    pub(crate) has_tombstone: bool,
    max_timestamp: i64,
}

impl Kept {
    /// Counts the records for which `stays` returns true.
    pub(crate) fn survey(records: RawRecords<'_>, stays: impl Fn(&RawRecord<'_>) -> bool) -> Self {
        let mut kept = Self { count: 0, has_tombstone: false, max_timestamp: i64::MIN };
        for record in records.map_while(Result::ok).filter(stays) {
            kept.count += 1;
            kept.has_tombstone |= record.is_tombstone;
            kept.max_timestamp = kept.max_timestamp.max(record.timestamp);
        }
        kept
    }
}

/// Returns the batch with only the `kept` records, those for which `stays` returns true, and with this delete horizon.
///
/// The offset range and the sequence numbers of the batch stay the same, so that they still cover the removed records.
/// The records are compressed with the batch's own codec, as in Kafka. Returns `None` if the timestamps of the records
/// cannot be encoded relative to the horizon.
pub(crate) fn keep(
    header: &Header,
    body: &[u8],
    kept: Kept,
    horizon_ms: Option<i64>,
    stays: impl Fn(&RawRecord<'_>) -> bool,
) -> Option<(Header, BytesMut)> {
    let mut changed = header.with_delete_horizon(horizon_ms);
    changed.record_count = kept.count;
    if !header.has_append_time() {
        changed.max_timestamp = kept.max_timestamp;
    }
    let mut out = BytesMut::with_capacity(body.len());
    for record in records(header, body).map_while(Result::ok).filter(stays) {
        if changed.base_timestamp == header.base_timestamp {
            out.extend_from_slice(record.whole);
        } else {
            put_moved(&mut out, &record, changed.base_timestamp)?;
        }
    }
    Some((changed, out))
}

/// Returns the stored `batch` with another header and other records, which are compressed as the header says.
pub(crate) fn assemble(
    mut header: Header,
    batch: &[u8],
    records: &[u8],
    level: Option<i32>,
) -> Option<(Header, Bytes)> {
    let records = header.compression()?.compress(records, level).ok()?;
    let mut out = BytesMut::with_capacity(HEADER_LEN + records.len());
    out.extend_from_slice(batch.get(..HEADER_LEN)?);
    out.extend_from_slice(&records);
    header.size = out.len();
    header.finish(&mut out)?;
    Some((header, out.freeze()))
}

/// Returns the batch without its records. The header remains, to preserve the sequence numbers of its producer.
pub(crate) fn empty(header: &Header, batch: &[u8]) -> Option<(Header, Bytes)> {
    assemble(header.emptied(), batch, &[], None)
}

/// Writes a record with another base timestamp. Its timestamp is stored relative to it, so both bytes and length
/// change.
fn put_moved(out: &mut BytesMut, record: &RawRecord<'_>, base_timestamp: i64) -> Option<()> {
    let mut head = vec![record.attributes];
    put_varint(&mut head, record.timestamp.checked_sub(base_timestamp)?);
    put_varint(out, i64::try_from(head.len() + record.tail.len()).ok()?);
    out.extend_from_slice(&head);
    out.extend_from_slice(record.tail);
    Some(())
}

/// Returns `None` if the bytes are malformed and `Some(None)` for a null.
fn take_blob<'a>(from: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let len = take_varint(from)?;
    if len < 0 {
        return Some(None);
    }
    let (blob, rest) = from.split_at_checked(usize::try_from(len).ok()?)?;
    *from = rest;
    Some(Some(blob))
}
