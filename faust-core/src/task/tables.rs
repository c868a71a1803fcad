//! The tables of one task: sealed together at a cut, committed or taken back together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::changelog::ChangelogWriter;
use crate::error::Error;
use crate::stage::tables::TaskTable;
use crate::store::Sealed;
use crate::table_state::AnyTablePartition;
use crate::transport::Delivery;

/// All tables of a task.
#[derive(Default)]
pub(crate) struct TaskTables {
    tables: BTreeMap<Arc<str>, Arc<TaskTable>>,
}

/// A table at a cut, on its way to the changelog.
pub(crate) struct SealedTable {
    table: Arc<TaskTable>,
    sealed: Arc<Sealed>,
    pub(crate) delivery: Arc<Delivery>,
    cut: u64,
}

impl TaskTables {
    pub(crate) fn new(tables: impl IntoIterator<Item = TaskTable>) -> Arc<Self> {
        let named = |table: TaskTable| (Arc::clone(&table.state.info().name), Arc::new(table));
        Arc::new(Self { tables: tables.into_iter().map(named).collect() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<TaskTable>> {
        self.tables.get(name)
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = &Arc<dyn AnyTablePartition>> {
        self.tables.values().map(|table| &table.state)
    }

    /// Forgets the stages of the former run.
    pub(crate) fn forget_clocks(&self) {
        self.tables.values().for_each(|table| table.forget_clocks());
    }

    /// Whether a cut has something to write.
    pub(crate) fn is_dirty(&self) -> bool {
        self.states().any(|state| state.is_dirty())
    }

    /// Keys written since the last cut, of the table with the most.
    pub(crate) fn dirty(&self) -> usize {
        self.states().map(|state| state.dirty()).max().unwrap_or(0)
    }

    /// Gives up some of what is only kept to be read faster, if all tables together hold more than they may.
    pub(crate) fn trim(&self) {
        self.states().for_each(|state| state.trim());
    }

    /// Seals every table that was written to, and begins to send what was.
    ///
    /// # Errors
    /// A value that its codec refuses; then nothing is sealed.
    pub(crate) fn seal(&self, cut: u64, changelog: &ChangelogWriter) -> Result<Vec<SealedTable>, Error> {
        let mut sealed = Vec::new();
        for table in self.tables.values() {
            match table.state.seal() {
                Ok(Some(part)) => sealed.push((table, part)),
                Ok(None) => {}
                Err(error) => {
                    sealed.iter().for_each(|(table, _)| table.state.unseal());
                    return Err(error);
                }
            }
        }
        let begin = |(table, sealed): (&Arc<TaskTable>, Arc<Sealed>)| {
            let topic = Arc::clone(&table.topic);
            let delivery = changelog.begin(table.state.info(), topic, table.partition, cut, Arc::clone(&sealed));
            SealedTable { table: Arc::clone(table), sealed, delivery, cut }
        };
        Ok(sealed.into_iter().map(begin).collect())
    }

    /// Where each changelog goes on, for the mark of a commit.
    pub(crate) fn logs(&self) -> BTreeMap<String, i64> {
        self.tables.iter().map(|(name, table)| (name.to_string(), table.changelog_end())).collect()
    }

    /// The commit of what was sealed is not certain: the next cut covers it too.
    pub(crate) fn unseal(&self) {
        self.states().for_each(|state| state.unseal());
    }

    /// Takes back what was written since the last cut.
    pub(crate) fn roll_back_open(&self) {
        self.states().for_each(|state| state.roll_back_open());
    }

    /// Takes back what was sealed as well.
    pub(crate) fn roll_back_sealed(&self) {
        self.states().for_each(|state| state.roll_back_sealed());
    }
}

impl SealedTable {
    /// All of it has arrived: notes where the changelog goes on now.
    ///
    /// # Errors
    /// It has become shorter, so it is another topic than before.
    pub(crate) fn arrived(&self) -> Result<(), Error> {
        let Some(last) = self.delivery.last_offset() else { return Ok(()) };
        let before = self.table.note_changelog(last);
        if last >= before {
            return Ok(());
        }
        let info = self.table.state.info();
        Err(Error::State {
            table: info.name.to_string(),
            partition: self.table.partition,
            why: format!(
                "its changelog `{}` was at offset {before} and is at {last} now: somebody deleted it and it was created again; what it held is gone. Stop all workers, then run `reset --topics` to start over",
                info.changelog
            ),
        })
    }

    /// The commit went through: the store may have it.
    pub(crate) fn committed(self) {
        let mark = self.table.identity.mark(self.table.changelog_end(), self.cut);
        self.table.state.committed(self.sealed, mark, &self.table.writer);
    }
}

impl std::fmt::Debug for SealedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedTable({}, cut {})", self.table.state.info().name, self.cut)
    }
}

impl std::fmt::Debug for TaskTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.tables.keys()).finish()
    }
}
