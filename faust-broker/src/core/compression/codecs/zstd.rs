//! Zstandard.

use std::io;

use zstd::DEFAULT_COMPRESSION_LEVEL;
use zstd::stream::read::Decoder;

use super::read_within;
use crate::core::compression::Undecodable;

/// Largest window of a frame, as a power of two. The highest level writes windows of this size.
const MAX_WINDOW_LOG: u32 = 27;

pub(super) fn compress(records: &[u8], level: Option<i32>) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(records, level.unwrap_or(DEFAULT_COMPRESSION_LEVEL))
}

pub(super) fn decompress(records: &[u8], limit: usize) -> Result<Vec<u8>, Undecodable> {
    let mut decoder = Decoder::with_buffer(records)?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    read_within(decoder, limit)
}
