//! The clicks that all workloads read.

use serde::{Deserialize, Serialize};

/// What a message holds: about 120 bytes of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Click {
    /// Who.
    pub email: String,
    /// When, as text.
    pub timestamp: String,
    /// Where; the key of the messages that are counted by key.
    pub uri: String,
    /// Something to filter by, from 0 to 199.
    pub number: i64,
}

impl Click {
    /// The same for the same index, on one of a thousand pages.
    pub fn numbered(index: u64) -> Self {
        Self::on_page(index, (mix(index) >> 16) % 1000)
    }

    /// The same for the same index, on this page.
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

/// SplitMix64: well mixed, and the same for the same index.
pub fn mix(index: u64) -> u64 {
    let mut mixed = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
