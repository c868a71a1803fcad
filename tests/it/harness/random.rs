//! Reproducible random moments: a seeded random number generator (splitmix64).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A random number generator.
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// Creates a generator seeded by `FAUST_TEST_SEED` or by the clock, and prints the seed.
    pub(crate) fn new(name: &str) -> Self {
        let given = std::env::var("FAUST_TEST_SEED").ok();
        let now = || u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos());
        let seed = given.map_or_else(now, |text| text.parse().expect("FAUST_TEST_SEED is a number"));
        eprintln!("{name}: FAUST_TEST_SEED={seed}");
        Self { state: seed }
    }

    /// Returns another generator, seeded by the next number of this one.
    pub(crate) fn fork(&mut self) -> Self {
        Self { state: self.below(u64::MAX) }
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Returns a duration below `most`.
    pub(crate) fn while_below(&mut self, most: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(most.as_millis()).unwrap()))
    }
}
