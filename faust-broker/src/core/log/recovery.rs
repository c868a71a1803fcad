//! Recovery of a log from the segments of an earlier run, and the repair of those that are damaged.
//!
//! A repair keeps every whole batch at its offset, and copies the damaged bytes to a place of their own before it changes
//! anything. The offsets of lost records become a gap, as after compaction, and are not used again: a group's offsets
//! never point to other records than before. Only the offsets of an incomplete batch at the end of the log are, as in Kafka:
//! its write was interrupted.

use std::io;
use std::ops::Range;

use crate::core::batch::Header;
use crate::core::log::{Log, Marks};
use crate::core::scan::{self, Cause, Damage};
use crate::core::segment::{Recovered, Segment};
use crate::core::storage::{LogStorage, PartitionId, SegmentData, StoredLog, StoredSegment};

/// Number of bytes per read when batches are copied.
const CHUNK: usize = 1024 * 1024;

/// A recovered log.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) log: Log,
    /// The checksums of the batches before this offset have not been verified, because they had been synced.
    pub(crate) trusted: i64,
}

/// The occasion of a recovery.
#[derive(Debug, Clone, Copy)]
enum Occasion {
    /// The start of the broker.
    Start,
    /// The segment with this offset has been found damaged. The log ends at `end`.
    Damage { offset: i64, end: i64 },
}

impl Log {
    /// Recovers the log of an earlier run from `storage`, and repairs it if it is damaged. `topic` is its topic's name.
    pub(crate) fn recover(
        topic: &str,
        id: PartitionId,
        marks: Marks,
        storage: &mut dyn LogStorage,
    ) -> io::Result<Recovery> {
        Self::recover_on(Occasion::Start, topic, id, marks, storage)
    }

    /// Repairs the segment with this offset, whose checksums do not hold.
    pub(crate) fn repair(&mut self, topic: &str, offset: i64, storage: &mut dyn LogStorage) -> io::Result<()> {
        self.abandon_compaction();
        let occasion = Occasion::Damage { offset, end: self.end };
        let marks = Marks { start: self.start, clean: self.clean };
        *self = Self::recover_on(occasion, topic, self.id, marks, storage)?.log;
        Ok(())
    }

    fn recover_on(
        occasion: Occasion,
        topic: &str,
        id: PartitionId,
        marks: Marks,
        storage: &mut dyn LogStorage,
    ) -> io::Result<Recovery> {
        if let Some(recovery) = Self::load(occasion, topic, id, marks, storage)? {
            return Ok(recovery);
        }
        // Some segments have been repaired; now they are whole.
        let text = || format!("partition {} of topic {topic} is damaged and could not be repaired", id.partition);
        let repaired = Self::load(occasion, topic, id, marks, storage)?;
        let mut recovery = repaired.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text()))?;
        recovery.log.producers.expect_gaps();
        Ok(recovery)
    }

    /// Loads the log. Returns `None` if a segment was damaged; then it has been repaired.
    fn load(
        occasion: Occasion,
        topic: &str,
        id: PartitionId,
        marks: Marks,
        storage: &mut dyn LogStorage,
    ) -> io::Result<Option<Recovery>> {
        let mut log = Self::new(id);
        let StoredLog { segments, synced } = storage.load_segments(&id)?;
        let known_end = if let Occasion::Damage { end, .. } = occasion { end } else { synced };
        let mut found = segments.into_iter().peekable();
        let mut is_whole = true;
        while let Some(stored) = found.next() {
            let next = found.peek().map(|next| next.base_offset);
            let trusted = match occasion {
                Occasion::Start => stored.synced,
                Occasion::Damage { offset, .. } if stored.bounds(next).offsets.contains(&offset) => i64::MIN,
                Occasion::Damage { .. } => i64::MAX,
            };
            let reach = next.unwrap_or(known_end);
            let seen = |header: &Header| {
                log.producers.note(header);
                storage.has_read(header.size as u64);
            };
            match Segment::recover(stored, next, reach, trusted, seen)? {
                Recovered::Whole(mut segment) => {
                    log.replay(segment.transactions());
                    if segment.is_sealed() {
                        segment.summarize(&log.producers);
                    }
                    log.segments.push_back(segment);
                }
                Recovered::Damaged(stored) => {
                    is_whole = false;
                    Repair { topic, id, storage: &mut *storage }.run(stored, next, reach)?;
                }
            }
        }
        if !is_whole {
            return Ok(None);
        }
        if log.segments.is_empty() && known_end > marks.start {
            log.segments.push_back(Segment::new(known_end, storage.create_segment(&id, known_end)?));
        }
        log.end = log.segments.back().map_or(marks.start, |segment| segment.end_offset).max(marks.start);
        log.start = log.segments.front().map_or(marks.start, |segment| segment.base_offset).max(marks.start);
        log.clean = marks.clean.min(log.end);
        log.transactions.forget_before(log.start);
        if log.start > marks.start {
            let (partition, first_offset, next_offset) = (id.partition, marks.start, log.start);
            tracing::warn!(
                topic,
                partition,
                first_offset,
                next_offset,
                "the first records of a partition are not there: either they were deleted just before a crash, or files were \
                 removed"
            );
        }
        // The process may have crashed after the deletion of segments was recorded and before they were deleted.
        log.drop_segments(storage)?;
        let trusted = synced.min(log.end);
        Ok(Some(Recovery { log, trusted }))
    }
}

