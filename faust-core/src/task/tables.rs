//! The tables of a task, and of each group of its stages, which seals and rolls back its tables together.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::seal_writer::{SealWriter, TransactionSlot};
use crate::error::Error;
use crate::offsets::{CommitNumber, CommitVersion, NameHash, OwnerEpoch, TableMark};
use crate::stage::tables::TaskTable;
use crate::store::Sealed;
use crate::table_state::AnyTablePartition;
use crate::transport::Delivery;

/// The tables of a task or of a group.
#[derive(Default)]
pub(crate) struct TaskTables {
    tables: BTreeMap<Arc<str>, Arc<TaskTable>>,
}

/// The encoded changes of one table in a seal.
#[derive(Clone)]
pub(super) struct SealedChanges {
    pub(super) table: Arc<TaskTable>,
    pub(super) sealed: Arc<Sealed>,
}

/// The sealed changes of a table, being sent to the changelog.
#[derive(Clone)]
pub(crate) struct SealedTable {
    pub(super) table: Arc<TaskTable>,
    pub(super) sealed: Arc<Sealed>,
    pub(super) delivery: Arc<Delivery>,
    pub(super) version: CommitVersion,
    /// The records are part of a transaction, whose end is a record of the changelog, too.
    pub(super) is_transactional: bool,
}

impl TaskTables {
    pub(crate) fn new(tables: impl IntoIterator<Item = TaskTable>) -> Arc<Self> {
        let named = |table: TaskTable| (Arc::clone(&table.state.info().name), Arc::new(table));
        Arc::new(Self { tables: tables.into_iter().map(named).collect() })
    }

    /// Returns those of the tables that have one of these names.
    pub(super) fn named<'a>(&self, names: impl IntoIterator<Item = &'a Arc<str>>) -> Self {
        let named = |name: &Arc<str>| Some((Arc::clone(name), Arc::clone(self.tables.get(name)?)));
        Self { tables: names.into_iter().filter_map(named).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<TaskTable>> {
        self.tables.get(name)
    }

    /// Records the epoch of this owner's records.
    pub(super) fn set_epoch(&self, epoch: OwnerEpoch) {
        self.tables.values().for_each(|table| table.own.set_epoch(epoch));
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = &Arc<dyn AnyTablePartition>> {
        self.tables.values().map(|table| &table.state)
    }

    /// Removes the stage clocks of the previous run.
    pub(crate) fn forget_clocks(&self) {
        self.tables.values().for_each(|table| table.forget_clocks());
    }

    /// Returns `true` if a table has changes since the last seal.
    pub(crate) fn is_dirty(&self) -> bool {
        self.states().any(|state| state.is_dirty())
    }

    /// Returns the number of keys written since the last seal, for the table with the most.
    pub(crate) fn dirty(&self) -> usize {
        self.states().map(|state| state.dirty()).max().unwrap_or(0)
    }

    /// Evicts some clean entries if the worker's tables together exceed their memory budget.
    pub(crate) fn trim(&self) {
        self.states().for_each(|state| state.trim());
    }

    /// Seals every table with changes.
    ///
    /// # Errors
    /// Fails if a codec cannot encode a value, or it is too large for the changelog; then nothing is sealed.
    pub(super) fn seal(&self) -> Result<Vec<SealedChanges>, Error> {
        let mut changes: Vec<SealedChanges> = Vec::new();
        for table in self.tables.values() {
            match table.state.seal() {
                Ok(Some(sealed)) => changes.push(SealedChanges { table: Arc::clone(table), sealed }),
                Ok(None) => {}
                Err(error) => {
                    changes.iter().for_each(|changes| changes.table.state.reopen());
                    return Err(error);
                }
            }
        }
        Ok(changes)
    }

    /// Returns the marks of the tables for the metadata of a commit, with a number for each table.
    pub(crate) fn marks(&self, number: impl Fn(&TaskTable) -> CommitNumber) -> BTreeMap<NameHash, TableMark> {
        let mark = |table: &TaskTable| TableMark {
            end: table.restored.end,
            length: table.changelog_end(),
            number: number(table),
        };
        self.tables.iter().map(|(name, table)| (NameHash::of(name), mark(table))).collect()
    }

    /// Sets whether each written value is encoded, so that one that cannot be sealed is refused by its event.
    pub(super) fn check_writes(&self, checks: bool) {
        self.states().for_each(|state| state.check_writes(checks));
    }

    /// Undoes a seal of these tables, before anything else is written to them.
    pub(super) fn reopen(&self) {
        self.states().for_each(|state| state.reopen());
    }

    /// Rolls back the changes since the last seal.
    pub(crate) fn roll_back_open(&self) {
        self.states().for_each(|state| state.roll_back_open());
    }

    /// Rolls back the sealed changes as well.
    pub(crate) fn roll_back_sealed(&self) {
        self.states().for_each(|state| state.roll_back_sealed());
    }
}

impl SealedChanges {
    /// Starts sending the changes to the table's changelog under this number. `metadata` are those of the commit, for the last
    /// record. With `slot`, they are sent in the transaction that fills it.
    pub(super) fn send(
        &self,
        writer: &SealWriter,
        number: CommitNumber,
        metadata: Option<Bytes>,
        slot: Option<&TransactionSlot>,
    ) -> SealedTable {
        let Self { table, sealed } = self.clone();
        let version = CommitVersion { epoch: writer.epoch(), number };
        let delivery = writer.begin(&table, number, Arc::clone(&sealed), metadata, slot);
        SealedTable { table, sealed, delivery, version, is_transactional: slot.is_some() }
    }
}

impl SealedTable {
    /// Records the new end of the changelog, after all records are acknowledged.
    ///
    /// # Errors
    /// Fails if the changelog has become shorter, which means that the topic was replaced.
    pub(crate) fn arrived(&self) -> Result<(), Error> {
        if self.delivery.has_unknown_offset() {
            self.table.note_unknown_offset();
        }
        let Some(last) = self.delivery.last_offset() else { return Ok(()) };
        let before = self.table.note_changelog(last);
        if last >= before {
            self.table.own.note_end(self.table.changelog_end());
            return Ok(());
        }
        let info = self.table.state.info();
        Err(Error::State {
            table: info.name.to_string(),
            partition: self.table.partition,
            why: format!(
                "its changelog `{}` was at offset {before} and is at {last} now: acknowledged records are lost, because it was deleted and created again, or truncated, or a replica without them became its leader; stop all workers, then run `reset --topics` to start over",
                info.changelog
            ),
        })
    }

    /// Passes the sealed changes to the store, after a successful commit.
    pub(crate) fn committed(self) {
        if self.is_transactional && !self.sealed.is_empty() {
            self.table.own.note_marker();
        }
        let mark = self.table.identity.mark((self.table.own.end(), self.table.written_end()), self.version, false);
        self.table.state.committed(self.sealed, mark, &self.table.writer);
    }
}

impl std::fmt::Debug for SealedChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedChanges({}, {} keys)", self.table.state.info().name, self.sealed.len())
    }
}

impl std::fmt::Debug for SealedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedTable({}, number {})", self.table.state.info().name, self.version.number)
    }
}

impl std::fmt::Debug for TaskTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.tables.keys()).finish()
    }
}
