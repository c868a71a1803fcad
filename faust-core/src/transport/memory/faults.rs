//! The faults of real brokers and clients that a test can switch on, and how often each of them has occurred.

use std::collections::BTreeMap;
use std::time::Duration;

/// A behaviour of Kafka's brokers or of librdkafka that the in-memory cluster shows only on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ClusterFault {
    /// A commit is accepted for partitions that the member no longer owns, because the member belongs to the group's
    /// current generation. Kafka's coordinator does not compare a commit with the assignment.
    CommitByFormerOwner,
    /// A commit is refused for one of its partitions, and accepted for the others.
    PartialCommit,
    /// A commit takes effect, but its answer does not arrive: the member sees a timeout.
    LostCommitAnswer,
    /// A commit takes effect up to a rebalance timeout after it was sent, as if the broker had been frozen: by then, the
    /// member may have given the partitions up, and is then a former owner ([`CommitByFormerOwner`](Self::CommitByFormerOwner)).
    LateCommit,
    /// A rebalance does not wait until a member has given up its partitions, but for a random part of the rebalance
    /// timeout.
    ImpatientRebalance,
    /// A rebalance is incremental (cooperative): members keep the partitions that they are assigned again.
    IncrementalRebalance,
    /// The group expels a member, which does not know it yet and continues
    /// ([`TestDriver::expel`](crate::testing::TestDriver::expel)).
    ExpelledMember,
    /// Messages for a partition stay in the producer for up to a few seconds, while those for others overtake them.
    SlowSend,
    /// The buffer of the producer is full for a short time, and the sender of a message waits for room.
    FullBuffer,
    /// A message is not stored, and fails with a timeout.
    FailedSend,
    /// A message is refused permanently: its topic's authorization has failed.
    RefusedSend,
    /// A message is stored, but its acknowledgement does not arrive: it fails with a timeout.
    LostSendAnswer,
    /// A producer without transactions fails for good, as when the brokers miss one of its messages, and its worker ends. It occurs
    /// at one in 16 of the messages that draw it.
    ProducerFailed,
    /// The coordinator of transactions refuses a step, and the transaction has to be aborted.
    AbortedTransaction,
    /// A producer of transactions is fenced, as after a timeout. Of the commits that it was making, half take effect.
    ProducerLost,
    /// A look-up of committed offsets that does not wait for transactions does not find those of the last one: the coordinator
    /// writes them once it has answered the commit.
    StaleOffsets,
    /// Reading fails within a batch, with an error after which it continues.
    FetchError,
    /// Reading is refused within a batch, and the messages behind the error are dropped unless the queue is moved.
    FetchRefused,
}

impl ClusterFault {
    /// All faults.
    pub const ALL: [Self; 18] = [
        Self::CommitByFormerOwner,
        Self::PartialCommit,
        Self::LostCommitAnswer,
        Self::LateCommit,
        Self::ImpatientRebalance,
        Self::IncrementalRebalance,
        Self::ExpelledMember,
        Self::SlowSend,
        Self::FullBuffer,
        Self::FailedSend,
        Self::RefusedSend,
        Self::LostSendAnswer,
        Self::ProducerFailed,
        Self::AbortedTransaction,
        Self::ProducerLost,
        Self::StaleOffsets,
        Self::FetchError,
        Self::FetchRefused,
    ];
}

/// The faults that a cluster shows, each with its probability. By default, it shows none.
///
/// ```
/// use faust::testing::{ClusterFault, FaultProfile};
///
/// let profile = FaultProfile::default().with(ClusterFault::LostCommitAnswer, 0.1);
/// assert_eq!(profile.probability(ClusterFault::LostCommitAnswer), 0.1);
/// assert_eq!(profile.probability(ClusterFault::SlowSend), 0.0);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultProfile {
    probabilities: BTreeMap<ClusterFault, f64>,
}

impl FaultProfile {
    /// Sets the probability of a fault, from 0 to 1, at each of its occasions: a commit, a rebalance, a message to an
    /// idle partition of a producer, a read of several messages, a look-up soon after a transaction.
    #[must_use]
    pub fn with(mut self, fault: ClusterFault, probability: f64) -> Self {
        self.probabilities.insert(fault, probability);
        self
    }

    /// Returns the probability of a fault.
    pub fn probability(&self, fault: ClusterFault) -> f64 {
        self.probabilities.get(&fault).copied().unwrap_or(0.0)
    }
}

/// The profile in effect, the source of random numbers, and the number of occurrences of each fault.
#[derive(Debug)]
pub(super) struct Faults {
    profile: FaultProfile,
    random: u64,
    counts: BTreeMap<ClusterFault, u64>,
}

impl Faults {
    pub(super) fn seeded(seed: u64) -> Self {
        Self { profile: FaultProfile::default(), random: seed, counts: BTreeMap::new() }
    }

    pub(super) fn set(&mut self, profile: FaultProfile) {
        self.profile = profile;
    }

    /// Returns whether the fault occurs now, and counts it if it does. Call it only on an occasion on which the fault
    /// has an effect.
    pub(super) fn occurs(&mut self, fault: ClusterFault) -> bool {
        let occurs = self.draw(fault);
        if occurs {
            self.caused(fault);
        }
        occurs
    }

    /// Draws whether the fault occurs, and does not count it. [`caused`](Self::caused) counts it once it has an effect.
    pub(super) fn draw(&mut self, fault: ClusterFault) -> bool {
        let probability = self.profile.probability(fault);
        // Without the fault, no random number is drawn: a profile does not change what others draw.
        probability > 0.0 && self.fraction() < probability
    }

    /// Counts a fault.
    pub(super) fn caused(&mut self, fault: ClusterFault) {
        *self.counts.entry(fault).or_default() += 1;
    }

    /// Returns a number below `bound`, which is above zero.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or_default()
    }

    /// Returns a random time up to `max`, mostly short: many events of a history take place within milliseconds.
    pub(super) fn short_time(&mut self, max: Duration) -> Duration {
        let max = usize::try_from(max.as_millis()).unwrap_or(usize::MAX);
        let bound = if self.below(4) == 0 { max } else { max.min(50) };
        Duration::from_millis(u64::try_from(self.below(bound)).unwrap_or_default())
    }

    pub(super) fn counts(&self) -> &BTreeMap<ClusterFault, u64> {
        &self.counts
    }

    /// Returns a number from 0 up to, but not including, 1.
    fn fraction(&mut self) -> f64 {
        const STEPS: u32 = 1 << 20;
        let step = u32::try_from(self.next() % u64::from(STEPS)).unwrap_or_default();
        f64::from(step) / f64::from(STEPS)
    }

    /// Returns the next number of the sequence (SplitMix64: Steele, Lea and Flood, 2014).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_occurs_as_often_as_its_profile_says_and_the_same_for_the_same_seed() {
        let run = |seed| {
            let mut faults = Faults::seeded(seed);
            faults.set(FaultProfile::default().with(ClusterFault::SlowSend, 0.25).with(ClusterFault::FetchError, 1.0));
            let slow: Vec<bool> = (0..1000).map(|_| faults.occurs(ClusterFault::SlowSend)).collect();
            assert!(faults.occurs(ClusterFault::FetchError));
            assert!(!faults.occurs(ClusterFault::PartialCommit));
            let count = slow.iter().filter(|occurs| **occurs).count();
            assert!((200..300).contains(&count), "{count} of 1000");
            assert_eq!(faults.counts()[&ClusterFault::SlowSend], count as u64);
            assert_eq!(faults.counts().get(&ClusterFault::PartialCommit), None);
            slow
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
