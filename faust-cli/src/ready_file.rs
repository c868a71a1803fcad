//! A file that exists while the worker is ready, for probes that can only look at files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use faust_core::worker::Worker;

use crate::failure::Failure;
use crate::output::Output;

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
    /// The directory of the file does not exist, the path is that of something else, or the former file cannot be removed.
    pub(crate) fn new(path: PathBuf) -> Result<Self, Failure> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.is_dir() {
            let (path, directory) = (path.display(), directory.display());
            return Err(Failure::error(format!(
                "cannot write `{path}` (--ready-file): there is no directory `{directory}`; create it first"
            )));
        }
        if std::fs::metadata(&path).is_ok_and(|found| !found.is_file() || found.len() > 0) {
            return Err(Failure::error(format!(
                "`{}` (--ready-file) exists and is not a ready file, which is empty: choose another path",
                path.display()
            )));
        }
        let mut file = Self { path, exists: true };
        file.set(false).map_err(Failure::error)?;
        Ok(file)
    }

    /// Keeps the file, if there is one, in step with the status of the worker. If it cannot be written, such as on a full disk,
    /// that is reported once and tried again: it is no reason to stop the worker.
    pub(crate) async fn follow(file: Option<Self>, worker: &Worker, out: &Output) {
        let Some(mut file) = file else { return };
        let mut ticks = tokio::time::interval(INTERVAL);
        let mut is_failing = false;
        loop {
            ticks.tick().await;
            match file.set(worker.status().ready) {
                Ok(()) => is_failing = false,
                Err(error) if !is_failing => {
                    is_failing = true;
                    out.note(format!("{error}; it is tried again"));
                }
                Err(_) => {}
            }
        }
    }

    /// Creates or removes the file.
    fn set(&mut self, ready: bool) -> Result<(), String> {
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
            format!("cannot {change} `{}` (--ready-file): {error}", self.path.display())
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
        // As a killed worker has left it.
        std::fs::write(&path, "").unwrap();
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
    fn what_is_no_ready_file_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("faust.toml");
        std::fs::write(&path, "broker = \"kafka\"").unwrap();
        for path in [path.clone(), directory.path().to_owned()] {
            let error = ReadyFile::new(path).unwrap_err();
            assert!(matches!(&error, Failure::Error(text) if text.contains("choose another path")), "{error:?}");
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), "broker = \"kafka\"");
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
