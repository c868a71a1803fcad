//! Compaction of a log: when it is due, which part of the log it covers, and its execution in steps.
//!
//! A pass has two phases, as in Kafka. First the dirty part is read and the last offset of each key is collected. Then
//! the whole log up to that point is rewritten, some segments at a time, without the records superseded by a later
//! one. A pass can be abandoned at any point: the part that it has not marked clean is processed again by the next one.
//!
//! Both phases advance by a limited number of bytes, because the broker answers no request during a step.

use std::collections::HashSet;
use std::io;
use std::ops::Range;

use crate::core::config::{CompactionConfig, TopicConfig};
use crate::core::log::Log;
use crate::core::log::keys::Keys;
use crate::core::log::sweep::Sweep;
use crate::core::records::raw;
use crate::core::segment::Segment;
use crate::core::storage::LogStorage;

/// A pass in progress.
#[derive(Debug)]
pub(crate) struct Pass {
    keys: Keys,
    /// The keys have been collected from the clean offset up to this one.
    mapped: i64,
    /// End offset of the part that may be compacted.
    until: i64,
    /// The segments before this offset have been rewritten.
    swept: i64,
    /// The segment that is being written.
    rewrite: Option<Rewrite>,
    has_hidden: bool,
    /// True if a new segment is synced in the background, before it is installed: the broker answers no request meanwhile.
    is_patient: bool,
    /// The producers with records of a transaction that have been kept, and whose marker has not been reached.
    unfinished: HashSet<i64>,
}

/// A segment that is being written, and will replace those of its offsets. It is deleted unless it is installed.
#[derive(Debug)]
struct Rewrite {
    /// Taken when the segment is installed.
    new: Option<Segment>,
    /// The offsets of the replaced segments.
    offsets: Range<i64>,
    /// The batches before this offset have been copied.
    copied: i64,
    has_changed: bool,
    /// Offsets of the markers that have not been copied.
    dropped_markers: Vec<i64>,
}

impl Drop for Rewrite {
    fn drop(&mut self) {
        if let Some(new) = self.new.take() {
            // If this fails, the file is deleted at the next start.
            drop(new.delete());
        }
    }
}

/// The memory and the time that compaction may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompactionLimits {
    /// Memory for keys in bytes.
    pub(crate) memory: usize,
    /// Number of bytes of a segment after which a step ends; at least one batch is processed.
    pub(crate) step_bytes: usize,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing to do.
    Idle,
    /// The pass needs more steps.
    Working,
    /// The pass has ended and the log is clean up to this offset.
    Clean(i64),
}

impl Log {
    /// Continues a pass, or starts one if it is due.
    pub(crate) fn compact_step(
        &mut self,
        config: &TopicConfig,
        limits: CompactionLimits,
        now_ms: i64,
        storage: &mut dyn LogStorage,
    ) -> io::Result<Step> {
        let Some(compaction) = &config.compaction else {
            self.pass = None;
            return Ok(Step::Idle);
        };
        // Taken out, so that an error abandons the pass.
        let pass = match self.pass.take() {
            Some(pass) => pass,
            None if self.wants_compaction(compaction, now_ms) => {
                Pass { is_patient: true, ..self.begin(compaction, limits.memory, now_ms) }
            }
            None => return Ok(Step::Idle),
        };
        self.go_on(pass, config, compaction, limits.step_bytes, now_ms, storage)
    }

    /// Compacts everything that may be compacted at `now_ms`, including the active segment.
    pub(crate) fn compact_all(
        &mut self,
        config: &TopicConfig,
        compaction: &CompactionConfig,
        limits: CompactionLimits,
        now_ms: i64,
        storage: &mut dyn LogStorage,
    ) -> io::Result<()> {
        // IMPORTANT: before another pass begins, which may write a segment of the same name.
        self.abandon_compaction();
        self.roll(storage)?;
        let until = self.cleanable_end(compaction, now_ms);
        loop {
            let mut pass = self.begin(compaction, limits.memory, now_ms);
            let clean = loop {
                match self.go_on(pass, config, compaction, limits.step_bytes, now_ms, storage)? {
                    Step::Clean(clean) => break clean,
                    Step::Idle | Step::Working => {}
                }
                let Some(next) = self.pass.take() else { return Ok(()) };
                pass = next;
            };
            if clean >= until {
                return Ok(());
            }
        }
    }

    /// Returns true if a pass is in progress or due.
    pub(crate) fn is_dirty(&self, config: &TopicConfig, now_ms: i64) -> bool {
        let is_worth_it = |compaction| self.wants_compaction(compaction, now_ms);
        self.pass.is_some() || config.compaction.as_ref().is_some_and(is_worth_it)
    }

