//! A scan of a segment of an earlier run for whole batches and the damaged parts between them.
//!
//! The checksum of a batch covers neither its offset nor its length. Both follow from the batches around it: in a segment
//! without gaps the next batch begins where the last one ends, in bytes and in offsets.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::core::LEADER_EPOCH;
use crate::core::batch::{HEADER_LEN, Header, checksum_holds};
use crate::core::storage::SegmentData;

/// Number of bytes per read.
const CHUNK: usize = 1024 * 1024;
/// Number of bytes per read if only headers are wanted. Of batches that are larger, the header is read alone; of smaller ones,
/// a disk reads all faster than one here and there.
const HEADERS: usize = 64 * 1024;
/// Places of fields in a batch header: leader epoch, magic byte and checksum. The checksum covers all bytes after it.
const EPOCH: Range<usize> = 12..16;
const MAGIC_AT: usize = 16;
const CRC: Range<usize> = 17..21;
const MAGIC: u8 = 2;

/// The offsets that a segment may have.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// From the first offset to the start of the next segment, or to `i64::MAX` if there is none.
    pub(crate) offsets: Range<i64>,
    /// True if offsets may be missing between two batches.
    pub(crate) has_gaps: bool,
}

/// The result of a scan.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The positions of whole batches; neighbours are merged.
    pub(crate) whole: Vec<Range<u64>>,
    pub(crate) damaged: Vec<Damage>,
    /// The offset after the last batch, and after the damaged one that follows it if its offsets are known.
    pub(crate) end_offset: i64,
}

/// A damaged part of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) positions: Range<u64>,
    /// The offsets that are lost with it.
    pub(crate) offsets: Range<i64>,
    /// True if records at later offsets may be lost as well: nothing shows where the log has ended.
    pub(crate) is_open: bool,
    pub(crate) cause: Cause,
}

/// The reason why bytes are not a batch of the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cause {
    #[error("the batch is incomplete")]
    Incomplete,
    #[error("there is no batch header")]
    Header,
    #[error("the batch has unexpected offsets")]
    Offsets,
    #[error("the batch does not match its checksum")]
    Checksum,
}

/// A walk through a segment that is expected to be whole.
#[derive(Debug)]
pub(crate) struct BatchWalk {
    scan: Scan,
    /// The checksums of batches that end behind this offset are verified.
    trusted: i64,
    position: u64,
    expected: i64,
    /// The size of the last batch.
    last_size: usize,
}

/// The next step of a [`BatchWalk`].
#[derive(Debug)]
pub(crate) enum WalkStep {
    /// A batch and its position.
    Batch(Header, u64),
    /// The end of the segment: all of it is whole.
    End,
    /// Something else than the next batch of the segment.
    Damage,
}

impl BatchWalk {
    /// Begins a walk. Of the batches before the offset `trusted`, only the headers are read.
    pub(crate) fn new(bounds: Bounds, trusted: i64) -> Self {
        let expected = bounds.offsets.start;
        Self { scan: Scan::new(bounds), trusted, position: 0, expected, last_size: 0 }
    }

    pub(crate) fn next(&mut self, data: &dyn SegmentData) -> io::Result<WalkStep> {
        let position = self.position;
        if position >= data.len() {
            return Ok(WalkStep::End);
        }
        self.scan.chunk = match self.last_size {
            _ if self.expected >= self.trusted => CHUNK,
            0..HEADERS => HEADERS,
            HEADERS.. => HEADER_LEN,
        };
        let head = self.scan.head(data, position)?;
        let found = self.scan.plausible(data, position, head).ok();
        let Some(header) = found.filter(|header| self.scan.bounds.follows(self.expected, header)) else {
            return Ok(WalkStep::Damage);
        };
        if header.last_offset() >= self.trusted && !self.scan.checksum_holds(data, position, header.size)? {
            return Ok(WalkStep::Damage);
        }
        self.expected = header.last_offset() + 1;
        self.position += header.size as u64;
        self.last_size = header.size;
        Ok(WalkStep::Batch(header, position))
    }
}

/// Returns true if a whole batch has the leader epoch and the checksum that the broker has written.
pub(crate) fn is_intact(batch: &[u8]) -> bool {
    batch.get(EPOCH) == Some(&LEADER_EPOCH.to_be_bytes()) && checksum_holds(batch)
}

