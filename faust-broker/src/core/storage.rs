//! The storage interface for batches and changes: in memory here, on disk in `crate::disk`.

use std::fmt::Debug;
use std::io;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::core::batch::{HEADER_LEN, STAMP_LEN};
use crate::core::change::Change;
use crate::core::scan::Bounds;
use crate::core::summary::Summary;

/// Storage of a broker's batches and changes. Every write is stored before the call returns: it survives the end of the
/// process. Only what has been synced survives a power failure.
pub(crate) trait LogStorage: Send + Debug {
    /// Records a change of the state other than records.
    fn record(&mut self, change: &Change) -> io::Result<()>;
    /// Creates a segment that starts at `base_offset`.
    fn create_segment(&mut self, partition: &PartitionId, base_offset: i64) -> io::Result<Box<dyn SegmentData>>;
    /// Loads the segments of an earlier run.
    fn load_segments(&mut self, partition: &PartitionId) -> io::Result<StoredLog>;
    /// Reports that so many bytes of an earlier run have been read.
    fn has_read(&mut self, _bytes: u64) {}
    /// Reports that so many logs of so many have been recovered.
    fn has_recovered(&mut self, _logs: usize, _of: usize) {}
    /// Creates a segment that will replace the segments with these offsets.
    ///
    /// It takes effect with [`SegmentData::install`]. The replaced segments are deleted afterwards; if a crash prevents
    /// that, `load_segments` does not return them.
    fn rewrite_segment(&mut self, partition: &PartitionId, offsets: Range<i64>) -> io::Result<Box<dyn SegmentData>>;
    /// Deletes all segments of a deleted topic.
    fn delete_topic(&mut self, topic_id: u128) -> io::Result<()>;
    /// Returns true if the recorded changes take much more space than a snapshot would.
    fn wants_snapshot(&self) -> bool;
    /// Replaces all recorded changes with these.
    fn replace_changes(&mut self, snapshot: &[Change]) -> io::Result<()>;
    /// Closes files that can be opened again, because the process has too many of them open.
    fn release_files(&mut self);
    /// Records the ends of the parts of the logs for which a sync has been requested, once all of them are synced.
    fn checkpoint(&mut self, ends: &[Change]) -> io::Result<()>;
    /// Waits until everything is synced, and records that the broker has been stopped with its logs at these ends. Nothing
    /// is written afterwards.
    fn close(&mut self, ends: &[Change]) -> io::Result<()>;
}

/// A permanently unique partition id: a topic that is deleted and created again gets a new topic id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PartitionId {
    pub(crate) topic_id: u128,
    pub(crate) partition: i32,
}

/// A log of an earlier run.
#[derive(Debug, Default)]
pub(crate) struct StoredLog {
    /// Ordered by base offset.
    pub(crate) segments: Vec<StoredSegment>,
    /// The log was synced up to this offset, so it must reach it.
    pub(crate) synced: i64,
}

/// A segment of an earlier run.
#[derive(Debug)]
pub(crate) struct StoredSegment {
    pub(crate) base_offset: i64,
    /// The end offset of a segment whose offsets have gaps, because of compaction or damage.
    pub(crate) end_offset: Option<i64>,
    /// Batches from this offset on may not have been synced.
    pub(crate) synced: i64,
    pub(crate) data: Box<dyn SegmentData>,
}

impl StoredSegment {
    /// Returns the offsets that the segment may have. `next` is the offset at which the next one begins.
    pub(crate) fn bounds(&self, next: Option<i64>) -> Bounds {
        let end = self.end_offset.or(next).unwrap_or(i64::MAX);
        Bounds { offsets: self.base_offset..end, has_gaps: self.end_offset.is_some() }
    }
}

