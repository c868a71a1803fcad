//! Decides for each batch what compaction leaves of it.

use std::io;

use bytes::Bytes;

use crate::core::batch::{self, Header};
use crate::core::config::CompactionConfig;
use crate::core::log::keys::Keys;
use crate::core::producer_state::Producers;
use crate::core::records::raw::{self, RawRecord};
use crate::core::segment::Segment;

/// One walk over some segments, in order.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    pub(crate) config: &'a CompactionConfig,
    pub(crate) keys: &'a Keys,
    pub(crate) producers: &'a Producers,
    /// Earlier records have been deleted.
    pub(crate) start: i64,
    /// Batches from here on are left alone: their keys have not been looked at.
    pub(crate) target: i64,
    /// The last record of the whole log, which stays whatever it is: who reads to the end must see it come.
    pub(crate) last: i64,
    pub(crate) now_ms: i64,
    /// Whether a batch has been passed that keeps its records hidden: a tombstone behind it may be all that ends one of them.
    pub(crate) has_hidden: bool,
    pub(crate) has_changed: bool,
}

/// What becomes of a batch.
#[derive(Debug)]
enum Verdict {
    Keep,
    Replace(Header, Bytes),
    Drop,
}

impl Sweep<'_> {
    /// Copies to `new` what is to stay of `old`.
    pub(crate) fn copy(&mut self, old: &Segment, new: &mut Segment) -> io::Result<()> {
        old.each_batch(old.base_offset, |header, bytes| {
            let verdict = self.judge(header, bytes);
            self.has_changed |= !matches!(verdict, Verdict::Keep);
            match verdict {
                Verdict::Keep => new.append_stored(header, bytes)?,
                Verdict::Replace(header, bytes) => new.append_stored(&header, &bytes)?,
                Verdict::Drop => {}
            }
            Ok(true)
        })
    }

    fn judge(&mut self, header: &Header, bytes: &[u8]) -> Verdict {
        if header.base_offset >= self.target {
            return Verdict::Keep;
        }
        if header.last_offset() < self.start {
            return self.without_records(header, bytes);
        }
        // A wrong checksum must not be replaced by a right one over the same damage.
        let readable = if batch::checksum_holds(bytes) { raw::walk(header, bytes) } else { None };
        let Some(mut records) = readable else {
            self.has_hidden = true;
            return Verdict::Keep;
        };
        let before = records.len();
        let horizon_ms = header.delete_horizon_ms();
        let is_expired = !self.has_hidden && horizon_ms.is_some_and(|horizon_ms| horizon_ms <= self.now_ms);
        records.retain(|record| self.stays(record, is_expired));
        if records.is_empty() {
            return self.without_records(header, bytes);
        }
        let wanted_ms = self.wanted_horizon(header, &records);
        if records.len() == before && wanted_ms == horizon_ms {
            return Verdict::Keep;
        }
        let kept = raw::keep(header, bytes, &records, wanted_ms);
        kept.map_or(Verdict::Keep, |(header, bytes)| Verdict::Replace(header, bytes))
    }

    fn stays(&self, record: &RawRecord<'_>, is_expired: bool) -> bool {
        if record.offset == self.last {
            return true;
        }
        let is_gone = record.offset < self.start || (record.is_tombstone && is_expired);
        // A record without a key is from before the topic was compacted. Kafka drops it as well.
        !is_gone && record.key.is_some_and(|key| !self.keys.supersede(key, record.offset))
    }

    /// From when on the tombstones among these records may go; the time begins when they are found clean.
    fn wanted_horizon(&self, header: &Header, records: &[RawRecord<'_>]) -> Option<i64> {
        if !records.iter().any(|record| record.is_tombstone) {
            return None;
        }
        // The log's last record has no horizon, or a pass would be due for ever for the sake of what it may not take.
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