/// Finds all whole batches, also behind damaged parts.
pub(crate) fn search(data: &dyn SegmentData, bounds: Bounds) -> io::Result<Findings> {
    let mut findings = Findings { end_offset: bounds.offsets.start, ..Findings::default() };
    let mut scan = Scan::new(bounds);
    let mut position = 0;
    while position < data.len() {
        let follows_damage = findings.damaged.last().is_some_and(|damage| damage.positions.end == position);
        match scan.accept(data, position, findings.end_offset, follows_damage)? {
            Ok(header) => {
                let end = position + header.size as u64;
                match findings.whole.last_mut().filter(|whole| whole.end == position) {
                    Some(whole) => whole.end = end,
                    None => findings.whole.push(position..end),
                }
                if follows_damage && let Some(damage) = findings.damaged.last_mut() {
                    (damage.offsets.end, damage.is_open) = (header.base_offset, false);
                }
                findings.end_offset = header.last_offset() + 1;
                position = end;
            }
            Err(cause) => {
                let end = scan.next_batch(data, position, findings.end_offset)?;
                let (lost_until, is_open) = scan.lost_until(data, position..end, findings.end_offset, cause)?;
                let offsets = findings.end_offset..lost_until;
                findings.damaged.push(Damage { positions: position..end, offsets, is_open, cause });
                position = end;
            }
        }
    }
    if let Some(damage) = findings.damaged.last().filter(|damage| damage.positions.end == data.len()) {
        findings.end_offset = damage.offsets.end;
    }
    Ok(findings)
}

/// The rules by which batches of a segment are recognized, and a window of its bytes.
#[derive(Debug)]
struct Scan {
    bounds: Bounds,
    /// Number of bytes per read.
    chunk: usize,
    window: Bytes,
    window_start: u64,
}

