//! The compression of record batches: Kafka's four codecs, with a limit of the decompressed size.
//!
//! The codecs need the feature `compression`. Without it, compressed records cannot be read, and a topic's
//! `compression.type` has no effect.

#[cfg(feature = "compression")]
mod codecs;
#[cfg(not(feature = "compression"))]
#[path = "compression/absent.rs"]
mod codecs;

use std::borrow::Cow;
use std::io;

use crate::core::ErrorCode;

/// The attribute bits of a batch that name its codec.
pub(crate) const CODEC_BITS: i16 = 0b111;

/// Records of any size may decompress to this many bytes: many equal records compress to almost nothing.
const ALWAYS_ALLOWED: usize = 16 * 1024 * 1024;
/// Allowed ratio of the decompressed to the compressed size, above [`ALWAYS_ALLOWED`].
const MAX_RATIO: usize = 128;
/// Maximum decompressed size of a batch in bytes.
const MAX_DECOMPRESSED: usize = 128 * 1024 * 1024;

/// The codec of a batch's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// gzip, levels 1 to 9.
    Gzip,
    /// Snappy. Batches are written in the framing of snappy-java and read with or without it, as in Kafka.
    Snappy,
    /// LZ4 in its frame format, with independent blocks. All levels compress alike.
    Lz4,
    /// Zstandard, levels -131072 to 22.
    Zstd,
}

/// Compressed records that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undecodable {
    #[error("the codec is unknown, or this build of the broker lacks its feature `compression`")]
    Unsupported,
    #[error("the records cannot be decompressed: {0}")]
    Damaged(String),
    #[error("the records decompress to more than {limit} bytes; send smaller batches")]
    TooLarge { limit: usize },
}

impl Undecodable {
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Unsupported => ErrorCode::UnsupportedCompressionType,
            // Not `CorruptMessage`: the checksum was right, so sending the batch again would not help.
            Self::Damaged(_) => ErrorCode::InvalidRecord,
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
        }
    }
}

impl From<io::Error> for Undecodable {
    fn from(error: io::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl Compression {
    /// All codecs, in the order of their numbers in the protocol.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Returns the codec that a batch's attributes name, or `None` for a number without a codec.
    pub(crate) fn of(attributes: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.bits() == attributes & CODEC_BITS)
    }

    /// Returns the codec in the attributes of a batch.
    pub(crate) fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Returns true if this build can compress and decompress records.
    pub(crate) fn has_codecs() -> bool {
        codecs::AVAILABLE
    }

    /// Compresses records; without a `level`, at the codec's default, as in Kafka.
    pub(crate) fn compress(self, records: &[u8], level: Option<i32>) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Self::None => Ok(Cow::Borrowed(records)),
            codec => codecs::compress(codec, records, level).map(Cow::Owned),
        }
    }

    /// Decompresses records.
    pub(crate) fn decompress(self, records: &[u8]) -> Result<Cow<'_, [u8]>, Undecodable> {
        match self {
            Self::None => Ok(Cow::Borrowed(records)),
            codec => codecs::decompress(codec, records, limit(records.len())).map(Cow::Owned),
        }
    }
}

/// Returns the maximum size of records that take `compressed` bytes.
fn limit(compressed: usize) -> usize {
    compressed.saturating_mul(MAX_RATIO).clamp(ALWAYS_ALLOWED, MAX_DECOMPRESSED)
}

/// The compression that a topic applies to its batches: `compression.type` and the levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TopicCompression {
    /// The codec of every batch, or `None` to keep the producer's.
    pub(crate) codec: Option<Compression>,
    pub(crate) gzip_level: Option<i32>,
    pub(crate) zstd_level: Option<i32>,
}

impl TopicCompression {
    /// Returns the codec in which a batch is stored that was sent with the codec `sent`.
    pub(crate) fn stored(&self, sent: Compression) -> Compression {
        self.codec.filter(|_| Compression::has_codecs()).unwrap_or(sent)
    }

    /// Returns the level to compress with, or `None` for the codec's default.
    pub(crate) fn level(&self, codec: Compression) -> Option<i32> {
        match codec {
            Compression::Gzip => self.gzip_level,
            Compression::Zstd => self.zstd_level,
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
        }
    }
}

#[cfg(all(test, feature = "compression"))]
mod tests;
