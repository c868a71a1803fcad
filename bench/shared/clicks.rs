//! The clicks that are the input of all workloads.

use serde::{Deserialize, Serialize};

/// The value of a message: about 120 bytes of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Click {
    /// E-mail address of the visitor.
    pub email: String,
    /// Time, as text.
    pub timestamp: String,
    /// URI of the page, which is the key of the messages that are counted by key.
    pub uri: String,
    /// Number to filter by, from 0 to 199.
    pub number: i64,
}

impl Click {
    /// Returns the click with this index, on one of a thousand pages. It is deterministic.
    pub fn numbered(index: u64) -> Self {
        Self::on_page(index, (mix(index) >> 16) % 1000)
    }

    /// Returns the click with this index on this page. It is deterministic.
    pub fn on_page(index: u64, page: u64) -> Self {
        let mixed = mix(index);
        Self {
            email: format!("reader{}@example.com", mixed % 10_000),
            timestamp: format!("2026-11-23T{:02}:{:02}:{:02}", index / 3600 % 24, index / 60 % 60, index % 60),
            uri: format!("https://www.example.com/pages/{page}"),
            number: i64::from((mixed >> 32) as u32 % 200),
        }
    }
}

/// Returns a pseudo-random number for this index, computed with SplitMix64.
pub fn mix(index: u64) -> u64 {
    let mut mixed = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
