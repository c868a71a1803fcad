//! Replaces the codecs in a build without the feature `compression`.

use std::io;

use crate::core::compression::{Compression, Undecodable};

/// True if this build has codecs.
pub(super) const AVAILABLE: bool = false;

pub(super) fn compress(codec: Compression, records: &[u8], _level: Option<i32>) -> io::Result<Vec<u8>> {
    match codec {
        Compression::None => Ok(records.to_vec()),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, Undecodable::Unsupported)),
    }
}

pub(super) fn decompress(_codec: Compression, _records: &[u8], _limit: usize) -> Result<Vec<u8>, Undecodable> {
    Err(Undecodable::Unsupported)
}