/// The repair of a segment.
#[derive(Debug)]
struct Repair<'a> {
    topic: &'a str,
    id: PartitionId,
    storage: &'a mut dyn LogStorage,
}

impl Repair<'_> {
    /// Repairs a segment, which must reach the offset `reach`. A crash at any point leaves a segment that the next start
    /// repairs.
    fn run(&mut self, stored: StoredSegment, next: Option<i64>, reach: i64) -> io::Result<()> {
        let bounds = stored.bounds(next);
        let StoredSegment { base_offset, end_offset: named_end, mut data, .. } = stored;
        let findings = scan::search(data.as_ref(), bounds)?;
        for damage in &findings.damaged {
            let kept_as = data.set_aside(damage.positions.clone())?;
            self.report(data.as_ref(), damage, &kept_as);
        }
        let tail = findings.damaged.last().filter(|damage| damage.positions.end == data.len());
        let whole_end = tail.map_or(findings.end_offset, |tail| tail.offsets.start);
        let covered = named_end.unwrap_or(i64::MIN).max(findings.end_offset);
        if covered < reach {
            report_missing(self.topic, self.id, &(covered..reach));
        }
        let end = covered.max(reach);
        let [first, more @ ..] = findings.whole.as_slice() else {
            return self.shorten(data.as_mut(), 0, (end > whole_end).then_some(base_offset..end));
        };
        if first.start == 0 && more.is_empty() {
            let has_gap = end > whole_end || named_end.is_some();
            return self.shorten(data.as_mut(), first.end, has_gap.then_some(base_offset..end));
        }
        self.rewrite(data, &findings.whole, base_offset..end, named_end == Some(end))
    }

    /// Removes the bytes from `position` on, and names the segment after the offsets that it covers.
    fn shorten(&self, data: &mut dyn SegmentData, position: u64, covers: Option<Range<i64>>) -> io::Result<()> {
        if position < data.len() {
            data.truncate(position)?;
        }
        covers.map_or(Ok(()), |offsets| data.cover(offsets))
    }

    /// Copies the whole batches to a new segment, which takes the place of the damaged one.
    fn rewrite(
        &mut self,
        mut data: Box<dyn SegmentData>,
        whole: &[Range<u64>],
        offsets: Range<i64>,
        is_replaced: bool,
    ) -> io::Result<()> {
        let mut new = Segment::new(offsets.start, self.storage.rewrite_segment(&self.id, offsets.clone())?);
        for part in whole {
            copy(data.as_ref(), part, &mut new)?;
        }
        new.install(offsets.end)?;
        if is_replaced { Ok(()) } else { data.delete() }
    }

    fn report(&self, data: &dyn SegmentData, damage: &Damage, kept_as: &str) {
        let (topic, partition, file) = (self.topic, self.id.partition, data.name());
        let Range { start: position, end } = damage.positions;
        let (bytes, cause) = (end - position, damage.cause);
        let Range { start: first_offset, end: next_offset } = damage.offsets;
        if damage.is_open && cause == Cause::Incomplete {
            tracing::warn!(
                topic,
                partition,
                file,
                position,
                bytes,
                from_offset = first_offset,
                kept_as,
                "removed a write that was interrupted: the batch at the end of a segment is incomplete"
            );
        } else if damage.is_open {
            tracing::error!(
                topic, partition, file, position, bytes, from_offset = first_offset, %cause, kept_as,
                "the end of a log is damaged: the records from this offset on are lost, and all others are kept; restore \
                 the topic from a backup, or have its producers send them again"
            );
        } else {
            tracing::error!(
                topic, partition, file, position, bytes, first_offset, next_offset, %cause, kept_as,
                "a segment is damaged: the records at these offsets are lost, and all others are kept; restore the topic \
                 from a backup, or have its producers send them again"
            );
        }
    }
}

fn report_missing(topic: &str, id: PartitionId, offsets: &Range<i64>) {
    let (partition, first_offset, next_offset) = (id.partition, offsets.start, offsets.end);
    tracing::error!(
        topic,
        partition,
        first_offset,
        next_offset,
        "records are missing: a segment was cut short or removed; restore the topic from a backup, or have its producers \
         send them again"
    );
}

/// Copies the batches in `part`, all of which are whole.
fn copy(data: &dyn SegmentData, part: &Range<u64>, new: &mut Segment) -> io::Result<()> {
    let mut position = part.start;
    while position < part.end {
        let before = position;
        for bytes in data.read(position, CHUNK)? {
            let mut rest = &bytes[..];
            while position < part.end
                && let Some(header) = Header::read(rest).filter(|header| header.size <= rest.len())
            {
                let (batch, after) = rest.split_at(header.size);
                new.append_stored(&header, batch)?;
                position += header.size as u64;
                rest = after;
            }
        }
        if position == before {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
