//! A run of batches of one partition, with a sparse index from offset to position.

use std::io;

use bytes::Bytes;

use crate::core::batch::{self, Batch, Header};
use crate::core::storage::{SegmentData, StoredSegment};

/// Bytes between two entries of the index: memory against the batches that a lookup walks over.
const INDEX_INTERVAL: u64 = 8 * 1024;

/// Bytes read at a time when all of a segment is looked at.
const CHUNK: usize = 1024 * 1024;

/// Batches from `base_offset` on.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    /// The offset after the last record it has or had.
    pub(crate) end_offset: i64,
    /// The highest time of any record, or -1 without one.
    pub(crate) max_timestamp: i64,
    /// The highest time in the first batch.
    pub(crate) first_timestamp: Option<i64>,
    /// When the first tombstones may go.
    pub(crate) delete_horizon_ms: Option<i64>,
    /// When the first batch was written, as far as this run knows.
    pub(crate) begun_ms: Option<i64>,
    state: State,
    /// Ascending; the first entry is the first batch.
    index: Vec<Entry>,
    data: Box<dyn SegmentData>,
}

/// What may still happen to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Batches are added, without gaps.
    Growing,
    /// Nothing more is added.
    Sealed,
    /// Written by compaction in place of what was there: it has gaps, and its end is known from elsewhere.
    Rewritten,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: i64,
    position: u64,
    /// The highest time of any record before it, so that a search by time can start here.
    max_timestamp_before: i64,
}

impl Segment {
    pub(crate) fn new(base_offset: i64, data: Box<dyn SegmentData>) -> Self {
        Self {
            base_offset,
            end_offset: base_offset,
            max_timestamp: -1,
            first_timestamp: None,
            delete_horizon_ms: None,
            begun_ms: None,
            state: State::Growing,
            index: Vec::new(),
            data,
        }
    }

