//! The bytes of one segment in an append-only file.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::buffers::ReadBuffers;
use crate::core::advice::at_path;
use crate::core::batch::{HEADER_LEN, Header, STAMP_LEN};
use crate::core::storage::SegmentData;
use crate::core::summary::Summary;
use crate::disk::aside::set_aside;
use crate::disk::files::{FileId, Files};
use crate::disk::sync::{Syncer, sync_name};

/// The open files and the syncs in progress, which all segments of a broker share.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) files: Arc<Files>,
    pub(crate) syncer: Arc<Syncer>,
    pub(crate) buffers: Arc<ReadBuffers>,
}

/// A segment file. It may be closed between two operations: there may be more segments than a process may have open files.
#[derive(Debug)]
pub(crate) struct FileSegment {
    id: FileId,
    path: PathBuf,
    len: u64,
    /// The path that the file gets when it is installed.
    destination: Option<PathBuf>,
    /// Number of bytes for which a sync has been requested.
    synced: u64,
    /// True if the file has been created since then: its directories must be synced as well.
    is_new: bool,
    access: Access,
}

impl FileSegment {
    /// Creates an empty file. An existing file with this name is truncated: its writes were never acknowledged.
    pub(crate) fn create(access: Access, path: PathBuf) -> io::Result<Self> {
        let id = access.files.next_id();
        let open = || File::options().create(true).truncate(true).read(true).write(true).open(&path);
        access.files.open(id, open).map_err(at_path(&path))?;
        // That of an earlier file of this name; usually there is none.
        drop(fs::remove_file(summary_path(&path)));
        Ok(Self { id, path, len: 0, destination: None, synced: 0, is_new: true, access })
    }

    /// Creates an empty file that is renamed to `destination` when it is installed.
    pub(crate) fn create_beside(access: Access, destination: PathBuf) -> io::Result<Self> {
        let beside = Self::create(access, destination.with_extension("new"))?;
        Ok(beside.with_destination(destination))
    }

    fn with_destination(mut self, destination: PathBuf) -> Self {
        self.destination = Some(destination);
        self
    }

    /// Opens the file of an earlier run.
    pub(crate) fn of_earlier_run(access: Access, path: PathBuf) -> io::Result<Self> {
        let len = fs::metadata(&path).map_err(at_path(&path))?.len();
        let id = access.files.next_id();
        Ok(Self { id, path, len, destination: None, synced: len, is_new: false, access })
    }

    fn file(&self) -> io::Result<Arc<File>> {
        self.access.files.get(self.id, &self.path).map_err(at_path(&self.path))
    }

    fn write(&self, stamp: &[u8], rest: &[u8]) -> io::Result<()> {
        let file = self.file()?;
        let mut file = file.as_ref();
        file.seek(SeekFrom::Start(self.len))?;
        // Usually a single call writes the whole batch.
        let written = file.write_vectored(&[IoSlice::new(stamp), IoSlice::new(rest)])?;
        match stamp.get(written..) {
            Some(missing) => {
                file.write_all(missing)?;
                file.write_all(rest)
            }
            None => file.write_all(&rest[written - stamp.len()..]),
        }
    }

    fn read_exact(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        let file = self.file()?;
        let mut file = file.as_ref();
        let read = file.seek(SeekFrom::Start(position)).and_then(|_| file.read_exact(into));
        read.map_err(at_path(&self.path))
    }

    fn left(&self, position: u64) -> usize {
        usize::try_from(self.len.saturating_sub(position)).unwrap_or(usize::MAX)
    }

    /// Deletes the summary, which may not fit the segment any more.
    fn forget_summary(&self) {
        // Usually there is none.
        drop(fs::remove_file(summary_path(&self.path)));
    }

    /// Renames the file. The name survives a power failure.
    fn rename(&mut self, destination: PathBuf) -> io::Result<()> {
        // Some systems cannot rename an open file.
        self.access.files.close(self.id);
        self.forget_summary();
        // That of a segment which had this name before.
        drop(fs::remove_file(summary_path(&destination)));
        fs::rename(&self.path, &destination).map_err(at_path(&self.path))?;
        self.path = destination;
        sync_name(&self.path).map_err(at_path(&self.path))
    }
}

impl SegmentData for FileSegment {
    fn len(&self) -> u64 {
        self.len
    }

    fn append(&mut self, stamp: &[u8; STAMP_LEN], rest: &[u8]) -> io::Result<()> {
        if let Err(error) = self.write(stamp, rest) {
            // The batch may have been written in part, for example to a full disk. If the part cannot be removed, the next
            // batch overwrites it.
            drop(self.file().and_then(|file| file.set_len(self.len)));
            return Err(at_path(&self.path)(error));
        }
        self.len += (stamp.len() + rest.len()) as u64;
        Ok(())
    }

    fn header(&self, position: u64) -> io::Result<[u8; HEADER_LEN]> {
        let mut header = [0; HEADER_LEN];
        self.read_exact(position, &mut header)?;
        Ok(header)
    }

