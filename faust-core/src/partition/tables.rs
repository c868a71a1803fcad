//! The tables of one task: sealed together at a cut, committed or taken back together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::cursor::Cursor;
use super::stage::Input;
use crate::changelog::ChangelogWriter;
use crate::transport::Delivery;
use crate::error::Error;
use crate::store::{Sealed, StoreWriter};
use crate::table_state::AnyTablePartition;
use crate::time::{Clock, Timestamp};
use crate::transport::{SinkTopic, TopicPartition};

/// All tables of a task.
#[derive(Default)]
pub(crate) struct TaskTables {
    tables: BTreeMap<Arc<str>, Arc<TaskTable>>,
}

/// A table of a task, with its way out.
pub(crate) struct TaskTable {
    pub(crate) cell: Arc<dyn AnyTablePartition>,
    pub(crate) partition: i32,
    pub(crate) topic: Arc<dyn SinkTopic>,
    pub(crate) writer: StoreWriter,
    pub(crate) marking: Marking,
    /// Where the changelog goes on, as far as this task knows.
    next: AtomicI64,
    /// The places of the stages that use it, for its stream time; of the present generation.
    clocks: Mutex<Vec<StageClock>>,
}

/// The place of a stage, and what it reads.
struct StageClock {
    cursor: Arc<Cursor>,
    inputs: Vec<TopicPartition>,
}

/// What every mark of a store says.
#[derive(Clone)]
pub(crate) struct Marking {
    /// The app with its version.
    pub(crate) group: String,
    /// The types, codecs and windows it is written for.
    pub(crate) kind: String,
    /// The id of the changelog topic, which another topic of its name does not have.
    pub(crate) topic_id: String,
    pub(crate) clock: Clock,
}

/// How far a store is, and whose it is. Kept in the store, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreMark {
    /// Version of the form of stores.
    pub(crate) v: u8,
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) topic_id: String,
    /// Everything before this offset of the changelog is in the store.
    pub(crate) next: i64,
    /// The last cut that is in the store.
    pub(crate) cut: u64,
    /// When it was written, by the wall clock: removals are forgotten by the changelog in time.
    pub(crate) time: i64,
}

/// The form of stores that this release writes.
pub(crate) const STORE_VERSION: u8 = 1;

impl Marking {
    /// The bytes of a mark.
    pub(crate) fn mark(&self, next: i64, cut: u64) -> Vec<u8> {
        let mark = StoreMark {
            v: STORE_VERSION,
            group: self.group.clone(),
            kind: self.kind.clone(),
            topic_id: self.topic_id.clone(),
            next,
            cut,
            time: self.clock.now().0,
        };
        serde_json::to_vec(&mark).expect("numbers and strings are always JSON")
    }
}

/// A table at a cut, on its way to the changelog.
pub(crate) struct SealedTable {
    table: Arc<TaskTable>,
    sealed: Arc<Sealed>,
    pub(crate) delivery: Arc<Delivery>,
    cut: u64,
}

impl TaskTable {
    pub(crate) fn new(
        cell: Arc<dyn AnyTablePartition>,
        partition: i32,
        topic: Arc<dyn SinkTopic>,
        writer: StoreWriter,
        marking: Marking,
        next: i64,
    ) -> Self {
        let clocks = Mutex::default();
        Self { cell, partition, topic, writer, marking, next: AtomicI64::new(next), clocks }
    }

    /// The stream time of its windows: that of the stage that is furthest behind. One that has seen no event counts only
    /// if another has had events of the same partition: those it has still before it, while another partition may stay
    /// empty for ever.
    pub(crate) fn stream_time(&self) -> Option<Timestamp> {
        let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, waiting): (Vec<_>, Vec<_>) =
            clocks.iter().map(|clock| (clock, clock.cursor.stream_time())).partition(|(_, time)| time.is_some());
        let is_behind = |waiting: &StageClock| {
            begun.iter().any(|(clock, _)| clock.inputs.iter().any(|input| waiting.inputs.contains(input)))
        };
        // One whose operators have dropped what came so far may never see an event.
        if waiting.iter().any(|(clock, _)| !clock.cursor.has_dropped() && is_behind(clock)) {
            return None;
        }
        begun.into_iter().filter_map(|(_, time)| time).min()
    }
}

