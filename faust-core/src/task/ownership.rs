//! The partitions that the worker owns at this moment, known to everyone who commits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::transport::TopicPartition;

/// The partitions that a worker owns. The broker accepts a commit from a member that no longer owns the partition, as long
/// as the member belongs to the group's present generation: such a commit would move the offset of the next owner back.
///
/// The group's callbacks update it at once, even while the control loop is busy.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    owned: Mutex<BTreeSet<TopicPartition>>,
}

/// Guard: the partitions are lost when it is dropped.
#[derive(Debug)]
pub(crate) struct Revocation {
    ownership: Arc<Ownership>,
    partitions: Vec<TopicPartition>,
}

impl Ownership {
    pub(crate) fn assigned<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) {
        self.owned().extend(partitions.into_iter().cloned());
    }

    /// Begins to revoke partitions. They may still be committed until the guard is dropped.
    pub(crate) fn revoke(self: &Arc<Self>, partitions: Vec<TopicPartition>) -> Revocation {
        Revocation { ownership: Arc::clone(self), partitions }
    }

    /// Returns whether a partition may be committed now.
    pub(crate) fn owns(&self, partition: &TopicPartition) -> bool {
        self.owned().contains(partition)
    }

    fn owned(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Revocation {
    fn drop(&mut self) {
        let mut owned = self.ownership.owned();
        owned.retain(|partition| !self.partitions.contains(partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_owned_until_its_revocation_has_ended() {
        let ownership = Arc::new(Ownership::default());
        let parts = [TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
        let owned = || parts.each_ref().map(|partition| ownership.owns(partition));
        assert_eq!(owned(), [false, false]);
        ownership.assigned(&parts);
        let revocation = ownership.revoke(parts[1..].to_vec());
        assert_eq!(owned(), [true, true]);
        drop(revocation);
        assert_eq!(owned(), [true, false]);
        ownership.assigned(&parts[1..]);
        assert_eq!(owned(), [true, true]);
    }
}
