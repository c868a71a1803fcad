//! gzip.

use std::io::{self, Write};

use flate2::Compression as Level;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::read_within;
use crate::core::compression::Undecodable;

pub(super) fn compress(records: &[u8], level: Option<i32>) -> io::Result<Vec<u8>> {
    let level = level.and_then(|level| u32::try_from(level).ok()).map_or_else(Level::default, Level::new);
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(records)?;
    encoder.finish()
}

pub(super) fn decompress(records: &[u8], limit: usize) -> Result<Vec<u8>, Undecodable> {
    read_within(MultiGzDecoder::new(records), limit)
}