/// The bytes of one segment, a sequence of batches.
pub(crate) trait SegmentData: Send + Debug {
    /// Returns the size in bytes.
    fn len(&self) -> u64;
    /// Appends a batch, given as its first bytes and the rest. If it fails, no part of the batch is stored.
    fn append(&mut self, stamp: &[u8; STAMP_LEN], rest: &[u8]) -> io::Result<()>;
    /// Reads the header bytes of the batch that starts at `position`.
    fn header(&self, position: u64) -> io::Result<[u8; HEADER_LEN]>;
    /// Reads whole batches from `position`, up to `max_bytes`, but at least one batch.
    fn read(&self, position: u64, max_bytes: usize) -> io::Result<Vec<Bytes>>;
    /// Reads up to `len` bytes from `position`, whatever they contain. Fewer bytes only at the end of the segment.
    fn raw(&self, position: u64, len: usize) -> io::Result<Bytes>;
    /// Marks the segment as complete: nothing more will be appended.
    fn seal(&mut self) {}
    /// Syncs the bytes in the background, so that they survive a power failure. [`LogStorage::close`] waits for it.
    fn sync(&mut self) {}
    /// Returns true if no sync that was requested is still to be done, and an error if it has failed.
    fn is_synced(&self) -> io::Result<bool> {
        Ok(true)
    }
    /// Sets the number of bytes that an earlier run has synced.
    fn was_synced(&mut self, _bytes: u64) {}
    /// Returns the number of bytes that have been appended since the last sync was requested.
    fn unsynced(&self) -> u64 {
        0
    }
    /// Reads the summary that an earlier run has stored, if there is one.
    fn summary(&self) -> Option<Summary> {
        None
    }
    /// Stores the summary. If that fails, the next start reads the segment.
    fn set_summary(&mut self, _summary: &Summary) {}
    /// Puts a segment from [`LogStorage::rewrite_segment`] into effect, atomically even if it fails or the process
    /// crashes.
    fn install(&mut self) -> io::Result<()>;
    /// Truncates the segment at `position`, and syncs it.
    fn truncate(&mut self, position: u64) -> io::Result<()>;
    /// Copies damaged bytes to a place where they are kept until the topic is deleted, and returns the name of the copy.
    fn set_aside(&mut self, damaged: Range<u64>) -> io::Result<String>;
    /// Records that the segment covers these offsets, although its batches do not.
    fn cover(&mut self, offsets: Range<i64>) -> io::Result<()>;
    /// Returns the name of the segment, for log messages.
    fn name(&self) -> String;
    /// Deletes the bytes; the segment is dropped afterwards.
    fn delete(&mut self) -> io::Result<()>;
}

/// Storage that keeps all data in memory until the broker is dropped.
#[derive(Debug, Default)]
pub(crate) struct MemoryStorage;

impl LogStorage for MemoryStorage {
    fn record(&mut self, _change: &Change) -> io::Result<()> {
        Ok(())
    }

    fn create_segment(&mut self, _partition: &PartitionId, _base_offset: i64) -> io::Result<Box<dyn SegmentData>> {
        Ok(Box::new(MemorySegment::default()))
    }

    fn load_segments(&mut self, _partition: &PartitionId) -> io::Result<StoredLog> {
        Ok(StoredLog::default())
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

    fn release_files(&mut self) {}

    fn checkpoint(&mut self, _ends: &[Change]) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, _ends: &[Change]) -> io::Result<()> {
        Ok(())
    }
}

/// A segment in memory. The batches are reference-counted, so that reads do not copy them.
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
        // Copied, because a slice of the request would keep the whole request in memory.
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

    fn raw(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = BytesMut::new();
        for (start, batch) in &self.batches {
            let before = usize::try_from(position.saturating_sub(*start)).unwrap_or(usize::MAX);
            bytes.extend_from_slice(batch.get(before..).unwrap_or_default());
            if bytes.len() >= len {
                break;
            }
        }
        bytes.truncate(len);
        Ok(bytes.freeze())
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

    fn set_aside(&mut self, _damaged: Range<u64>) -> io::Result<String> {
        Ok(self.name())
    }

    fn cover(&mut self, _offsets: Range<i64>) -> io::Result<()> {
        Ok(())
    }

    fn name(&self) -> String {
        "a segment in memory".to_owned()
    }

    fn delete(&mut self) -> io::Result<()> {
        self.truncate(0)
    }
}
