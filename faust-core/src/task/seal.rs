//! A seal: the finished work of a group of stages, taken between two events.

use std::sync::Arc;

use bytes::Bytes;

use super::changelog::ChangelogWriter;
use super::positions::Positions;
use super::tables::{SealedChanges, SealedTable};
use crate::offsets::CommitNumber;
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
}

impl Seal {
    pub(super) fn new(positions: Positions, deliveries: Vec<Arc<Delivery>>, changes: Vec<SealedChanges>) -> Self {
        Self { positions, deliveries, changes }
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
        let Self { mut deliveries, mut changes, .. } = self;
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
        Self { positions: next.positions, deliveries, changes }
    }

    /// Returns the number of tables with changes.
    pub(super) fn tables(&self) -> usize {
        self.changes.len()
    }

    /// Starts sending the changes to the changelogs under this number. `metadata` are those of the commit. Returns them with
    /// all deliveries to wait for.
    pub(super) fn send(
        &self,
        changelog: Option<&ChangelogWriter>,
        number: CommitNumber,
        metadata: Option<&Bytes>,
    ) -> (Vec<SealedTable>, Vec<Arc<Delivery>>) {
        let tables: Vec<_> = changelog
            .into_iter()
            .flat_map(|changelog| self.changes.iter().map(|part| part.send(changelog, number, metadata.cloned())))
            .collect();
        let deliveries = self.deliveries.iter().chain(tables.iter().map(|table| &table.delivery)).cloned().collect();
        (tables, deliveries)
    }
}
