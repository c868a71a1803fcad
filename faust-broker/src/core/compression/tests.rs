//! Laws of the codecs: they are inverse, damage never panics, and no input takes much memory.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

fn codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[..])
}

/// Bytes with repetitions, as records have them, of up to several blocks of every codec.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = (proptest::collection::vec(any::<u8>(), 0..300), 1usize..400);
    proptest::collection::vec(piece, 0..6)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(bytes, times)| bytes.repeat(times)).collect())
}

fn decompressed(codec: Compression, bytes: &[u8]) -> Vec<u8> {
    codec.decompress(bytes).unwrap().into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Law: decompression is the inverse of compression, at every level.
    #[test]
    fn decompression_is_the_inverse(codec in codec(), content in content(), level in proptest::option::of(1i32..=9)) {
        let compressed = codec.compress(&content, level).unwrap();
        prop_assert_eq!(decompressed(codec, &compressed), content);
    }

    /// Law: damaged input is an error or other bytes, within the limit; it never panics.
    #[test]
    fn damage_never_panics(
        codec in codec(),
        content in content(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        extra in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = codec.compress(&content, None).unwrap().into_owned();
        for (at, mask) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= mask;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        bytes.extend(extra);
        if let Ok(found) = codec.decompress(&bytes) {
            prop_assert!(found.len() <= limit(bytes.len()).max(bytes.len()));
        }
    }

    /// Law: arbitrary bytes never panic.
    #[test]
    fn nonsense_never_panics(codec in codec(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(codec.decompress(&bytes));
    }
}

#[test]
fn levels_are_used() {
    let content: Vec<u8> = (0..200_000u32).flat_map(|number| (number % 1000 * number % 77).to_be_bytes()).collect();
    for (codec, low, high) in [(Compression::Gzip, 1, 9), (Compression::Zstd, -100, 19)] {
        let size = |level| codec.compress(&content, Some(level)).unwrap().len();
        assert!(size(high) < size(low), "{codec:?}");
        assert_eq!(decompressed(codec, &codec.compress(&content, Some(low)).unwrap()), content, "{codec:?}");
    }
}

#[test]
fn a_small_input_that_expands_without_bound_is_too_large() {
    let zeros = vec![0; ALWAYS_ALLOWED + 1];
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let bomb = codec.compress(&zeros, None).unwrap();
        assert_eq!(codec.decompress(&bomb), Err(Undecodable::TooLarge { limit: ALWAYS_ALLOWED }), "{codec:?}");
        let allowed = codec.compress(&zeros[1..], None).unwrap();
        assert_eq!(decompressed(codec, &allowed).len(), ALWAYS_ALLOWED, "{codec:?}");
    }
    // Snappy does not expand as much, but an input may claim so.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let framed = [&MAGIC_AND_VERSIONS[..], &[0, 0, 0, 6], &claim].concat();
    for claim in [&claim[..], &framed] {
        assert_eq!(Compression::Snappy.decompress(claim), Err(Undecodable::TooLarge { limit: ALWAYS_ALLOWED }));
    }
}

/// The start of snappy-java's framing.
const MAGIC_AND_VERSIONS: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];

#[test]
fn snappy_is_written_in_the_framing_of_java_and_read_without_it_too() {
    let content = b"some text, some text, some text".repeat(3000);
    let written = Compression::Snappy.compress(&content, None).unwrap();
    assert_eq!(written[..16], MAGIC_AND_VERSIONS);
    let raw = snap::raw::Encoder::new().compress_vec(&content).unwrap();
    assert_eq!(decompressed(Compression::Snappy, &raw), content);
}

#[test]
fn only_the_lz4_frames_that_kafka_reads_are_read() {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let content = b"some text, some text, some text".repeat(3000);
    let written = |info: FrameInfo| {
        let mut encoder = FrameEncoder::with_frame_info(info.block_size(BlockSize::Max64KB), Vec::new());
        encoder.write_all(&content).unwrap();
        encoder.finish().unwrap()
    };
    let checked = FrameInfo::new().block_checksums(true).content_checksum(true);
    let sized = FrameInfo::new().content_size(Some(content.len() as u64));
    for info in [FrameInfo::new(), checked.clone(), sized] {
        let mut frame = written(info);
        assert_eq!(decompressed(Compression::Lz4, &frame), content);
        frame.extend(b"ignored, as in Kafka");
        assert_eq!(decompressed(Compression::Lz4, &frame), content);
    }
    let mut flipped = written(checked);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let linked = written(FrameInfo::new().block_mode(BlockMode::Linked));
    for refused in [flipped, linked, b"no frame".to_vec()] {
        assert!(matches!(Compression::Lz4.decompress(&refused), Err(Undecodable::Damaged(_))));
    }
}
