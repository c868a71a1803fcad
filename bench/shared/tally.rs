//! What a table of counts comes to, without regard to order.

use serde_json::{Value, json};

/// Sums up entries, so that two tables can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    keys: u64,
    sum: i64,
    checksum: u64,
}

impl Tally {
    /// Adds an entry; `window` is the start of its window, 0 in a table without any.
    pub fn add(&mut self, key: &[u8], window: i64, count: i64) {
        self.keys += 1;
        self.sum += count;
        let mut rest = [0; 16];
        rest[..8].copy_from_slice(&window.to_be_bytes());
        rest[8..].copy_from_slice(&count.to_be_bytes());
        self.checksum = self.checksum.wrapping_add(hash(key, &rest));
    }

    /// The entries so far.
    pub fn keys(self) -> u64 {
        self.keys
    }

    /// For those who compare. The checksum is text: it has more digits than a float.
    pub fn to_json(self) -> Value {
        json!({ "keys": self.keys, "sum": self.sum, "checksum": self.checksum.to_string() })
    }
}

/// FNV-1a of key and payload, set apart by a byte that JSON does not hold.
pub fn hash(key: &[u8], payload: &[u8]) -> u64 {
    let bytes = key.iter().chain(&[0xff]).chain(payload);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