impl TaskTables {
    pub(crate) fn new(tables: impl IntoIterator<Item = TaskTable>) -> Arc<Self> {
        let named = |table: TaskTable| (Arc::clone(&table.cell.info().name), Arc::new(table));
        Arc::new(Self { tables: tables.into_iter().map(named).collect() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub(crate) fn cell(&self, name: &str) -> Option<Arc<dyn AnyTablePartition>> {
        self.tables.get(name).map(|table| Arc::clone(&table.cell))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<TaskTable>> {
        self.tables.get(name)
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = &Arc<dyn AnyTablePartition>> {
        self.tables.values().map(|table| &table.cell)
    }

    /// A new generation: nobody's place counts until its stage is there.
    pub(crate) fn forget_clocks(&self) {
        for table in self.tables.values() {
            table.clocks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// A stage uses this table.
    pub(crate) fn add_clock(&self, name: &str, cursor: &Arc<Cursor>, inputs: &[Input]) {
        if let Some(table) = self.tables.get(name) {
            let inputs = inputs.iter().map(|input| input.feed.partition().clone()).collect();
            let clock = StageClock { cursor: Arc::clone(cursor), inputs };
            table.clocks.lock().unwrap_or_else(PoisonError::into_inner).push(clock);
        }
    }

    /// Whether a cut has something to write.
    pub(crate) fn is_dirty(&self) -> bool {
        self.cells().any(|cell| cell.is_dirty())
    }

    /// Keys written since the last cut, of the table with the most.
    pub(crate) fn dirty(&self) -> usize {
        self.cells().map(|cell| cell.dirty()).max().unwrap_or(0)
    }

    /// Gives up some of what is only kept to be read faster, if all tables together hold more than they may.
    pub(crate) fn trim(&self) {
        self.cells().for_each(|cell| cell.trim());
    }

    /// Seals every table that was written to, and begins to send what was.
    ///
    /// # Errors
    /// A value that its codec refuses; then nothing is sealed.
    pub(crate) fn seal(&self, cut: u64, changelog: &ChangelogWriter) -> Result<Vec<SealedTable>, Error> {
        let mut sealed = Vec::new();
        for table in self.tables.values() {
            match table.cell.seal() {
                Ok(Some(part)) => sealed.push((table, part)),
                Ok(None) => {}
                Err(error) => {
                    sealed.iter().for_each(|(table, _)| table.cell.unseal());
                    return Err(error);
                }
            }
        }
        let begin = |(table, sealed): (&Arc<TaskTable>, Arc<Sealed>)| {
            let topic = Arc::clone(&table.topic);
            let delivery = changelog.begin(table.cell.info(), topic, table.partition, cut, Arc::clone(&sealed));
            SealedTable { table: Arc::clone(table), sealed, delivery, cut }
        };
        Ok(sealed.into_iter().map(begin).collect())
    }

    /// Where each changelog goes on, for the mark of a commit.
    pub(crate) fn logs(&self) -> BTreeMap<String, i64> {
        self.tables.iter().map(|(name, table)| (name.to_string(), table.next.load(Ordering::Acquire))).collect()
    }

    /// The commit of what was sealed is not certain: the next cut covers it too.
    pub(crate) fn unseal(&self) {
        self.cells().for_each(|cell| cell.unseal());
    }

    /// Takes back what was written since the last cut.
    pub(crate) fn roll_back_open(&self) {
        self.cells().for_each(|cell| cell.roll_back_open());
    }

    /// Takes back what was sealed as well.
    pub(crate) fn roll_back_sealed(&self) {
        self.cells().for_each(|cell| cell.roll_back_sealed());
    }
}

impl SealedTable {
    /// All of it has arrived: notes where the changelog goes on now.
    ///
    /// # Errors
    /// It has become shorter, so it is another topic than before.
    pub(crate) fn arrived(&self) -> Result<(), Error> {
        let Some(last) = self.delivery.last_offset() else { return Ok(()) };
        let before = self.table.next.fetch_max(last + 1, Ordering::AcqRel);
        if last >= before {
            return Ok(());
        }
        let info = self.table.cell.info();
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
        let mark = self.table.marking.mark(self.table.next.load(Ordering::Acquire), self.cut);
        self.table.cell.committed(self.sealed, mark, &self.table.writer);
    }
}

impl std::fmt::Debug for SealedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedTable({}, cut {})", self.table.cell.info().name, self.cut)
    }
}

impl std::fmt::Debug for TaskTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.tables.keys()).finish()
    }
}
