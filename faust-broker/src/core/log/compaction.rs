//! Compaction of a log: when it is due, which part of the log it covers, and its execution in steps.
//!
//! A pass has two phases, as in Kafka. First the dirty part is read and the last offset of each key is collected. Then
//! the whole log up to that point is rewritten, some segments at a time, without the records superseded by a later
//! one. A pass can be abandoned at any point: the part that it has not marked clean is processed again by the next one.

use std::io;

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
    has_hidden: bool,
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
    /// Continues a pass, or starts one if it is due. One step takes about as long as reading one segment.
    pub(crate) fn compact_step(
        &mut self,
        config: &TopicConfig,
        memory: usize,
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
            None if self.wants_compaction(compaction, now_ms) => self.begin(compaction, memory, now_ms),
            None => return Ok(Step::Idle),
        };
        self.go_on(pass, compaction, config.segment_bytes, now_ms, storage)
    }

    /// Compacts everything that may be compacted at `now_ms`, including the active segment.
    pub(crate) fn compact_all(
        &mut self,
        config: &TopicConfig,
        compaction: &CompactionConfig,
        memory: usize,
        now_ms: i64,
        storage: &mut dyn LogStorage,
    ) -> io::Result<()> {
        self.roll(storage)?;
        let until = self.cleanable_end(compaction, now_ms);
        loop {
            let mut pass = self.begin(compaction, memory, now_ms);
            let clean = loop {
                match self.go_on(pass, compaction, config.segment_bytes, now_ms, storage)? {
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

    /// Returns the end offset of the part that may be compacted. It ends at the active segment, or at the first segment
    /// with a record younger than `min.compaction.lag.ms`.
    fn cleanable_end(&self, config: &CompactionConfig, now_ms: i64) -> i64 {
        let young_ms = now_ms.saturating_sub(config.min_lag_ms);
        let mut until = self.start;
        for segment in self.sealed() {
            if config.min_lag_ms > 0 && segment.max_timestamp > young_ms {
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
        Pass { keys: Keys::new(memory), mapped, until, swept: first, has_hidden: false }
    }

    fn go_on(
        &mut self,
        mut pass: Pass,
        config: &CompactionConfig,
        segment_bytes: u64,
        now_ms: i64,
        storage: &mut dyn LogStorage,
    ) -> io::Result<Step> {
        if pass.mapped < pass.until && !pass.keys.is_full() {
            self.map_keys(&mut pass)?;
        } else if self
            .segments
            .iter()
            .any(|segment| segment.base_offset >= pass.swept && segment.base_offset < pass.mapped)
        {
            self.sweep_group(&mut pass, config, segment_bytes, now_ms, storage)?;
        } else {
            self.clean = self.clean.max(pass.mapped);
            return Ok(Step::Clean(self.clean));
        }
        self.pass = Some(pass);
        Ok(Step::Working)
    }

    /// Collects the keys of the next segment, or of the part of it that fits into memory.
    fn map_keys(&self, pass: &mut Pass) -> io::Result<()> {
        let at = self.segments.partition_point(|segment| segment.end_offset <= pass.mapped);
        let Some(segment) = self.segments.get(at) else {
            pass.mapped = pass.until;
            return Ok(());
        };
        segment.each_batch(pass.mapped, |header, bytes| {
            // The keys of a batch that cannot be read supersede nothing: the batch may be damaged.
            if let Some(body) = raw::readable(header, bytes) {
                for record in raw::records(header, &body).map_while(Result::ok) {
                    if let Some(key) = record.key {
                        pass.keys.note(key, record.offset);
                    }
                }
            }
            pass.mapped = header.last_offset() + 1;
            Ok(!pass.keys.is_full())
        })?;
        if !pass.keys.is_full() {
            pass.mapped = segment.end_offset;
        }
        Ok(())
    }

    /// Rewrites the next segments, as many as fit into one.
    fn sweep_group(
        &mut self,
        pass: &mut Pass,
        config: &CompactionConfig,
        segment_bytes: u64,
        now_ms: i64,
        storage: &mut dyn LogStorage,
    ) -> io::Result<()> {
        let at = self.segments.partition_point(|segment| segment.base_offset < pass.swept);
        let group = at..at + self.group_len(at, pass.mapped, segment_bytes);
        let (base, end) = (self.segments[group.start].base_offset, self.segments[group.end - 1].end_offset);
        let mut new = Segment::new(base, storage.rewrite_segment(&self.id, base..end)?);
        let mut sweep = Sweep {
            config,
            keys: &pass.keys,
            producers: &self.producers,
            start: self.start,
            target: pass.mapped,
            last: self.end - 1,
            now_ms,
            has_hidden: pass.has_hidden,
            has_changed: group.len() > 1,
        };
        let copied = self.segments.range(group.clone()).try_for_each(|old| sweep.copy(old, &mut new));
        let (has_hidden, has_changed) = (sweep.has_hidden, sweep.has_changed);
        match copied {
            Ok(()) if has_changed => self.replace(group, new, end)?,
            Ok(()) => new.delete()?,
            Err(error) => {
                // If this fails, the rest is deleted at the next start.
                drop(new.delete());
                return Err(error);
            }
        }
        pass.has_hidden = has_hidden;
        pass.swept = end;
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

    fn replace(&mut self, group: std::ops::Range<usize>, mut new: Segment, end: i64) -> io::Result<()> {
        new.install(end)?;
        let base = new.base_offset;
        let old: Vec<Segment> = self.segments.drain(group.clone()).collect();
        self.segments.insert(group.start, new);
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