    fn read(&self, position: u64, max_bytes: usize) -> io::Result<Vec<Bytes>> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("no batch at position {position}"));
        let header = Header::read(&self.header(position)?).filter(|header| header.size <= self.left(position));
        let first = header.ok_or_else(damaged).map_err(at_path(&self.path))?;
        let len = max_bytes.max(first.size).min(self.left(position));
        let read = |buffer: &mut [u8]| {
            self.read_exact(position, buffer)?;
            Ok(whole_batches(buffer))
        };
        Ok(vec![self.access.buffers.fill(len, read)?])
    }

    fn raw(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let read = |buffer: &mut [u8]| self.read_exact(position, buffer).map(|()| buffer.len());
        self.access.buffers.fill(len.min(self.left(position)), read)
    }

    fn sync(&mut self) {
        if self.synced < self.len {
            self.synced = self.len;
            self.access.syncer.later(&self.path);
        }
        if std::mem::take(&mut self.is_new) {
            // Those of the partition, the topic and all topics.
            self.path.ancestors().skip(1).take(3).for_each(|directory| self.access.syncer.later(directory));
        }
    }

    fn is_synced(&self) -> io::Result<bool> {
        self.access.syncer.is_done(&self.path).map_err(at_path(&self.path))
    }

    fn summary(&self) -> Option<Summary> {
        // Usually there is one, and otherwise the segment is read.
        let bytes = fs::read(summary_path(&self.path)).ok()?;
        let summary = Summary::decode(&bytes);
        if summary.is_none() {
            tracing::warn!(path = ?summary_path(&self.path), "the summary of a segment is damaged; the segment is read instead");
            self.forget_summary();
        }
        summary
    }

    fn set_summary(&mut self, summary: &Summary) {
        let path = summary_path(&self.path);
        if let Err(error) = fs::write(&path, summary.encode()) {
            tracing::debug!(?path, %error, "cannot write the summary of a segment; the next start reads the segment");
            self.forget_summary();
        }
    }

    fn was_synced(&mut self, bytes: u64) {
        self.synced = bytes;
        self.is_new = bytes == 0;
    }

    fn unsynced(&self) -> u64 {
        // The name of an empty file is to be synced as well.
        (self.len - self.synced) + u64::from(self.is_new)
    }

    fn install(&mut self) -> io::Result<()> {
        let Some(destination) = self.destination.take() else { return Ok(()) };
        // IMPORTANT: before the rename. The replaced files have been on disk for long, so a system crash must not leave
        // an empty file in their place.
        self.file()?.sync_all().map_err(at_path(&self.path))?;
        self.synced = self.len;
        // For the same reason, the rename is on disk before the old files are deleted.
        self.rename(destination)
    }

    fn truncate(&mut self, position: u64) -> io::Result<()> {
        self.forget_summary();
        let file = self.file()?;
        file.set_len(position).and_then(|()| file.sync_all()).map_err(at_path(&self.path))?;
        self.len = position;
        self.synced = position;
        Ok(())
    }

    fn set_aside(&mut self, damaged: Range<u64>) -> io::Result<String> {
        let file = self.file()?;
        let mut file = file.as_ref();
        file.seek(SeekFrom::Start(damaged.start)).map_err(at_path(&self.path))?;
        let copy = set_aside(&self.path, damaged.start, &mut file.take(damaged.end - damaged.start))?;
        Ok(copy.display().to_string())
    }

    fn cover(&mut self, offsets: Range<i64>) -> io::Result<()> {
        self.rename(covering_path(&self.path, &offsets))
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn delete(&mut self) -> io::Result<()> {
        self.access.files.close(self.id);
        self.forget_summary();
        fs::remove_file(&self.path).map_err(at_path(&self.path))
    }
}

impl Drop for FileSegment {
    fn drop(&mut self) {
        self.access.files.close(self.id);
    }
}

/// Returns the path of a segment that begins at `base_offset` and has no gaps.
pub(crate) fn plain_path(directory: &Path, base_offset: i64) -> PathBuf {
    directory.join(format!("{base_offset:020}.log"))
}

/// Returns the path of the summary of a segment.
pub(crate) fn summary_path(segment: &Path) -> PathBuf {
    segment.with_extension("summary")
}

/// Returns the path of a segment in the directory of `neighbour` that covers these offsets and may have gaps.
pub(crate) fn covering_path(neighbour: &Path, offsets: &Range<i64>) -> PathBuf {
    neighbour.with_file_name(format!("{:020}-{:020}.log", offsets.start, offsets.end))
}

/// Parses the base offset of a segment, and the end offset if it may have gaps, from the file name.
pub(crate) fn offsets_of(path: &Path) -> Option<(i64, Option<i64>)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
    match name.split_once('-') {
        Some((base, end)) => Some((base.parse().ok()?, Some(end.parse().ok()?))),
        None => Some((name.parse().ok()?, None)),
    }
}

/// Returns the length of the whole batches at the start of `bytes`.
fn whole_batches(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(header) = Header::read(&bytes[end..]) {
        if end + header.size > bytes.len() {
            break;
        }
        end += header.size;
    }
    end
}