    /// Abandons the pass in progress, because the log or its configuration has changed.
    pub(crate) fn abandon_compaction(&mut self) {
        self.pass = None;
    }

    fn wants_compaction(&self, config: &CompactionConfig, now_ms: i64) -> bool {
        let until = self.cleanable_end(config, now_ms);
        let too_old_ms = now_ms.saturating_sub(config.max_lag_ms);
        let (mut clean_bytes, mut dirty_bytes, mut is_due) = (0, 0, false);
        for segment in self.sealed().take_while(|segment| segment.base_offset < until) {
            if segment.end_offset <= self.clean {
                clean_bytes += segment.size();
            } else {
                dirty_bytes += segment.size();
                is_due |= segment.first_timestamp.is_some_and(|first| first > 0 && first < too_old_ms);
            }
            is_due |= segment.delete_horizon_ms.is_some_and(|horizon_ms| horizon_ms <= now_ms);
        }
        is_due || dirty_ratio(dirty_bytes, clean_bytes) > config.min_dirty_ratio
    }

    /// Returns the end offset of the part that may be compacted. It ends at the active segment, at the first segment with
    /// a record younger than `min.compaction.lag.ms`, or at the one with the first record of an open transaction.
    fn cleanable_end(&self, config: &CompactionConfig, now_ms: i64) -> i64 {
        let young_ms = now_ms.saturating_sub(config.min_lag_ms);
        let last_stable = self.last_stable();
        let mut until = self.start;
        for segment in self.sealed() {
            let is_young = config.min_lag_ms > 0 && segment.max_timestamp > young_ms;
            if is_young || segment.end_offset > last_stable {
                return segment.base_offset;
            }
            until = segment.end_offset;
        }
        until
    }

    fn sealed(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().take_while(|segment| segment.is_sealed())
    }

    fn begin(&self, config: &CompactionConfig, memory: usize, now_ms: i64) -> Pass {
        let until = self.cleanable_end(config, now_ms);
        let first = self.segments.front().map_or(self.start, |segment| segment.base_offset);
        let mapped = self.clean.max(first).min(until);
        Pass {
            keys: Keys::new(memory),
            mapped,
            until,
            swept: first,
            rewrite: None,
            has_hidden: false,
            is_patient: false,
            unfinished: HashSet::new(),
        }
    }

    fn go_on(
        &mut self,
        mut pass: Pass,
        config: &TopicConfig,
        compaction: &CompactionConfig,
        step_bytes: usize,
        now_ms: i64,
        storage: &mut dyn LogStorage,
    ) -> io::Result<Step> {
        if pass.mapped < pass.until && !pass.keys.is_full() {
            self.map_keys(&mut pass, step_bytes)?;
        } else if pass.rewrite.is_some() || self.begin_rewrite(&mut pass, config.segment_bytes, storage)? {
            self.go_on_rewriting(&mut pass, compaction, step_bytes, now_ms)?;
        } else {
            self.clean = self.clean.max(pass.mapped);
            return Ok(Step::Clean(self.clean));
        }
        self.pass = Some(pass);
        Ok(Step::Working)
    }

    /// Collects the keys of the next batches of a segment, until the step ends or the memory is full.
    fn map_keys(&self, pass: &mut Pass, step_bytes: usize) -> io::Result<()> {
        let at = self.segments.partition_point(|segment| segment.end_offset <= pass.mapped);
        let Some(segment) = self.segments.get(at) else {
            pass.mapped = pass.until;
            return Ok(());
        };
        let (mut read, mut is_interrupted) = (0, false);
        segment.each_batch(pass.mapped, |header, bytes| {
            // Neither do aborted records supersede anything, nor those of a batch that cannot be read: it may be damaged.
            let mut work = header.size;
            let has_keys = !header.is_control() && !self.transactions.is_aborted(header);
            if has_keys && let Some(body) = raw::readable(header, bytes) {
                work = work.max(body.len());
                for record in raw::records(header, &body).map_while(Result::ok) {
                    if let Some(key) = record.key {
                        pass.keys.note(key, record.offset);
                    }
                }
            }
            pass.mapped = header.last_offset() + 1;
            read += work;
            is_interrupted = pass.keys.is_full() || read >= step_bytes;
            Ok(!is_interrupted)
        })?;
        if !is_interrupted {
            pass.mapped = segment.end_offset;
        }
        Ok(())
    }

