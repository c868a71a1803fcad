//! Removal of records from a stored batch. The remaining records are copied; at most their timestamps are re-encoded.

use bytes::{Bytes, BytesMut};

use super::{put_varint, take_varint};
use crate::core::batch::{HEADER_LEN, Header};

/// One encoded record of a batch.
#[derive(Debug)]
pub(crate) struct RawRecord<'a> {
    pub(crate) offset: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) is_tombstone: bool,
    pub(crate) timestamp: i64,
    attributes: u8,
    /// The bytes from the offset on, which do not depend on the batch's base timestamp.
    tail: &'a [u8],
    /// The whole record, preceded by its length.
    whole: &'a [u8],
}

/// Returns the records of a whole batch, or `None` if it is compressed or malformed.
pub(crate) fn walk<'a>(header: &Header, batch: &'a [u8]) -> Option<Vec<RawRecord<'a>>> {
    if header.is_compressed() {
        return None;
    }
    let mut rest = batch.get(HEADER_LEN..header.size)?;
    // No capacity is reserved from the header's record count, which is not trustworthy.
    let mut records: Vec<RawRecord<'a>> = Vec::new();
    for _ in 0..header.record_count {
        let record = take_record(&mut rest, header)?;
        let is_next = records.last().is_none_or(|last| last.offset < record.offset);
        if !is_next || !(header.base_offset..=header.last_offset()).contains(&record.offset) {
            return None;
        }
        records.push(record);
    }
    rest.is_empty().then_some(records)
}

/// Returns the batch with only the `kept` records and with this delete horizon.
///
/// The offset range and the sequence numbers of the batch stay the same, so that they still cover the removed records.
/// Returns `None` if the timestamps of the records cannot be encoded relative to the horizon.
pub(crate) fn keep(
    header: &Header,
    batch: &[u8],
    kept: &[RawRecord<'_>],
    horizon_ms: Option<i64>,
) -> Option<(Header, Bytes)> {
    let mut changed = header.with_delete_horizon(horizon_ms);
    changed.record_count = i32::try_from(kept.len()).ok()?;
    if !header.has_append_time() {
        changed.max_timestamp = kept.iter().map(|record| record.timestamp).max()?;
    }
    let mut out = BytesMut::with_capacity(header.size);
    out.extend_from_slice(batch.get(..HEADER_LEN)?);
    for record in kept {
        if changed.base_timestamp == header.base_timestamp {
            out.extend_from_slice(record.whole);
        } else {
            put_moved(&mut out, record, changed.base_timestamp)?;
        }
    }
    finished(changed, out)
}

/// Returns the batch without its records. The header remains, to preserve the sequence numbers of its producer.
pub(crate) fn empty(header: &Header, batch: &[u8]) -> Option<(Header, Bytes)> {
    finished(header.emptied(), BytesMut::from(batch.get(..HEADER_LEN)?))
}

fn finished(mut header: Header, mut batch: BytesMut) -> Option<(Header, Bytes)> {
    header.size = batch.len();
    header.finish(&mut batch)?;
    Some((header, batch.freeze()))
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

fn take_record<'a>(rest: &mut &'a [u8], header: &Header) -> Option<RawRecord<'a>> {
    let start = *rest;
    let mut body = take_blob(rest)??;
    let whole = &start[..start.len() - rest.len()];
    let (attributes, after) = body.split_first()?;
    body = after;
    let timestamp = header.base_timestamp.checked_add(take_varint(&mut body)?)?;
    let tail = body;
    let offset = header.base_offset.checked_add(take_varint(&mut body)?)?;
    let key = take_blob(&mut body)?;
    let is_tombstone = take_blob(&mut body)?.is_none();
    Some(RawRecord { offset, key, is_tombstone, timestamp, attributes: *attributes, tail, whole })
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
