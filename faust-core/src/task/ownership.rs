//! The partitions that the worker owns at this moment, known to everyone who commits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::offsets::OwnerEpoch;
use crate::transport::{Assigned, TopicPartition};

/// The partitions that a worker owns, each with the first epoch of this member in the generation in which it was assigned. The
/// broker accepts a commit from a member that no longer owns the partition, as long as the member belongs to the group's present
/// generation: such a commit would move the offset of the next owner back. The next owner may be the same worker: what it has
/// finished before it lost the partition must not be committed either.
///
/// The group's callbacks update it at once, even while the control loop is busy.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    owned: Mutex<BTreeMap<TopicPartition, OwnerEpoch>>,
}

/// Guard: the partitions are lost when it is dropped.
#[derive(Debug)]
pub(crate) struct Revocation {
    ownership: Arc<Ownership>,
    /// The partitions, each with the epoch of the ownership that ends.
    partitions: BTreeMap<TopicPartition, OwnerEpoch>,
}

impl Ownership {
    pub(crate) fn assigned<'a>(&self, partitions: impl IntoIterator<Item = &'a Assigned>) {
        let epoch = |of: &Assigned| OwnerEpoch::of_generation(of.generation, of.nonce);
        self.owned().extend(partitions.into_iter().map(|of| (of.partition.clone(), epoch(of))));
    }

    /// Begins to revoke partitions. They may still be committed until the guard is dropped.
    pub(crate) fn revoke(self: &Arc<Self>, partitions: &[TopicPartition]) -> Revocation {
        let owned = self.owned();
        let held = |partition: &TopicPartition| Some((partition.clone(), *owned.get(partition)?));
        let partitions = partitions.iter().filter_map(held).collect();
        drop(owned);
        Revocation { ownership: Arc::clone(self), partitions }
    }

    /// Returns whether a partition may be committed now by a task to which it was assigned in this epoch.
    pub(crate) fn owns(&self, partition: &TopicPartition, epoch: OwnerEpoch) -> bool {
        self.owned().get(partition) == Some(&epoch)
    }

    fn owned(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, OwnerEpoch>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Revocation {
    fn drop(&mut self) {
        // A partition that was assigned again meanwhile has another epoch.
        let mut owned = self.ownership.owned();
        owned.retain(|partition, epoch| self.partitions.get(partition) != Some(epoch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_owned_until_its_revocation_has_ended() {
        let ownership = Arc::new(Ownership::default());
        let parts = [TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
        let epochs = [1, 2].map(|generation| OwnerEpoch::of_generation(generation, 0));
        let assign = |parts: &[TopicPartition], epoch| {
            ownership.owned().extend(parts.iter().map(|partition| (partition.clone(), epoch)));
        };
        let owned = |epoch| parts.each_ref().map(|partition| ownership.owns(partition, epoch));
        assert_eq!(owned(epochs[0]), [false, false]);
        assign(&parts, epochs[0]);
        let revocation = ownership.revoke(&parts[1..]);
        assert_eq!(owned(epochs[0]), [true, true]);
        drop(revocation);
        assert_eq!(owned(epochs[0]), [true, false]);
        let late = ownership.revoke(&parts[..1]);
        assign(&parts, epochs[1]);
        assert_eq!((owned(epochs[0]), owned(epochs[1])), ([false, false], [true, true]));
        drop(late);
        assert_eq!(owned(epochs[1]), [true, true], "a revocation that ends late ends the former ownership only");
    }
}
