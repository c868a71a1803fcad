//! Records of what is synced: the mark of a stop, and the checkpoint of a broker that is running.
//!
//! Both hold the ends of the logs. The next start trusts what was synced, and notices if the end of a log is missing.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::core::advice::at_path;
use crate::core::change::Change;
use crate::core::storage::PartitionId;
use crate::disk::line;
use crate::disk::sync::sync_name;

/// The name of the mark of a stop: nothing was written after the sync.
const STOPPED: &str = "stopped";
/// The name of the checkpoint.
const SYNCED: &str = "synced";

/// The state that the last run has left.
#[derive(Debug, Default)]
pub(crate) struct Synced {
    /// The ends of what was synced. Logs that are missing here were not.
    pub(crate) ends: HashMap<PartitionId, i64>,
    /// True if the broker was stopped: there is nothing else.
    pub(crate) was_stopped: bool,
}

/// Encodes the ends of logs.
pub(crate) fn encode(ends: &[Change]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for end in ends {
        line::encode(end, &mut text)?;
    }
    // The checksum of the whole is last, so that a file that is cut short is not one.
    let crc = crc32c::crc32c(&text);
    writeln!(text, "{crc:08x}")?;
    Ok(text)
}

/// Marks the stop, after everything else has been synced.
pub(crate) fn mark_stop(root: &Path, text: &[u8]) -> io::Result<()> {
    write(&root.join(STOPPED), text)
}

/// Replaces the checkpoint, after everything up to these ends has been synced.
pub(crate) fn checkpoint(root: &Path, text: &[u8]) -> io::Result<()> {
    write(&root.join(SYNCED), text)
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(text)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&beside, path)).and_then(|()| sync_name(path)).map_err(|error| {
        // An incomplete file would only take space.
        drop(fs::remove_file(&beside));
        at_path(path)(error)
    })
}

/// Reads what the last run has left, and removes the mark of its stop before anything is written.
pub(crate) fn take(root: &Path) -> io::Result<Synced> {
    let (stopped, synced) = (root.join(STOPPED), root.join(SYNCED));
    if let Some(ends) = read(&stopped)? {
        // IMPORTANT: this must be on disk before anything is written. After a power failure, the mark would keep the next
        // start from verifying what was written since. Its content remains true as a checkpoint.
        fs::rename(&stopped, &synced).and_then(|()| sync_name(&synced)).map_err(at_path(&stopped))?;
        return Ok(Synced { ends, was_stopped: true });
    }
    Ok(Synced { ends: read(&synced)?.unwrap_or_default(), was_stopped: false })
}

/// Reads the ends of logs. A damaged file is removed and reported.
fn read(path: &Path) -> io::Result<Option<HashMap<PartitionId, i64>>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at_path(path)(error)),
    };
    let ends = parse(&text);
    if ends.is_none() {
        tracing::warn!(?path, "the record of what was synced is damaged; all checksums are verified instead");
        fs::remove_file(path).and_then(|()| sync_name(path)).map_err(at_path(path))?;
    }
    Ok(ends)
}

fn parse(text: &[u8]) -> Option<HashMap<PartitionId, i64>> {
    let (ends, crc) = text.split_at_checked(text.len().checked_sub(9)?)?;
    if crc != format!("{:08x}\n", crc32c::crc32c(ends)).as_bytes() {
        return None;
    }
    let lines = ends.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let end = |line| match line::decode_checked(line).ok()? {
        Change::LogEnd { id, partition, offset } => Some((PartitionId { topic_id: id.0, partition }, offset)),
        _ => None,
    };
    lines.map(end).collect()
}
