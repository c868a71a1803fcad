//! A seal: the finished work of a group of stages, taken between two events.

use std::sync::Arc;

use bytes::Bytes;

use super::positions::Positions;
use super::seal_writer::{SealWriter, TransactionSlot};
use super::tables::{SealedChanges, SealedTable};
use crate::offsets::CommitNumber;
use crate::stage::staging::StagedOutputs;
use crate::store::Sealed;
use crate::transport::Delivery;

/// The finished work of a group: its positions, the messages sent until then, and the changes of its tables.
#[derive(Debug)]
pub(super) struct Seal {
    pub(super) positions: Positions,
    /// Messages that must be acknowledged before the seal is committed.
    deliveries: Vec<Arc<Delivery>>,
    /// Tables with changes since the seal before.
    changes: Vec<SealedChanges>,
    /// Staged messages, in order.
    outputs: Vec<Arc<StagedOutputs>>,
}

impl Seal {
    pub(super) fn new(
        positions: Positions,
        deliveries: Vec<Arc<Delivery>>,
        changes: Vec<SealedChanges>,
        outputs: Option<Arc<StagedOutputs>>,
    ) -> Self {
        Self { positions, deliveries, changes, outputs: outputs.into_iter().collect() }
    }

    /// Returns the seal after a commit whose outcome is unknown.
    pub(super) fn unconfirmed(mut self) -> Self {
        for part in &mut self.changes {
            part.sealed = Arc::new(part.sealed.of_unknown_outcome());
        }
        self
    }

    /// Joins this seal and the one that follows it: they are committed together.
    pub(super) fn followed_by(self, next: Self) -> Self {
        let Self { mut deliveries, mut changes, mut outputs, .. } = self;
        outputs.extend(next.outputs);
        deliveries.retain(|delivery| !delivery.is_fulfilled());
        for delivery in next.deliveries {
            if !deliveries.iter().any(|known| Arc::ptr_eq(known, &delivery)) {
                deliveries.push(delivery);
            }
        }
        for next in next.changes {
            match changes.iter_mut().find(|changes| Arc::ptr_eq(&changes.table, &next.table)) {
                Some(earlier) => {
                    next.table.state.merge_last_seals();
                    earlier.sealed = Arc::new(Sealed::merged(&earlier.sealed, &next.sealed));
                }
                None => changes.push(next),
            }
        }
        Self { positions: next.positions, deliveries, changes, outputs }
    }

    /// Returns the number of tables with changes.
    pub(super) fn tables(&self) -> usize {
        self.changes.len()
    }

    /// Starts sending the changes to the changelogs under this number, and the staged messages to their topics. `metadata` are
    /// those of the commit. With `slot`, everything is sent in the transaction that fills it. Returns the tables with all
    /// deliveries to wait for.
    pub(super) fn send(
        &self,
        writer: Option<&SealWriter>,
        number: CommitNumber,
        metadata: Option<&Bytes>,
        slot: Option<&TransactionSlot>,
    ) -> (Vec<SealedTable>, Vec<Arc<Delivery>>) {
        let Some(writer) = writer else { return (Vec::new(), self.deliveries.clone()) };
        let send = |part: &SealedChanges| part.send(writer, number, metadata.cloned(), slot);
        let tables: Vec<_> = self.changes.iter().map(send).collect();
        let outputs = self.outputs.iter().zip(slot.into_iter().cycle());
        let outputs = outputs.flat_map(|(outputs, slot)| writer.begin_outputs(outputs, slot));
        let of_tables = tables.iter().map(|table| &table.delivery);
        let deliveries = self.deliveries.iter().chain(of_tables).cloned().chain(outputs).collect();
        (tables, deliveries)
    }
}
