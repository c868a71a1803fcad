//! Short hashes of names, for the metadata of commits.

/// A 24-bit hash of the name of a stage, a table or a topic: [`fnv1a`], folded as its authors advise.
/// A plan rejects names whose hashes are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameHash(pub(super) u32);

impl NameHash {
    pub(crate) fn of(name: &str) -> Self {
        let hash = fnv1a(name);
        Self((hash >> 24) ^ (hash & 0x00ff_ffff))
    }
}

/// Returns the 32-bit FNV-1a hash of a text (Fowler, Noll and Vo), which is the same in every release.
pub(crate) fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Committed metadata hold these numbers.
    #[test]
    fn a_hash_never_changes() {
        // The 32-bit hashes are those of the authors' test vectors: 811c9dc5, e40c292c and bf9cf968.
        for (name, hash) in [("", 0x1c_9d44), ("a", 0x0c_29c8), ("foobar", 0x9c_f9d7)] {
            assert_eq!(NameHash::of(name), NameHash(hash), "{name}");
        }
    }
}
