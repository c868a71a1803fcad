//! A file that exists while the worker is ready, for probes that can only look at files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use faust_core::worker::Worker;

use crate::failure::Failure;

/// Interval at which the status of the worker is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// The file of the option `--ready-file`, which is removed on drop.
#[derive(Debug)]
pub(crate) struct ReadyFile {
    path: PathBuf,
    exists: bool,
}

impl ReadyFile {
    /// Takes the path of the file, and removes one that a killed worker has left behind.
    ///
    /// # Errors
    /// The directory of the file does not exist, or the former file cannot be removed.
    pub(crate) fn new(path: PathBuf) -> Result<Self, Failure> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.is_dir() {
            let (path, directory) = (path.display(), directory.display());
            return Err(Failure::error(format!(
                "cannot write `{path}` (--ready-file): there is no directory `{directory}`; create it first"
            )));
        }
        let mut file = Self { path, exists: true };
        file.set(false)?;
        Ok(file)
    }

    /// Keeps the file, if there is one, in step with the status of the worker. Returns only if the file cannot be written.
    pub(crate) async fn follow(file: Option<Self>, worker: &Worker) -> Failure {
        let Some(mut file) = file else { return std::future::pending().await };
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            if let Err(failure) = file.set(worker.status().ready) {
                return failure;
            }
        }
    }

    /// Creates or removes the file.
    fn set(&mut self, ready: bool) -> Result<(), Failure> {
        if ready == self.exists {
            return Ok(());
        }
        let changed = match ready {
            true => std::fs::write(&self.path, b""),
            false => std::fs::remove_file(&self.path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
        };
        let failed = |error| {
            let change = if ready { "write" } else { "remove" };
            Failure::error(format!("cannot {change} `{}` (--ready-file): {error}", self.path.display()))
        };
        changed.map_err(failed)?;
        self.exists = ready;
        Ok(())
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // The worker ends; an error has no consequence but the file that is left, which the next worker removes.
        drop(self.set(false));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn the_file_exists_while_the_worker_is_ready() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready");
        std::fs::write(&path, "of a killed worker").unwrap();
        let mut file = ReadyFile::new(path.clone()).unwrap();
        assert!(!path.exists());
        for ready in [true, true, false, false, true] {
            file.set(ready).unwrap();
            assert_eq!(path.exists(), ready);
        }
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let error = ReadyFile::new(directory.path().join("missing/ready")).unwrap_err();
        assert!(
            matches!(&error, Failure::Error(text) if text.contains("--ready-file") && text.contains("create it first"))
        );
        let mut file = ReadyFile::new(directory.path().join("ready")).unwrap();
        std::fs::create_dir(directory.path().join("ready")).unwrap();
        assert!(file.set(true).is_err());
    }
}
