//! Snappy, with and without the framing of snappy-java.
//!
//! Java clients and Kafka itself divide the records into blocks, each compressed on its own and preceded by its length.
//! Other clients compress the records as a whole.

use std::io;

use snap::raw::{Decoder, Encoder, decompress_len};

use crate::core::compression::Undecodable;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Version of the framing, and the oldest one whose readers can read it.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Size of a block before compression, as snappy-java has it.
const BLOCK: usize = 32 * 1024;

pub(super) fn compress(records: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = [MAGIC, VERSIONS].concat();
    let mut encoder = Encoder::new();
    for block in records.chunks(BLOCK) {
        let compressed = encoder.compress_vec(block)?;
        let length = u32::try_from(compressed.len()).map_err(io::Error::other)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}

pub(super) fn decompress(records: &[u8], limit: usize) -> Result<Vec<u8>, Undecodable> {
    let mut out = Vec::new();
    let Some(mut rest) = records.strip_prefix(&MAGIC) else {
        append(records, &mut out, limit)?;
        return Ok(out);
    };
    let cut = || Undecodable::Damaged("a block of snappy-java's framing is cut short".to_owned());
    rest = rest.get(VERSIONS.len()..).ok_or_else(cut)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| cut())?;
        let (block, after) = after.split_at_checked(length).ok_or_else(cut)?;
        append(block, &mut out, limit)?;
        rest = after;
    }
    Ok(out)
}

fn append(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Undecodable> {
    let from = out.len();
    // IMPORTANT: before the allocation. The block itself claims its length, up to 4 GiB.
    let len = decompress_len(block).map_err(io::Error::from)?;
    if len > limit - from {
        return Err(Undecodable::TooLarge { limit });
    }
    out.resize(from + len, 0);
    Decoder::new().decompress(block, &mut out[from..]).map_err(io::Error::from)?;
    Ok(())
}
