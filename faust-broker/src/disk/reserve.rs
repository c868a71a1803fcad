//! Disk space in reserve for changes that free space: a full disk must not keep a topic from being deleted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

/// Size of the reserve in bytes: many times the size of a change.
const SIZE: u32 = 64 * 1024;

/// A file that is deleted when its space is needed.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    is_there: bool,
}

impl Reserve {
    /// Creates the file if there is enough space.
    pub(crate) fn new(path: PathBuf) -> Self {
        let is_there = fs::metadata(&path).is_ok_and(|found| found.len() == u64::from(SIZE));
        let mut reserve = Self { path, is_there };
        reserve.refill();
        reserve
    }

    /// Creates the file again after it was used, if there is enough space.
    pub(crate) fn refill(&mut self) {
        if !self.is_there {
            self.is_there = self.fill().is_ok();
            if !self.is_there {
                self.free();
            }
        }
    }

    fn fill(&self) -> io::Result<()> {
        // Numbers, because a file system may store zeros without taking space.
        let noise = |number: u32| crc32c::crc32c(&number.to_le_bytes()).to_le_bytes();
        let bytes: Vec<u8> = (0..SIZE / 4).flat_map(noise).collect();
        let mut file = File::create(&self.path)?;
        file.write_all(&bytes)?;
        file.sync_data()
    }

    /// Deletes the file.
    pub(crate) fn free(&mut self) {
        self.is_there = false;
        // If this fails, no space is freed, and the change fails again.
        drop(fs::remove_file(&self.path));
    }
}
