//! The events of a run, which follow from its seed.

use crate::random::mix;

/// Number of keys.
pub(crate) const KEYS: u64 = 1_000;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FedEvent {
    pub(crate) key: String,
    pub(crate) value: i64,
}

impl FedEvent {
    /// Returns event `n`. Values are positive, so that sums only grow.
    pub(crate) fn random(seed: u64, n: u64) -> Self {
        let mixed = mix(seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        Self { key: format!("k{}", mixed % KEYS), value: value(mixed >> 32) }
    }

    /// Returns event `n` of the last lap, which has an event of each key.
    pub(crate) fn last_lap(seed: u64, n: u64) -> Self {
        Self { key: format!("k{n}"), value: value(mix(seed ^ n)) }
    }
}

fn value(random: u64) -> i64 {
    i64::try_from(1 + random % 1_000_000).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn events_follow_from_the_seed() {
        let of = |seed| (0..1_000).map(|n| FedEvent::random(seed, n)).collect::<Vec<_>>();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(of(1).iter().all(|event| event.value > 0), "a sum must grow with each event");
    }

    #[test]
    fn the_last_lap_has_each_key_of_the_other_events() {
        let lap: BTreeSet<_> = (0..KEYS).map(|n| FedEvent::last_lap(1, n).key).collect();
        assert_eq!(lap.len(), 1_000);
        assert!((0..10_000).all(|n| lap.contains(&FedEvent::random(1, n).key)));
    }
}
