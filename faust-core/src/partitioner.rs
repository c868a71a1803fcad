//! Partitioning of keys by murmur2, as in Kafka's Java clients, so that all clients choose the same partition.

/// Returns the partition of a key among `count` partitions.
///
/// The result equals `Utils.toPositive(Utils.murmur2(key)) % count` in Kafka's `BuiltInPartitioner`, and that of
/// librdkafka's `murmur2_random`.
///
/// ```
/// assert_eq!(faust::partition_of(b"foobar", 8), 6);
/// ```
pub fn partition_of(key: &[u8], count: i32) -> i32 {
    let positive = murmur2(key) & 0x7fff_ffff;
    i32::try_from(positive).unwrap_or(0) % count.max(1)
}

/// Returns the hash of Kafka's `Utils.murmur2`: Austin Appleby's MurmurHash2 with seed 0x9747b28c.
fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = chunk.iter().rev().fold(0u32, |word, &byte| word << 8 | u32::from(byte));
        word = word.wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0u32, |word, &byte| word << 8 | u32::from(byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_match_those_in_kafkas_tests() {
        let golden: [(&str, i32); 5] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ];
        for (key, hash) in golden {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
