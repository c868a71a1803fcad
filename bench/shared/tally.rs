//! An order-independent summary of a table of counts.

use serde_json::{Value, json};

/// A summary of table entries, with which two tables can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    keys: u64,
    sum: i64,
    checksum: u64,
}

impl Tally {
    /// Adds an entry. `window` is the start of its window, or 0 in a table without windows.
    pub fn add(&mut self, key: &[u8], window: i64, count: i64) {
        self.keys += 1;
        self.sum += count;
        let mut rest = [0; 16];
        rest[..8].copy_from_slice(&window.to_be_bytes());
        rest[8..].copy_from_slice(&count.to_be_bytes());
        self.checksum = self.checksum.wrapping_add(hash(key, &rest));
    }

    /// Returns the number of entries so far.
    pub fn keys(self) -> u64 {
        self.keys
    }

    /// Returns the tally as JSON. The checksum is a string, because a float cannot represent all of its digits.
    pub fn to_json(self) -> Value {
        json!({ "keys": self.keys, "sum": self.sum, "checksum": self.checksum.to_string() })
    }
}

/// Returns the FNV-1a hash of key and payload, separated by a byte that does not occur in JSON.
pub fn hash(key: &[u8], payload: &[u8]) -> u64 {
    let bytes = key.iter().chain(&[0xff]).chain(payload);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
