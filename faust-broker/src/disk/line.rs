//! A line of the journal: a change as JSON, after its checksum.

use std::io;

use crate::core::change::Change;

/// Length of the checksum in hexadecimal digits.
const CRC_LEN: usize = 8;

/// The reason why a line is not a change.
#[derive(Debug)]
pub(crate) enum BadLine {
    /// The bytes are not those that were written.
    Damaged,
    /// The line is intact, but the change is of a kind that this version does not have.
    Unknown(serde_json::Error),
}

/// Encodes a change, with a newline.
pub(crate) fn encode(change: &Change, into: &mut Vec<u8>) -> io::Result<()> {
    let json = serde_json::to_vec(change)?;
    into.extend_from_slice(format!("{:08x} ", crc32c::crc32c(&json)).as_bytes());
    into.extend_from_slice(&json);
    into.push(b'\n');
    Ok(())
}

/// Decodes a line without its newline. Lines of earlier versions have no checksum.
pub(crate) fn decode(line: &[u8]) -> Result<Change, BadLine> {
    if line.starts_with(b"{") {
        return serde_json::from_slice(line).map_err(|_| BadLine::Damaged);
    }
    decode_checked(line)
}

/// Decodes a line that must have a checksum.
pub(crate) fn decode_checked(line: &[u8]) -> Result<Change, BadLine> {
    let (crc, rest) = line.split_at_checked(CRC_LEN).ok_or(BadLine::Damaged)?;
    let json = rest.strip_prefix(b" ").ok_or(BadLine::Damaged)?;
    if crc != format!("{:08x}", crc32c::crc32c(json)).as_bytes() {
        return Err(BadLine::Damaged);
    }
    serde_json::from_slice(json).map_err(BadLine::Unknown)
}
