//! The journal of all changes other than records, one line each.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::core::advice::at_path;
use crate::core::change::Change;
use crate::disk::aside::set_aside;
use crate::disk::line::{self, BadLine};
use crate::disk::sync::sync_name;
use crate::error::Error;

/// Minimum size in bytes of a journal that is replaced by a snapshot.
const SMALL: u64 = 4 * 1024 * 1024;
/// Factor by which a journal may grow over its last snapshot.
const GROWTH: u64 = 4;

/// A part of a journal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JournalPart {
    Change(Change),
    /// Bytes that are no change, and their position.
    Damaged(u64, Vec<u8>),
}

/// The journal file, to which changes are appended.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    len: u64,
    /// True if the file is longer than `len`, because a write has failed in part.
    has_rest: bool,
    /// Length of the last snapshot.
    snapshot_len: u64,
}

/// The content of a journal file.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) entries: Vec<JournalPart>,
    /// True if the file ends with a line break, so that a line can be appended.
    pub(crate) is_terminated: bool,
}

/// Reads a journal. It is empty if there is no file.
///
/// # Errors
/// Returns an error if the file cannot be read, or a later version has written it.
pub(crate) fn read(path: &Path) -> Result<Content, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::directory(path)(at_path(path)(error))),
    };
    let mut entries = Vec::new();
    let mut position = 0;
    for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        let content = line.strip_suffix(b"\n").unwrap_or(line);
        let failed = |source| Error::Journal { path: path.to_owned(), line: number, source };
        add(content, position, &mut entries).map_err(failed)?;
        position += line.len() as u64;
    }
    Ok(Content { entries, is_terminated: text.is_empty() || text.ends_with(b"\n") })
}

/// Decodes the bytes between two line breaks. If they are not a line, one of the breaks may be damaged.
fn add(content: &[u8], position: u64, entries: &mut Vec<JournalPart>) -> Result<(), serde_json::Error> {
    let change = match line::decode(content) {
        Ok(change) => Some((0, content.len(), change)),
        Err(BadLine::Unknown(error)) => return Err(error),
        Err(BadLine::Damaged) => last_intact(content),
    };
    let Some((start, end, change)) = change else {
        if !content.is_empty() {
            entries.push(JournalPart::Damaged(position, content.to_owned()));
        }
        return Ok(());
    };
    let damaged = |at: usize| JournalPart::Damaged(position + at as u64, content[at..=at].to_owned());
    if let Some(line_break) = start.checked_sub(1) {
        add(&content[..line_break], position, entries)?;
        entries.push(damaged(line_break));
    }
    entries.push(JournalPart::Change(change));
    if end < content.len() {
        entries.push(damaged(end));
    }
    Ok(())
}

/// Finds an intact line at the end of `content`, or before its last byte. Returns its start and end.
fn last_intact(content: &[u8]) -> Option<(usize, usize, Change)> {
    let ends = [content.len(), content.len().saturating_sub(1)];
    ends.into_iter()
        .find_map(|end| (0..end).find_map(|start| Some((start, end, line::decode_checked(&content[start..end]).ok()?))))
}

/// Copies the damaged parts of a journal to files of their own, and reports them.
pub(crate) fn set_aside_damage(path: &Path, entries: &[JournalPart]) -> io::Result<()> {
    let last = entries.len().saturating_sub(1);
    for (at, entry) in entries.iter().enumerate() {
        let JournalPart::Damaged(position, damaged) = entry else { continue };
        let kept_as = set_aside(path, *position, &mut damaged.as_slice())?;
        let bytes = damaged.len();
        if bytes == 1 {
            tracing::warn!(journal = ?path, position, ?kept_as, "a line break of the journal is damaged; no change is lost");
        } else if at == last && !damaged.ends_with(b"}") {
            tracing::warn!(
                journal = ?path, position, bytes, ?kept_as,
                "removed a write that was interrupted: the last line of the journal is incomplete"
            );
        } else {
            tracing::error!(
                journal = ?path, position, bytes, ?kept_as,
                "the journal is damaged: a change of a topic, of a group's offsets or of the producer ids is lost; check \
                 topics and groups, or restore the directory from a backup"
            );
        }
    }
    Ok(())
}

impl Journal {
    /// Opens the journal that consists of these changes. The file is written again unless it is known to be `intact`.
    pub(crate) fn open(path: PathBuf, changes: &[Change], intact: bool) -> io::Result<Self> {
        let opened = File::options().create(true).append(true).open(&path);
        let file = opened.map_err(at_path(&path))?;
        let len = file.metadata().map_err(at_path(&path))?.len();
        let mut journal = Self { path, file, len, has_rest: false, snapshot_len: 0 };
        if !intact {
            journal.replace(changes)?;
        }
        Ok(journal)
    }

    /// Appends a change. A vital one is synced.
    pub(crate) fn append(&mut self, change: &Change) -> io::Result<()> {
        let mut line = Vec::new();
        line::encode(change, &mut line)?;
        if let Err(error) = self.write(&line, change.is_vital()) {
            // The next line must not be appended to an incomplete one.
            self.has_rest = self.file.set_len(self.len).is_err();
            return Err(at_path(&self.path)(error));
        }
        self.len += line.len() as u64;
        Ok(())
    }

    fn write(&mut self, line: &[u8], sync: bool) -> io::Result<()> {
        if self.has_rest {
            self.file.set_len(self.len)?;
        }
        self.has_rest = true;
        self.file.write_all(line)?;
        if sync {
            self.file.sync_data()?;
        }
        self.has_rest = false;
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
            line::encode(change, &mut text)?;
        }
        let beside = self.path.with_extension("new");
        // Left by a rewrite that was interrupted; usually there is none.
        drop(fs::remove_file(&beside));
        let file = write_new(&beside, &text).map_err(at_path(&beside))?;
        fs::rename(&beside, &self.path).map_err(at_path(&self.path))?;
        // No step after the rename may fail: the handle is open already. Should the name not be on disk, a power failure
        // leaves the former journal, and what was appended since is lost.
        if let Err(error) = sync_name(&self.path) {
            tracing::warn!(journal = ?self.path, %error, "cannot sync the directory of the journal");
        }
        self.file = file;
        self.len = text.len() as u64;
        self.snapshot_len = self.len;
        self.has_rest = false;
        Ok(())
    }

    /// Syncs all changes.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all().map_err(at_path(&self.path))
    }
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<File> {
    let mut file = File::options().create_new(true).append(true).open(path)?;
    file.write_all(text)?;
    // IMPORTANT: before the rename; otherwise a system crash could leave an empty file in place of the valid journal.
    file.sync_all()?;
    Ok(file)
}
