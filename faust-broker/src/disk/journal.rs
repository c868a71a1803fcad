//! The journal of all changes other than records, one JSON object per line.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::core::change::Change;
use crate::error::Error;

/// Minimum size in bytes of a journal that is replaced by a snapshot.
const SMALL: u64 = 4 * 1024 * 1024;
/// Factor by which a journal may grow over its last snapshot.
const GROWTH: u64 = 4;

/// The journal file, to which changes are appended.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    len: u64,
    /// Length of the last snapshot.
    snapshot_len: u64,
}

impl Journal {
    /// Opens or creates the file and reads its changes. An incomplete last line was never acknowledged and is
    /// truncated.
    pub(crate) fn open(path: PathBuf) -> Result<(Self, Vec<Change>), Error> {
        let failed = |source| Error::Directory { directory: path.clone(), source };
        let mut text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        text.truncate(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
        let changes = parse(&path, &text)?;
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        let len = text.len() as u64;
        file.set_len(len).map_err(failed)?;
        Ok((Self { path, file, len, snapshot_len: 0 }, changes))
    }

    pub(crate) fn append(&mut self, change: &Change) -> io::Result<()> {
        let mut line = serde_json::to_vec(change)?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            // The next line must not be appended to an incomplete one.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += line.len() as u64;
        Ok(())
    }

    /// Returns true if a snapshot is likely to be much shorter than the journal.
    pub(crate) fn has_grown(&self) -> bool {
        self.len > SMALL && self.len > self.snapshot_len.saturating_mul(GROWTH)
    }

    /// Replaces the journal with a snapshot, which is written to a new file and renamed.
    pub(crate) fn replace(&mut self, snapshot: &[Change]) -> io::Result<()> {
        let mut text = Vec::new();
        for change in snapshot {
            serde_json::to_writer(&mut text, change)?;
            text.push(b'\n');
        }
        let beside = self.path.with_extension("new");
        // Left by a rewrite that was interrupted; usually there is none.
        drop(fs::remove_file(&beside));
        // The handle is opened before the rename, because no step after the rename may fail.
        let mut file = File::options().create_new(true).append(true).open(&beside)?;
        file.write_all(&text)?;
        // IMPORTANT: before the rename; otherwise a system crash could leave an empty file in place of the valid
        // journal.
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        self.file = file;
        self.len = text.len() as u64;
        self.snapshot_len = self.len;
        Ok(())
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Vec<Change>, Error> {
    let lines = text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(at, line)| {
            let damaged = |source| Error::Journal { path: path.to_owned(), line: at + 1, source };
            serde_json::from_slice(line).map_err(damaged)
        })
        .collect()
}