impl Scan {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, chunk: CHUNK, window: Bytes::new(), window_start: 0 }
    }

    /// Returns bytes from `position`: at least `len`, which is at most the size of a read, unless the segment ends before.
    fn bytes(&mut self, data: &dyn SegmentData, position: u64, len: usize) -> io::Result<&[u8]> {
        let end = position.saturating_add(len as u64).min(data.len());
        if position < self.window_start || end > self.window_start + self.window.len() as u64 {
            self.window = data.raw(position, self.chunk)?;
            self.window_start = position;
        }
        let skipped = usize::try_from(position - self.window_start).unwrap_or(usize::MAX);
        Ok(self.window.get(skipped..).unwrap_or_default())
    }

    fn head(&mut self, data: &dyn SegmentData, position: u64) -> io::Result<Option<[u8; HEADER_LEN]>> {
        Ok(self.bytes(data, position, HEADER_LEN)?.first_chunk().copied())
    }

    /// Reads the batch at `position`. Its offsets are within the bounds, and its checksum is right.
    fn batch(&mut self, data: &dyn SegmentData, position: u64) -> io::Result<Result<Header, Cause>> {
        let head = self.head(data, position)?;
        let header = match self.plausible(data, position, head) {
            Ok(header) => header,
            Err(cause) => return Ok(Err(cause)),
        };
        let holds = self.checksum_holds(data, position, header.size)?;
        Ok(if holds { Ok(header) } else { Err(Cause::Checksum) })
    }

    /// Reads a header, whose batch must end within the segment and its bounds.
    fn plausible(
        &self,
        data: &dyn SegmentData,
        position: u64,
        head: Option<[u8; HEADER_LEN]>,
    ) -> Result<Header, Cause> {
        let head = head.ok_or(Cause::Incomplete)?;
        let has_epoch = head[EPOCH] == LEADER_EPOCH.to_be_bytes();
        let header = Header::read(&head).filter(|_| has_epoch).ok_or(Cause::Header)?;
        if header.size as u64 > data.len() - position {
            return Err(Cause::Incomplete);
        }
        let is_inside = header.base_offset >= self.bounds.offsets.start
            && header.last_offset_delta >= 0
            && header.last_offset() < self.bounds.offsets.end;
        if is_inside { Ok(header) } else { Err(Cause::Offsets) }
    }

    fn checksum_holds(&mut self, data: &dyn SegmentData, position: u64, size: usize) -> io::Result<bool> {
        let end = position + size as u64;
        let stored = self.bytes(data, position, HEADER_LEN)?.get(CRC).map(<[u8]>::to_vec);
        let (mut at, mut crc) = (position + CRC.end as u64, 0);
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
            let bytes = self.bytes(data, at, 1)?;
            let bytes = &bytes[..bytes.len().min(wanted)];
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            crc = crc32c::crc32c_append(crc, bytes);
            at += bytes.len() as u64;
        }
        Ok(stored.is_some_and(|stored| stored == crc.to_be_bytes()))
    }

    /// Reads the batch at `position` if it is the next one of the segment, whose offsets up to `expected` are known.
    fn accept(
        &mut self,
        data: &dyn SegmentData,
        position: u64,
        expected: i64,
        follows_damage: bool,
    ) -> io::Result<Result<Header, Cause>> {
        let header = match self.batch(data, position)? {
            Ok(header) if header.base_offset >= expected => header,
            Ok(_) => return Ok(Err(Cause::Offsets)),
            Err(cause) => return Ok(Err(cause)),
        };
        if !self.bounds.has_gaps && !follows_damage {
            return Ok(if header.base_offset == expected { Ok(header) } else { Err(Cause::Offsets) });
        }
        // The offset may be damaged. Of two batches that contradict each other, the one is right that begins after the
        // last whole batch.
        let next = position + header.size as u64;
        let next = if next < data.len() { self.batch(data, next)?.ok() } else { None };
        let contradicts =
            |next: Header| next.base_offset >= expected && !self.bounds.follows(header.last_offset() + 1, &next);
        Ok(if next.is_some_and(contradicts) { Err(Cause::Offsets) } else { Ok(header) })
    }

    /// Returns the position of the first batch behind the damage at `position`, or the end of the segment.
    fn next_batch(&mut self, data: &dyn SegmentData, position: u64, expected: i64) -> io::Result<u64> {
        let head = self.head(data, position)?;
        if let Some(size) = head.and_then(|head| Header::read(&head)).map(|header| header.size as u64) {
            // Usually the length is not damaged. Then the batch is skipped without a look at its records, because the
            // value of a record may contain a batch.
            let next = position + size;
            if next == data.len() || (next < data.len() && self.accept(data, next, expected, true)?.is_ok()) {
                return Ok(next);
            }
        }
        for position in position + 1..data.len() {
            if self.bytes(data, position, HEADER_LEN)?.get(MAGIC_AT) == Some(&MAGIC)
                && let Ok(header) = self.accept(data, position, expected, true)?
                && self.leads_on(data, position, &header)?
            {
                return Ok(position);
            }
        }
        Ok(data.len())
    }

    /// Returns true if the batches from `header` on lead to the end of the segment, or to something that looks like the
    /// next batch and is damaged. The value of a damaged record may contain batches, but these lead into the damage.
    fn leads_on(&mut self, data: &dyn SegmentData, position: u64, header: &Header) -> io::Result<bool> {
        let (mut next, mut expected) = (position + header.size as u64, header.last_offset() + 1);
        loop {
            let Some(head) = self.head(data, next)? else { return Ok(true) };
            let Ok(header) = self.accept(data, next, expected, false)? else {
                return Ok(Header::read(&head).is_some_and(|next| self.bounds.follows(expected, &next)));
            };
            next += header.size as u64;
            expected = header.last_offset() + 1;
        }
    }

    /// Returns the offset up to which records are lost if no batch follows the damage at these positions, and whether later
    /// ones may be lost as well.
    fn lost_until(
        &mut self,
        data: &dyn SegmentData,
        positions: Range<u64>,
        expected: i64,
        cause: Cause,
    ) -> io::Result<(i64, bool)> {
        let known = self.bounds.offsets.end;
        if known < i64::MAX {
            return Ok((known, false));
        }
        let head = self.head(data, positions.start)?;
        // IMPORTANT: the offsets of an incomplete batch are used again. Its write was interrupted, so it was never
        // acknowledged.
        let header = head
            .and_then(|head| Header::read(&head))
            .filter(|header| cause == Cause::Checksum && header.base_offset == expected && header.has_all_records());
        let is_more = |header: &Header| positions.start + (header.size as u64) < positions.end;
        Ok(header.map_or((expected, true), |header| (header.last_offset() + 1, is_more(&header))))
    }
}

impl Bounds {
    /// Returns true if the batch may come next in a segment whose offsets up to `expected` are known.
    fn follows(&self, expected: i64, header: &Header) -> bool {
        header.base_offset == expected || (self.has_gaps && header.base_offset > expected)
    }
}