    /// Creates a segment that will replace the next ones, as many as fit into one. Returns false if there are none.
    fn begin_rewrite(&self, pass: &mut Pass, segment_bytes: u64, storage: &mut dyn LogStorage) -> io::Result<bool> {
        let at = self.segments.partition_point(|segment| segment.base_offset < pass.swept);
        if self.segments.get(at).is_none_or(|segment| segment.base_offset >= pass.mapped) {
            return Ok(false);
        }
        let len = self.group_len(at, pass.mapped, segment_bytes);
        let offsets = self.segments[at].base_offset..self.segments[at + len - 1].end_offset;
        let new = Segment::new(offsets.start, storage.rewrite_segment(&self.id, offsets.clone())?);
        let copied = offsets.start;
        let (has_changed, dropped_markers) = (len > 1, Vec::new());
        pass.rewrite = Some(Rewrite { new: Some(new), offsets, copied, has_changed, dropped_markers });
        Ok(true)
    }

    /// Copies the next batches, until the step ends or all are copied; then the new segment replaces the old ones.
    fn go_on_rewriting(
        &mut self,
        pass: &mut Pass,
        config: &CompactionConfig,
        step_bytes: usize,
        now_ms: i64,
    ) -> io::Result<()> {
        let Some(rewrite) = &mut pass.rewrite else { return Ok(()) };
        let at = self.segments.partition_point(|segment| segment.end_offset <= rewrite.copied);
        if let Some(old) = self.segments.get(at).filter(|old| old.base_offset < rewrite.offsets.end)
            && let Some(new) = &mut rewrite.new
        {
            let mut sweep = Sweep {
                config,
                keys: &pass.keys,
                producers: &self.producers,
                transactions: &self.transactions,
                start: self.start,
                target: pass.mapped,
                last: self.end - 1,
                now_ms,
                has_hidden: pass.has_hidden,
                unfinished: &mut pass.unfinished,
                dropped_markers: &mut rewrite.dropped_markers,
                has_changed: rewrite.has_changed,
                read: 0,
            };
            rewrite.copied = sweep.copy(old, rewrite.copied, step_bytes, new)?;
            (pass.has_hidden, rewrite.has_changed) = (sweep.has_hidden, sweep.has_changed);
        }
        if rewrite.copied < rewrite.offsets.end {
            return Ok(());
        }
        if pass.is_patient
            && rewrite.has_changed
            && let Some(new) = &mut rewrite.new
        {
            new.sync();
            if !new.is_synced()? {
                return Ok(());
            }
        }
        pass.swept = rewrite.offsets.end;
        let (has_changed, offsets) = (rewrite.has_changed, rewrite.offsets.clone());
        let dropped_markers = std::mem::take(&mut rewrite.dropped_markers);
        let new = pass.rewrite.take().and_then(|mut rewrite| if has_changed { rewrite.new.take() } else { None });
        new.map_or(Ok(()), |new| self.replace(offsets, new))?;
        self.transactions.forget_markers(&dropped_markers);
        Ok(())
    }

    /// Returns the number of sealed segments, starting with index `at` and up to offset `target`, that fit into one
    /// segment; at least 1.
    fn group_len(&self, at: usize, target: i64, segment_bytes: u64) -> usize {
        let mut size = 0;
        let fits = |segment: &&Segment| {
            size += segment.size();
            segment.is_sealed() && segment.base_offset < target && size <= segment_bytes
        };
        self.segments.range(at..).take_while(fits).count().max(1)
    }

    fn replace(&mut self, offsets: Range<i64>, mut new: Segment) -> io::Result<()> {
        new.install(offsets.end)?;
        new.summarize(&self.producers);
        let (base, end) = (offsets.start, offsets.end);
        let first = self.segments.partition_point(|segment| segment.base_offset < base);
        let last = self.segments.partition_point(|segment| segment.base_offset < end);
        let old: Vec<Segment> = self.segments.drain(first..last).collect();
        self.segments.insert(first, new);
        for segment in old {
            if segment.is_rewritten_as(base, end) {
                // The new segment has already replaced it under the same name.
                continue;
            }
            if let Err(error) = segment.delete() {
                tracing::warn!(%error, "cannot delete a compacted segment; it will be deleted at the next start");
            }
        }
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "a ratio of bytes need not be exact")]
fn dirty_ratio(dirty: u64, clean: u64) -> f64 {
    if dirty == 0 { 0.0 } else { dirty as f64 / (dirty + clean) as f64 }
}

#[cfg(test)]
mod tests;
