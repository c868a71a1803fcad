//! The part of compaction that decides for each batch which records are kept.

use std::io;

use bytes::Bytes;

use crate::core::batch::Header;
use crate::core::config::CompactionConfig;
use crate::core::log::keys::Keys;
use crate::core::producer_state::Producers;
use crate::core::records::raw::{self, Kept, RawRecord};
use crate::core::segment::Segment;

/// A scan over consecutive segments.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    pub(crate) config: &'a CompactionConfig,
    pub(crate) keys: &'a Keys,
    pub(crate) producers: &'a Producers,
    /// Log start offset; earlier records have been deleted.
    pub(crate) start: i64,
    /// Batches from this offset on are kept unchanged, because their keys have not been collected.
    pub(crate) target: i64,
    /// Offset of the last record of the log, which is always kept, so that consumers that read to the end receive it.
    pub(crate) last: i64,
    pub(crate) now_ms: i64,
    /// True once a batch with unreadable records has been scanned. Later tombstones may delete keys of that batch, so
    /// they are kept.
    pub(crate) has_hidden: bool,
    pub(crate) has_changed: bool,
    /// Number of bytes read in this step, of compressed batches decompressed ones.
    pub(crate) read: usize,
}

/// The decision for a batch.
#[derive(Debug)]
enum Verdict {
    Keep,
    Replace(Header, Bytes),
    Drop,
}

impl Sweep<'_> {
    /// Copies the batches and records of `old` that are kept to `new`, from offset `from` on, until `step_bytes` have
    /// been read, decompressed. Returns the offset from which to continue, which is the segment's end if all have been copied.
    pub(crate) fn copy(&mut self, old: &Segment, from: i64, step_bytes: usize, new: &mut Segment) -> io::Result<i64> {
        let mut next = None;
        self.read = 0;
        old.each_batch(from, |header, bytes| {
            let verdict = self.judge(header, bytes);
            self.has_changed |= !matches!(verdict, Verdict::Keep);
            match verdict {
                Verdict::Keep => new.append_stored(header, bytes)?,
                Verdict::Replace(header, bytes) => new.append_stored(&header, &bytes)?,
                Verdict::Drop => {}
            }
            self.read += header.size;
            next = (self.read >= step_bytes).then_some(header.last_offset() + 1);
            Ok(next.is_none())
        })?;
        Ok(next.unwrap_or(old.end_offset))
    }

    fn judge(&mut self, header: &Header, bytes: &[u8]) -> Verdict {
        if header.base_offset >= self.target {
            return Verdict::Keep;
        }
        if header.last_offset() < self.start {
            return self.without_records(header, bytes);
        }
        // A batch that cannot be read must not be rewritten with a valid checksum.
        let Some(body) = raw::readable(header, bytes) else {
            self.has_hidden = true;
            return Verdict::Keep;
        };
        // What a compressed batch takes is the size of its records, which are decompressed and may be compressed again.
        self.read += body.len().saturating_sub(header.size);
        let horizon_ms = header.delete_horizon_ms();
        let is_expired = !self.has_hidden && horizon_ms.is_some_and(|horizon_ms| horizon_ms <= self.now_ms);
        let stays = |record: &RawRecord<'_>| self.stays(record, is_expired);
        let kept = Kept::survey(raw::records(header, &body), stays);
        if kept.count == 0 {
            return self.without_records(header, bytes);
        }
        let wanted_ms = self.wanted_horizon(header, kept);
        if kept.count == header.record_count && wanted_ms == horizon_ms {
            return Verdict::Keep;
        }
        let changed = raw::keep(header, &body, kept, wanted_ms, stays);
        let changed = changed.and_then(|(header, records)| raw::assemble(header, bytes, &records, None));
        changed.map_or(Verdict::Keep, |(header, bytes)| Verdict::Replace(header, bytes))
    }

    fn stays(&self, record: &RawRecord<'_>, is_expired: bool) -> bool {
        if record.offset == self.last {
            return true;
        }
        let is_gone = record.offset < self.start || (record.is_tombstone && is_expired);
        // A record without a key is from before the topic was compacted. Kafka discards it as well.
        !is_gone && record.key.is_some_and(|key| !self.keys.supersede(key, record.offset))
    }

    /// Returns the delete horizon for the tombstones of these records: `delete.retention.ms` after their first
    /// compaction.
    fn wanted_horizon(&self, header: &Header, kept: Kept) -> Option<i64> {
        if !kept.has_tombstone {
            return None;
        }
        // The log's last record is never removed, so its batch gets no horizon: otherwise a pass would always be due.
        let may_go = !self.has_hidden && header.last_offset() < self.last;
        let fresh = || may_go.then(|| self.now_ms.saturating_add(self.config.delete_retention_ms));
        header.delete_horizon_ms().or_else(fresh)
    }

    fn without_records(&self, header: &Header, bytes: &[u8]) -> Verdict {
        if !self.producers.remember(header) {
            return Verdict::Drop;
        }
        if header.record_count == 0 {
            return Verdict::Keep;
        }
        raw::empty(header, bytes).map_or(Verdict::Keep, |(header, bytes)| Verdict::Replace(header, bytes))
    }
}
