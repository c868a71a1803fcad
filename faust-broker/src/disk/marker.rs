//! The mark of a stop: the next start need not verify checksums, and knows where each log ended.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::core::advice::at_path;
use crate::core::change::Change;
use crate::disk::line;
use crate::disk::sync::sync_name;

/// Writes the mark, after everything else has been synced.
pub(crate) fn write(path: &Path, ends: &[Change]) -> io::Result<()> {
    let mut text = Vec::new();
    for end in ends {
        line::encode(end, &mut text)?;
    }
    let written = File::create(path).and_then(|mut file| {
        // The checksum of the whole is last, so that a mark that is cut short is not one.
        writeln!(file, "{}{:08x}", String::from_utf8_lossy(&text), crc32c::crc32c(&text))?;
        file.sync_all()
    });
    written.and_then(|()| sync_name(path)).map_err(|error| {
        // An incomplete mark would be reported as damaged. If it stays, it has no other effect.
        drop(fs::remove_file(path));
        at_path(path)(error)
    })
}

/// Removes the mark, before anything is written. Returns the ends of the logs, or `None` if the broker was not stopped.
pub(crate) fn take(path: &Path) -> io::Result<Option<Vec<Change>>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at_path(path)(error)),
    };
    // IMPORTANT: the removal must be on disk before anything is written. After a power failure, the mark would keep the
    // next start from verifying what was written since.
    fs::remove_file(path).and_then(|()| sync_name(path)).map_err(at_path(path))?;
    let ends = parse(&text);
    if ends.is_none() {
        tracing::warn!(?path, "the mark of the last stop is damaged; all checksums are verified instead");
    }
    Ok(ends)
}

fn parse(text: &[u8]) -> Option<Vec<Change>> {
    let (ends, crc) = text.split_at_checked(text.len().checked_sub(9)?)?;
    if crc != format!("{:08x}\n", crc32c::crc32c(ends)).as_bytes() {
        return None;
    }
    let lines = ends.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| line::decode_checked(line).ok()).collect()
}
