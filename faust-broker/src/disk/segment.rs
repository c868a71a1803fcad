//! The bytes of one segment in a file that only grows.

use std::{
    fs::{self, File},
    io::{self, IoSlice, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use bytes::{Bytes, BytesMut};

use crate::core::batch::{HEADER_LEN, Header, STAMP_LEN};
use crate::core::storage::SegmentData;

/// One file of batches.
#[derive(Debug)]
pub(crate) struct FileSegment {
    path: PathBuf,
    /// Open while the segment grows. A full one is opened to be read: there can be more of them than a process may
    /// have open files.
    file: Option<File>,
    len: u64,
    /// The name it is to get.
    destination: Option<PathBuf>,
}

impl FileSegment {
    /// An empty file. One of the same name is left from a write that was never acknowledged.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
        Ok(Self { path, file: Some(file), len: 0, destination: None })
    }

    /// An empty file that gets its name when it is installed.
    pub(crate) fn create_beside(destination: PathBuf) -> io::Result<Self> {
        let beside = Self::create(destination.with_extension("new"))?;
        Ok(Self { destination: Some(destination), ..beside })
    }

    /// The file as an earlier run left it.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(&path)?;
        let len = file.metadata()?.len();
        Ok(Self { path, file: Some(file), len, destination: None })
    }

    fn growing(&self) -> io::Result<&File> {
        let sealed = || io::Error::new(io::ErrorKind::InvalidInput, format!("{} is full", self.path.display()));
        self.file.as_ref().ok_or_else(sealed)
    }

    fn write(&self, stamp: &[u8], rest: &[u8]) -> io::Result<()> {
        let mut file = self.growing()?;
        file.seek(SeekFrom::Start(self.len))?;
        // One call for a whole batch in all likelihood.
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
            // A full disk may have taken half of the batch. The next one must not come behind it.
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
        // IMPORTANT: before the rename. What this file replaces has been safe for long, so a crash of the system must not
        // leave an empty file in its place.
        self.growing()?.sync_all()?;
        fs::rename(&self.path, &destination)?;
        // For the same reason the name has to be kept before the old files go. Not every system opens directories.
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

/// How many of these bytes are whole batches.
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
