//! Offsets that are committed in a transaction: they are pending until it ends.

use crate::core::change::Change;
use crate::core::group::{MemberRef, OffsetToCommit};
use crate::core::transactions::{Phase, ProducerIdentity};
use crate::core::{BrokerCore, ErrorCode};

/// Offsets in transactions.
impl BrokerCore {
    /// Adds a group to the transaction of a producer, which begins with it unless one is open.
    ///
    /// # Errors
    /// `InvalidGroupId`, `InvalidProducerIdMapping`, `ProducerFenced`, `ConcurrentTransactions`, `StorageError`.
    pub fn add_offsets(
        &mut self,
        id: &str,
        producer: ProducerIdentity,
        group: &str,
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        if group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let wall_ms = self.groups.wall_ms(now_ms);
        let held = self.transactions.by_id.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        held.check(producer)?;
        if held.phase != Phase::Ongoing {
            let mut opened = held.clone();
            opened.open(wall_ms)?;
            opened.groups.insert(group.to_owned());
            return self.note_transaction(id, opened);
        }
        if held.groups.contains(group) {
            return Ok(());
        }
        let change = Change::GroupEnlisted { id: id.to_owned(), group: group.to_owned() };
        self.note(&change)?;
        self.transactions.apply(change);
        Ok(())
    }

    /// Commits offsets in the transaction of a producer, to which the group has been added. They become valid when it is
    /// committed. The results are in the order of `offsets`.
    ///
    /// # Errors
    /// For all: `InvalidProducerIdMapping`, `ProducerFenced`, `TransactionAbortable` if the group is not part of the
    /// transaction, `UnknownMemberId`, `IllegalGeneration`, `FencedInstanceId`. For one: those of
    /// [`commit_offsets`](Self::commit_offsets).
    ///
    /// Unlike other commits, one without a member is accepted while the group has members, and one of a member while it waits
    /// for the leader's assignment, as in Kafka.
    pub fn commit_offsets_in_transaction(
        &mut self,
        id: &str,
        producer: ProducerIdentity,
        group: &str,
        member: &MemberRef,
        offsets: Vec<OffsetToCommit>,
        now_ms: i64,
    ) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
        let held = self.transactions.by_id.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        held.check(producer)?;
        if held.phase != Phase::Ongoing || !held.groups.contains(group) {
            return Err(ErrorCode::TransactionAbortable);
        }
        self.check_transactional_committer(group, member, &offsets, now_ms)?;
        let pending = offsets.into_iter().map(|offset| {
            let (topic, partition, committed) = self.checked_offset(offset, now_ms)?;
            let (group, producer_id) = (group.to_owned(), producer.id);
            let change = Change::OffsetPending { group, producer_id, topic, partition, committed };
            self.note(&change)?;
            self.groups.apply(change);
            Ok(())
        });
        Ok(pending.collect())
    }

    /// Returns true if an open transaction has committed an offset of a group for this partition.
    pub fn has_pending_offset(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.groups.has_pending(group, topic, partition)
    }
}
