//! The bytes of one segment in an append-only file.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};

use crate::core::batch::{HEADER_LEN, Header, STAMP_LEN};
use crate::core::storage::SegmentData;

/// A segment file.
#[derive(Debug)]
pub(crate) struct FileSegment {
    path: PathBuf,
    /// The open file of the active segment. Sealed segments are opened for each read, because there may be more of them
    /// than a process may have open files.
    file: Option<File>,
    len: u64,
    /// The path that the file gets when it is installed.
    destination: Option<PathBuf>,
}

impl FileSegment {
    /// Creates an empty file. An existing file with this name is truncated: its writes were never acknowledged.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
        Ok(Self { path, file: Some(file), len: 0, destination: None })
    }

    /// Creates an empty file that is renamed to `destination` when it is installed.
    pub(crate) fn create_beside(destination: PathBuf) -> io::Result<Self> {
        let beside = Self::create(destination.with_extension("new"))?;
        Ok(Self { destination: Some(destination), ..beside })
    }

    /// Opens the file of an earlier run.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(&path)?;
        let len = file.metadata()?.len();
        Ok(Self { path, file: Some(file), len, destination: None })
    }

    fn growing(&self) -> io::Result<&File> {
        let sealed = || io::Error::new(io::ErrorKind::InvalidInput, format!("{} is sealed", self.path.display()));
        self.file.as_ref().ok_or_else(sealed)
    }

    fn write(&self, stamp: &[u8], rest: &[u8]) -> io::Result<()> {
        let mut file = self.growing()?;
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
        let opened;
        let mut file = match &self.file {
            Some(file) => file,
            None => {
                opened = File::open(&self.path)?;
                &opened
            }
        };
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(into)
    }

    fn left(&self, position: u64) -> usize {
        usize::try_from(self.len.saturating_sub(position)).unwrap_or(usize::MAX)
    }
}

impl SegmentData for FileSegment {
    fn len(&self) -> u64 {
        self.len
    }

    fn append(&mut self, stamp: &[u8; STAMP_LEN], rest: &[u8]) -> io::Result<()> {
        if let Err(error) = self.write(stamp, rest) {
            // The batch may have been written in part, for example to a full disk. The next one must not follow that
            // part.
            self.growing()?.set_len(self.len)?;
            return Err(error);
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
        let first = Header::read(&self.header(position)?).ok_or_else(damaged)?;
        let len = max_bytes.max(first.size).min(self.left(position));
        let mut bytes = BytesMut::zeroed(len);
        self.read_exact(position, &mut bytes)?;
        bytes.truncate(whole_batches(&bytes));
        Ok(vec![bytes.freeze()])
    }

    fn seal(&mut self) {
        self.file = None;
    }

    fn install(&mut self) -> io::Result<()> {
        let Some(destination) = self.destination.take() else { return Ok(()) };
        // IMPORTANT: before the rename. The replaced files have been on disk for long, so a system crash must not leave
        // an empty file in their place.
        self.growing()?.sync_all()?;
        fs::rename(&self.path, &destination)?;
        // For the same reason, the rename must be on disk before the old files are deleted. Some systems cannot open
        // directories.
        if let Some(Ok(directory)) = destination.parent().map(File::open) {
            directory.sync_all()?;
        }
        self.path = destination;
        Ok(())
    }

    fn truncate(&mut self, position: u64) -> io::Result<()> {
        self.growing()?.set_len(position)?;
        self.len = position;
        Ok(())
    }

    fn delete(&mut self) -> io::Result<()> {
        fs::remove_file(&self.path)
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
