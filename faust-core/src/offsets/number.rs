//! The numbers of a task's commits, and of its ownerships.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a commit of a task. It is never used twice, and grows from commit to commit; 0 is before the first.
///
/// Changelog records carry the number of the commit they belong to, so that a restore can skip those of a commit that
/// never took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct CommitNumber(pub(crate) u64);

impl CommitNumber {
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for CommitNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an ownership of a task: that of the generation of the consumer group in which the task was assigned, or one
/// above the highest epoch that its owner has found, if that is greater. 0 is before the first.
///
/// A generation leaves room for the next ones of the same owner, whose tasks may start several times in it. Two owners have
/// the same epoch only by chance: if a static member restarts within a generation, or if the group was deleted and its
/// generations begin again, and their random numbers are equal.
///
/// Changelog records carry the epoch of their writer, so that a restore can skip those of a former owner that continued
/// after it had lost the task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct OwnerEpoch(pub(crate) u64);

/// Number of bits for the epochs within a generation.
const WITHIN_GENERATION: u32 = 16;

impl OwnerEpoch {
    /// Returns the first epoch of a member in a generation. `nonce` is the member's random number.
    pub(crate) fn of_generation(generation: u64, nonce: u16) -> Self {
        // Half of the room is left for the next epochs.
        Self((generation << WITHIN_GENERATION) | u64::from(nonce >> 1))
    }

    /// Returns whether this is an epoch of the generation before that one.
    pub(crate) fn is_just_before(self, generation: Self) -> bool {
        (self.0 >> WITHIN_GENERATION) + 1 == generation.0 >> WITHIN_GENERATION
    }

    /// Returns the epoch of an owner that has found records or commits of this epoch, and none of a higher one.
    pub(crate) fn above(self, generation: Self) -> Self {
        Self(self.0.saturating_add(1)).max(generation)
    }
}

impl fmt::Display for OwnerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The version of a commit. Of several commits of a task, the one with the highest epoch counts, and among them the one
/// with the highest number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CommitVersion {
    pub(crate) epoch: OwnerEpoch,
    pub(crate) number: CommitNumber,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epochs_of_owners_differ_and_grow() {
        let generation = |generation| OwnerEpoch::of_generation(generation, u16::MAX);
        let first = OwnerEpoch::default().above(generation(3));
        let again = first.above(generation(3));
        let next = OwnerEpoch::default().above(generation(4));
        assert!(first < again && again < next, "{first} {again} {next}");
        assert_ne!(generation(3), OwnerEpoch::of_generation(3, 7), "a predecessor of the same generation");
        let last_of_many = (0..1 << (WITHIN_GENERATION - 1)).fold(generation(3), |epoch, _| epoch.above(generation(3)));
        assert!(last_of_many < OwnerEpoch::of_generation(4, 0), "an owner whose tasks start again and again");
        let after_a_deleted_group = next.above(generation(1));
        assert!(next < after_a_deleted_group);
        assert!(generation(3).is_just_before(generation(4)) && !generation(3).is_just_before(generation(5)));
        assert!(!generation(4).is_just_before(generation(4)) && !generation(4).is_just_before(generation(3)));
    }
}