    /// Rebuilds the index of a segment that an earlier run left, telling `seen` of each batch.
    ///
    /// What follows the last whole batch is cut off: the write that a crash tore was never acknowledged. Checksums are
    /// verified only in the last segment, the only one that can be torn.
    pub(crate) fn recover(stored: StoredSegment, is_last: bool, mut seen: impl FnMut(&Header)) -> io::Result<Self> {
        let StoredSegment { base_offset, end_offset, data } = stored;
        let mut segment = Self::new(base_offset, data);
        if end_offset.is_some() {
            segment.state = State::Rewritten;
        }
        let is_last = is_last && end_offset.is_none();
        let mut position = 0;
        while position < segment.data.len() {
            match segment.whole_batch_at(position, is_last)? {
                Some(header) => {
                    seen(&header);
                    segment.note(&header, position);
                    position += header.size as u64;
                }
                None if is_last => {
                    let bytes = segment.data.len() - position;
                    tracing::warn!(base_offset, position, bytes, "cut off the torn end of a segment");
                    segment.data.truncate(position)?;
                }
                None => {
                    let text =
                        format!("segment {base_offset} is damaged at position {position}; restore it from a copy");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
            }
        }
        segment.end_offset = end_offset.unwrap_or(segment.end_offset);
        if !is_last {
            segment.seal();
        }
        Ok(segment)
    }

    fn whole_batch_at(&self, position: u64, verify: bool) -> io::Result<Option<Header>> {
        let left = self.data.len() - position;
        if left < batch::HEADER_LEN as u64 {
            return Ok(None);
        }
        let is_next = |header: &Header| match self.state {
            State::Rewritten => header.base_offset >= self.end_offset,
            State::Growing | State::Sealed => header.base_offset == self.end_offset,
        };
        let header =
            Header::read(&self.data.header(position)?).filter(|header| header.size as u64 <= left && is_next(header));
        match header {
            Some(header) if verify => {
                let whole = self.data.read(position, header.size)?;
                Ok(whole.first().is_some_and(|bytes| batch::checksum_holds(bytes)).then_some(header))
            }
            other => Ok(other),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.data.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Adds a batch behind the last one; its records get offsets from `end_offset` on.
    pub(crate) fn append(&mut self, batch: &Batch, leader_epoch: i32) -> io::Result<()> {
        let position = self.data.len();
        let (stamp, rest) = batch.stamped(self.end_offset, leader_epoch);
        self.data.append(&stamp, rest)?;
        self.note(&Header { base_offset: self.end_offset, ..*batch.header() }, position);
        Ok(())
    }

    /// Adds a batch with the offsets it has, behind a gap if need be.
    pub(crate) fn append_stored(&mut self, header: &Header, bytes: &[u8]) -> io::Result<()> {
        let position = self.data.len();
        let short = || io::Error::new(io::ErrorKind::InvalidData, "a batch is shorter than its header");
        let (stamp, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        self.data.append(stamp, rest)?;
        self.note(header, position);
        Ok(())
    }

    fn note(&mut self, header: &Header, position: u64) {
        if self.index.last().is_none_or(|last| position - last.position >= INDEX_INTERVAL) {
            let max_timestamp_before = self.max_timestamp;
            self.index.push(Entry { offset: header.base_offset, position, max_timestamp_before });
        }
        self.end_offset = header.last_offset() + 1;
        if header.record_count > 0 {
            self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
            self.first_timestamp.get_or_insert(header.max_timestamp);
        }
        if let Some(horizon_ms) = header.delete_horizon_ms() {
            self.delete_horizon_ms = Some(self.delete_horizon_ms.map_or(horizon_ms, |first| first.min(horizon_ms)));
        }
    }

    /// Whole batches from the first one on that has records and ends at `offset` or later; see [`SegmentData::read`]
    /// for the size.
    pub(crate) fn read(&self, offset: i64, max_bytes: usize) -> io::Result<Vec<Bytes>> {
        let wanted = |header: &Header| header.last_offset() >= offset && header.record_count > 0;
        match self.find(self.entry_before(offset), wanted)? {
            Some((position, _)) => self.data.read(position, max_bytes),
            None => Ok(Vec::new()),
        }
    }

    /// The first batch that may hold a record of `time_ms` or later, at `from` or later.
    pub(crate) fn batch_since(&self, time_ms: i64, from: i64) -> io::Result<Option<(Header, Bytes)>> {
        let earlier = self.index.partition_point(|entry| entry.max_timestamp_before < time_ms);
        let start = self.position_before(earlier).max(self.entry_before(from));
        let wanted = |header: &Header| header.max_timestamp >= time_ms && header.last_offset() >= from;
        let Some((position, header)) = self.find(start, wanted)? else { return Ok(None) };
        let bytes = self.data.read(position, header.size)?.into_iter().next();
        Ok(bytes.map(|bytes| (header, bytes.slice(..header.size))))
    }

    /// Hands over the batches from the one that holds `offset` on, until there is an error or `false`.
    pub(crate) fn each_batch(
        &self,
        offset: i64,
        mut each: impl FnMut(&Header, &[u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        let Some((mut position, _)) = self.find(self.entry_before(offset), |header| header.last_offset() >= offset)?
        else {
            return Ok(());
        };
        while position < self.data.len() {
            for chunk in self.data.read(position, CHUNK)? {
                let mut rest = &chunk[..];
                while let Some(header) = Header::read(rest).filter(|header| header.size <= rest.len()) {
                    let (batch, after) = rest.split_at(header.size);
                    if !each(&header, batch)? {
                        return Ok(());
                    }
                    rest = after;
                    position += header.size as u64;
                }
                if !rest.is_empty() || chunk.is_empty() {
                    let text = format!("no whole batch at position {position}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
            }
        }
        Ok(())
    }

    fn entry_before(&self, offset: i64) -> u64 {
        self.position_before(self.index.partition_point(|entry| entry.offset <= offset))
    }

    /// Where the entry before the one numbered `at` points to; the start if there is none.
    fn position_before(&self, at: usize) -> u64 {
        at.checked_sub(1).map_or(0, |at| self.index[at].position)
    }

    fn find(&self, from: u64, wanted: impl Fn(&Header) -> bool) -> io::Result<Option<(u64, Header)>> {
        let mut position = from;
        while position < self.data.len() {
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("no batch at position {position}"));
            let header = Header::read(&self.data.header(position)?).ok_or_else(damaged)?;
            if wanted(&header) {
                return Ok(Some((position, header)));
            }
            position += header.size as u64;
        }
        Ok(None)
    }

    /// Says that nothing more will be appended.
    pub(crate) fn seal(&mut self) {
        if self.state == State::Growing {
            self.state = State::Sealed;
        }
        self.index.shrink_to_fit();
        self.data.seal();
    }

    /// Whether nothing more will be appended.
    pub(crate) fn is_sealed(&self) -> bool {
        self.state != State::Growing
    }

    /// Lets a segment that compaction has written count, in the place of all records before `end_offset`.
    pub(crate) fn install(&mut self, end_offset: i64) -> io::Result<()> {
        self.data.install()?;
        self.state = State::Rewritten;
        self.end_offset = end_offset;
        self.seal();
        Ok(())
    }

    /// Whether compaction has written it for exactly these offsets.
    pub(crate) fn is_rewritten_as(&self, base_offset: i64, end_offset: i64) -> bool {
        self.state == State::Rewritten && self.base_offset == base_offset && self.end_offset == end_offset
    }

    pub(crate) fn delete(mut self) -> io::Result<()> {
        self.data.delete()
    }
}
