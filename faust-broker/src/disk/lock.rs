//! One broker per directory: the lock, and who holds it.

use std::{
    fs::{self, File, TryLockError},
    net::SocketAddr,
    path::Path,
};

use crate::error::Error;

/// The system gives the lock back when the file is closed, also when the process is killed.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks a directory, making it if need be, and writes down who has it.
    pub(crate) fn take(directory: &Path, address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Directory { directory: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        let file =
            File::options().create(true).truncate(false).write(true).open(directory.join("lock")).map_err(failed)?;
        // A file of its own, because some systems do not let others read a locked one.
        let holder = directory.join("holder");
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(holder).unwrap_or_default();
                let holder = if holder.is_empty() { "another broker".to_owned() } else { holder };
                return Err(Error::DirectoryInUse { directory: directory.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let text = format!("process {} on {address}", std::process::id());
        fs::write(holder, text).map_err(failed)?;
        Ok(Self { _file: file })
    }
}
