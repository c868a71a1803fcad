//! The lock that allows only one broker per directory.

use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::path::Path;

use crate::core::advice::at_path;
use crate::error::Error;

/// The lock of a directory. The system releases it when the file is closed, even if the process is killed.
#[derive(Debug)]
#[must_use = "the directory is unlocked when the value is dropped"]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks a directory, creating it if necessary, and records the process id and address of the broker.
    pub(crate) fn take(directory: &Path, address: SocketAddr) -> Result<Self, Error> {
        let failed = Error::directory(directory);
        fs::create_dir_all(directory).map_err(at_path(directory)).map_err(&failed)?;
        let path = directory.join("lock");
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(at_path(&path)).map_err(&failed)?;
        // A separate file, because on some systems other processes cannot read a locked file.
        let holder = directory.join("holder");
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder =
                    fs::read(holder).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
                let holder = if holder.is_empty() { "another broker".to_owned() } else { holder };
                return Err(Error::DirectoryInUse { directory: directory.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(at_path(&path)(source))),
        }
        let text = format!("process {} on {address}", std::process::id());
        fs::write(&holder, text).map_err(at_path(&holder)).map_err(&failed)?;
        Ok(Self { _file: file })
    }
}
