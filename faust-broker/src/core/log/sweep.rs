//! The part of compaction that decides for each batch which records are kept.

use std::collections::HashSet;
use std::io;

use bytes::Bytes;

use crate::core::batch::Header;
use crate::core::config::CompactionConfig;
use crate::core::log::keys::Keys;
use crate::core::log::transactions::PartitionTransactions;
use crate::core::producer_state::Producers;
use crate::core::records::raw::{self, Kept, RawRecord};
use crate::core::segment::Segment;

/// A scan over consecutive segments.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    pub(crate) config: &'a CompactionConfig,
    pub(crate) keys: &'a Keys,
    pub(crate) producers: &'a Producers,
    pub(crate) transactions: &'a PartitionTransactions,
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
    /// The producers with records of a transaction that are kept, and whose marker has not been reached.
    pub(crate) unfinished: &'a mut HashSet<i64>,
    /// Offsets of the markers that are not copied.
    pub(crate) dropped_markers: &'a mut Vec<i64>,
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

impl Verdict {
    /// Returns true if records of the batch remain.
    fn keeps_records(&self, header: &Header) -> bool {
        match self {
            Self::Keep => header.record_count > 0,
            Self::Replace(changed, _) => changed.record_count > 0,
            Self::Drop => false,
        }
    }
}

impl Sweep<'_> {
    /// Copies the batches and records of `old` that are kept to `new`, from offset `from` on, until `step_bytes` have
    /// been read, decompressed. Returns the offset from which to continue, which is the segment's end if all have been copied.
    pub(crate) fn copy(&mut self, old: &Segment, from: i64, step_bytes: usize, new: &mut Segment) -> io::Result<i64> {
        let mut next = None;
        self.read = 0;
        old.each_batch(from, |header, bytes| {
            let verdict =
                if header.is_control() { self.judge_marker(header, bytes) } else { self.judge(header, bytes) };
            if header.is_transactional() && !header.is_control() && verdict.keeps_records(header) {
                self.unfinished.insert(header.producer_id);
            }
            if header.is_control() && matches!(verdict, Verdict::Drop) {
                self.dropped_markers.push(header.base_offset);
            }
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
        if header.last_offset() < self.start || self.transactions.is_aborted(header) {
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

    /// A marker is kept as long as records of its transaction are. Afterwards, consumers that have read them have
    /// `delete.retention.ms` to read the marker.
    fn judge_marker(&mut self, header: &Header, bytes: &[u8]) -> Verdict {
        let has_records = self.unfinished.remove(&header.producer_id);
        let is_last = header.last_offset() == self.last;
        if header.base_offset >= self.target || has_records || is_last {
            return Verdict::Keep;
        }
        match header.delete_horizon_ms() {
            _ if header.last_offset() < self.start => Verdict::Drop,
            Some(horizon_ms) if horizon_ms <= self.now_ms => Verdict::Drop,
            Some(_) => Verdict::Keep,
            None => self.with_horizon(header, bytes).unwrap_or(Verdict::Keep),
        }
    }

    fn with_horizon(&self, header: &Header, bytes: &[u8]) -> Option<Verdict> {
        let body = raw::readable(header, bytes)?;
        let kept = Kept::survey(raw::records(header, &body), |_| true);
        let horizon_ms = self.now_ms.saturating_add(self.config.delete_retention_ms);
        let (changed, records) = raw::keep(header, &body, kept, Some(horizon_ms), |_| true)?;
        let (changed, bytes) = raw::assemble(changed, bytes, &records, None)?;
        Some(Verdict::Replace(changed, bytes))
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
