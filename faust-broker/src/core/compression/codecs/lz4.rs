//! The frame format of LZ4, as Kafka restricts it: a single frame of independent blocks, without a dictionary.

use std::io::{self, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::read_within;
use crate::core::compression::Undecodable;

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// Magic number, flags, block size and the header's checksum.
const MIN_HEADER: usize = 7;
const INDEPENDENT_BLOCKS: u8 = 1 << 5;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const DICTIONARY: u8 = 1;
/// The bit in the length of a block that marks it as not compressed.
const STORED: u32 = 1 << 31;

pub(super) fn compress(records: &[u8]) -> io::Result<Vec<u8>> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(records)?;
    encoder.finish().map_err(io::Error::other)
}

pub(super) fn decompress(records: &[u8], limit: usize) -> Result<Vec<u8>, Undecodable> {
    let frame = frame(records).ok_or_else(|| Undecodable::Damaged("not a whole LZ4 frame".to_owned()))?;
    if frame[4] & (INDEPENDENT_BLOCKS | DICTIONARY) != INDEPENDENT_BLOCKS {
        return Err(Undecodable::Damaged("an LZ4 frame must have independent blocks and no dictionary".to_owned()));
    }
    read_within(FrameDecoder::new(frame), limit)
}

/// Returns the first frame. Kafka ignores all bytes after it; the decoder would continue with them.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let flags = *bytes.strip_prefix(&MAGIC)?.first()?;
    let size_of = |flag: u8, size: usize| if flags & flag == 0 { 0 } else { size };
    let mut end = MIN_HEADER + size_of(CONTENT_SIZE, 8) + size_of(DICTIONARY, 4);
    loop {
        let length = u32::from_le_bytes(*bytes.get(end..)?.first_chunk()?);
        end += 4;
        if length == 0 {
            return bytes.get(..end + size_of(CONTENT_CHECKSUM, 4));
        }
        end += usize::try_from(length & !STORED).ok()? + size_of(BLOCK_CHECKSUMS, 4);
    }
}
