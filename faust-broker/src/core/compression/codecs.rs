//! The codecs, by crates.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::io::{self, Read};

use crate::core::compression::{Compression, Undecodable};

/// True if this build has codecs.
pub(super) const AVAILABLE: bool = true;

pub(super) fn compress(codec: Compression, records: &[u8], level: Option<i32>) -> io::Result<Vec<u8>> {
    match codec {
        Compression::None => Ok(records.to_vec()),
        Compression::Gzip => gzip::compress(records, level),
        Compression::Snappy => snappy::compress(records),
        Compression::Lz4 => lz4::compress(records),
        Compression::Zstd => zstd::compress(records, level),
    }
}

pub(super) fn decompress(codec: Compression, records: &[u8], limit: usize) -> Result<Vec<u8>, Undecodable> {
    match codec {
        Compression::None => Ok(records.to_vec()),
        Compression::Gzip => gzip::decompress(records, limit),
        Compression::Snappy => snappy::decompress(records, limit),
        Compression::Lz4 => lz4::decompress(records, limit),
        Compression::Zstd => zstd::decompress(records, limit),
    }
}

/// Reads a decoder to its end, but not beyond `limit` bytes.
fn read_within(decoder: impl Read, limit: usize) -> Result<Vec<u8>, Undecodable> {
    let mut records = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut records)?;
    if records.len() > limit { Err(Undecodable::TooLarge { limit }) } else { Ok(records) }
}
