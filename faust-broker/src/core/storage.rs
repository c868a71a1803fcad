//! The port behind which batches and changes are kept: in memory here, on disk in `crate::disk`.

use std::{fmt::Debug, io, ops::Range};

use bytes::{Bytes, BytesMut};

use crate::core::batch::{HEADER_LEN, STAMP_LEN};
use crate::core::change::Change;

/// Where a broker keeps what must outlive it. Every write is kept before the call returns.
pub(crate) trait Storage: Send + Debug {
    /// Notes a change of anything that is not a record.
    fn record(&mut self, change: &Change) -> io::Result<()>;
    /// Makes room for a segment that starts at `base_offset`.
    fn create_segment(&mut self, partition: &PartitionId, base_offset: i64) -> io::Result<Box<dyn SegmentData>>;
    /// The segments that an earlier run left, in order of their base offsets.
    fn load_segments(&mut self, partition: &PartitionId) -> io::Result<Vec<StoredSegment>>;
    /// Makes room for a segment that is to take the place of those with these offsets.
    ///
    /// It counts from [`SegmentData::install`] on. Those that it replaces are deleted afterwards; what of them is still
    /// there when an earlier run has come to its end is none of what `load_segments` finds.
    fn rewrite_segment(&mut self, partition: &PartitionId, offsets: Range<i64>) -> io::Result<Box<dyn SegmentData>>;
    /// Drops whatever belongs to the partitions of a deleted topic.
    fn delete_topic(&mut self, topic_id: u128) -> io::Result<()>;
    /// Whether the changes noted so far take much more room than a snapshot would.
    fn wants_snapshot(&self) -> bool;
    /// Replaces all changes noted so far by these.
    fn replace_changes(&mut self, snapshot: &[Change]) -> io::Result<()>;
}

/// Names a partition for ever: a topic that is deleted and created again has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PartitionId {
    pub(crate) topic_id: u128,
    pub(crate) partition: i32,
}

/// A segment that an earlier run left.
#[derive(Debug)]
pub(crate) struct StoredSegment {
    pub(crate) base_offset: i64,
    /// Where it ends, when compaction has written it: its last batches may be gone.
    pub(crate) end_offset: Option<i64>,
    pub(crate) data: Box<dyn SegmentData>,
}

/// The bytes of one segment: batches one after the other.
pub(crate) trait SegmentData: Send + Debug {
    /// How many bytes there are.
    fn len(&self) -> u64;
    /// Adds a batch, given as its first bytes and the others; on an error nothing of it stays.
    fn append(&mut self, stamp: &[u8; STAMP_LEN], rest: &[u8]) -> io::Result<()>;
    /// The header bytes of the batch that starts at `position`.
    fn header(&self, position: u64) -> io::Result<[u8; HEADER_LEN]>;
    /// Whole batches from the one at `position` on: at least one, and no more than `max_bytes` if that is enough for one.
    fn read(&self, position: u64, max_bytes: usize) -> io::Result<Vec<Bytes>>;
    /// Says that nothing more will be appended.
    fn seal(&mut self);
    /// Lets a segment from [`Storage::rewrite_segment`] count: all of it or, after an error or a crash, nothing.
    fn install(&mut self) -> io::Result<()>;
    /// Cuts off everything from `position` on.
    fn truncate(&mut self, position: u64) -> io::Result<()>;
    /// Gives the room back; the segment is dropped right after.
    fn delete(&mut self) -> io::Result<()>;
}

/// Keeps everything in memory, for as long as the broker lives.
#[derive(Debug, Default)]
pub(crate) struct MemoryStorage;

impl Storage for MemoryStorage {
    fn record(&mut self, _change: &Change) -> io::Result<()> {
        Ok(())
    }

    fn create_segment(&mut self, _partition: &PartitionId, _base_offset: i64) -> io::Result<Box<dyn SegmentData>> {
        Ok(Box::new(MemorySegment::default()))
    }

    fn load_segments(&mut self, _partition: &PartitionId) -> io::Result<Vec<StoredSegment>> {
        Ok(Vec::new())
    }

    fn rewrite_segment(&mut self, _: &PartitionId, _: Range<i64>) -> io::Result<Box<dyn SegmentData>> {
        Ok(Box::new(MemorySegment::default()))
    }

    fn delete_topic(&mut self, _topic_id: u128) -> io::Result<()> {
        Ok(())
    }

    fn wants_snapshot(&self) -> bool {
        false
    }

    fn replace_changes(&mut self, _snapshot: &[Change]) -> io::Result<()> {
        Ok(())
    }
}

/// Batches as shared bytes, so that reading copies nothing.
#[derive(Debug, Default)]
struct MemorySegment {
    batches: Vec<(u64, Bytes)>,
    len: u64,
}

impl MemorySegment {
    fn index_of(&self, position: u64) -> io::Result<usize> {
        self.batches
            .binary_search_by_key(&position, |(start, _)| *start)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("no batch starts at position {position}")))
    }
}

impl SegmentData for MemorySegment {
    fn len(&self) -> u64 {
        self.len
    }

    fn append(&mut self, stamp: &[u8; STAMP_LEN], rest: &[u8]) -> io::Result<()> {
        // A copy, because a slice of the request would keep all of the request alive.
        let mut batch = BytesMut::with_capacity(stamp.len() + rest.len());
        batch.extend_from_slice(stamp);
        batch.extend_from_slice(rest);
        let size = batch.len() as u64;
        self.batches.push((self.len, batch.freeze()));
        self.len += size;
        Ok(())
    }

    fn header(&self, position: u64) -> io::Result<[u8; HEADER_LEN]> {
        let (_, batch) = &self.batches[self.index_of(position)?];
        batch.first_chunk().copied().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn read(&self, position: u64, max_bytes: usize) -> io::Result<Vec<Bytes>> {
        let mut room = max_bytes;
        let mut read = Vec::new();
        for (_, batch) in &self.batches[self.index_of(position)?..] {
            if !read.is_empty() && batch.len() > room {
                break;
            }
            room = room.saturating_sub(batch.len());
            read.push(batch.clone());
        }
        Ok(read)
    }

    fn seal(&mut self) {
        self.batches.shrink_to_fit();
    }

    fn install(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, position: u64) -> io::Result<()> {
        self.batches.retain(|(start, _)| *start < position);
        self.len = position;
        Ok(())
    }

    fn delete(&mut self) -> io::Result<()> {
        self.truncate(0)
    }
}
