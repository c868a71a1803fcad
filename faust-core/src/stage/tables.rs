//! The tables of a task, and their use by one stage.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::cursor::Cursor;
use super::hook_call::{HookCall, HookFn, LateEvent};
use super::input::Input;
use super::own_part::OwnPart;
use crate::declare::RelativeTo;
use crate::message::Offset;
use crate::offsets::TableMark;
use crate::store::StoreWriter;
use crate::store::mark::StoreIdentity;
use crate::table_state::{AnyTablePartition, Prefetchable, Prefetcher};
use crate::time::Timestamp;
use crate::transport::TopicPartition;
use crate::window::Window;

/// A table of a task, with its changelog and its store.
pub(crate) struct TaskTable {
    pub(crate) state: Arc<dyn AnyTablePartition>,
    pub(crate) partition: i32,
    pub(crate) writer: StoreWriter,
    pub(crate) identity: StoreIdentity,
    /// The committed state of the table when it was restored.
    pub(crate) restored: TableMark,
    /// Next offset of the changelog, as far as this task knows.
    pub(super) next: AtomicI64,
    /// The changelog's part without records of a former owner since the restore.
    pub(crate) own: Arc<OwnPart>,
    /// The offset of a record of this owner is unknown.
    has_unknown_offset: AtomicBool,
    /// Clocks of the stages that use the table in the current task run, for its stream time.
    pub(super) clocks: Mutex<Vec<StageClock>>,
}

/// The progress of a stage, and the partitions it reads.
pub(super) struct StageClock {
    cursor: Arc<Cursor>,
    inputs: Vec<TopicPartition>,
}

impl TaskTable {
    pub(crate) fn new(
        state: Arc<dyn AnyTablePartition>,
        partition: i32,
        writer: StoreWriter,
        identity: StoreIdentity,
        restored: TableMark,
    ) -> Self {
        let next = AtomicI64::new(restored.end.0);
        let own = OwnPart::new(TopicPartition::new(state.info().changelog.as_str(), partition), restored.end);
        let (has_unknown_offset, clocks) = (AtomicBool::new(false), Mutex::default());
        Self { state, partition, writer, identity, restored, next, own, has_unknown_offset, clocks }
    }

    /// Returns the next offset of the changelog, as far as this task knows.
    pub(crate) fn changelog_end(&self) -> Offset {
        Offset(self.next.load(Ordering::Acquire))
    }

    /// Records that the changelog holds a record at this offset. Returns the end known before.
    pub(crate) fn note_changelog(&self, last: Offset) -> Offset {
        Offset(self.next.fetch_max(last.next().0, Ordering::AcqRel))
    }

    /// Records that the changelog holds a record of this owner at an unknown offset.
    pub(crate) fn note_unknown_offset(&self) {
        self.has_unknown_offset.store(true, Ordering::Release);
    }

    /// Returns the end of the changelog's part with the records that are in the table: those that counted at the restore, and
    /// this owner's.
    pub(crate) fn written_end(&self) -> Offset {
        if self.has_unknown_offset.load(Ordering::Acquire) { Offset(i64::MAX) } else { self.changelog_end() }
    }

    /// Removes the stages that use the table, since a new run of the task begins.
    pub(crate) fn forget_clocks(&self) {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Adds a stage that uses the table; its progress counts for the table's stream time.
    pub(crate) fn add_clock(&self, cursor: &Arc<Cursor>, inputs: &[Input]) {
        let inputs = inputs.iter().map(|input| input.reader.partition().clone()).collect();
        let clock = StageClock { cursor: Arc::clone(cursor), inputs };
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner).push(clock);
    }

    /// Returns the stream time of the table's windows: that of the stage that is furthest behind. A stage that has seen
    /// no event counts only if another stage has seen events of the same partition, which this one has yet to process;
    /// a partition without events may stay empty forever.
    pub(crate) fn stream_time(&self) -> Option<Timestamp> {
        let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, waiting): (Vec<_>, Vec<_>) =
            clocks.iter().map(|clock| (clock, clock.cursor.clock.stream_time())).partition(|(_, time)| time.is_some());
        let is_behind = |waiting: &StageClock| {
            begun.iter().any(|(clock, _)| clock.inputs.iter().any(|input| waiting.inputs.contains(input)))
        };
        // A stage whose operators have dropped all events so far may never see one.
        if waiting.iter().any(|(clock, _)| !clock.cursor.progress.has_dropped() && is_behind(clock)) {
            return None;
        }
        begun.into_iter().filter_map(|(_, time)| time).min()
    }
}

/// The tables of a task as one stage uses them.
#[derive(Default)]
pub(crate) struct StageTables {
    /// All tables of the task.
    all: Vec<Arc<TaskTable>>,
    /// Tables with windows.
    pub(super) windowed: Vec<Windowed>,
    /// Tables without windows.
    plain: Vec<Arc<dyn AnyTablePartition>>,
    /// Late events whose hooks have not run yet.
    late: Mutex<Vec<(Arc<str>, HookCall)>>,
    has_late: AtomicBool,
    /// Timestamps held by fields of the current event, for the tables that are relative to a field.
    field_times: Mutex<BTreeMap<Arc<str>, Option<Timestamp>>>,
    has_fields: bool,
}

pub(super) struct Windowed {
    pub(super) table: Arc<TaskTable>,
    pub(super) close: OnceLock<HookFn>,
    pub(super) late: OnceLock<HookFn>,
}

impl StageTables {
    /// Creates the view of a stage that uses these tables of its task.
    pub(crate) fn new(all: Vec<Arc<TaskTable>>) -> Self {
        let (windowed, plain): (Vec<_>, Vec<_>) =
            all.iter().cloned().partition(|table| table.state.info().window.is_some());
        let with_hooks = |table| Windowed { table, close: OnceLock::new(), late: OnceLock::new() };
        let windowed: Vec<_> = windowed.into_iter().map(with_hooks).collect();
        let plain = plain.iter().map(|table| Arc::clone(&table.state)).collect();
        let has_fields = windowed.iter().any(|windowed| windowed.field().is_some());
        Self { all, windowed, plain, has_fields, ..Self::default() }
    }

    pub(crate) fn state(&self, name: &str) -> Option<Arc<dyn AnyTablePartition>> {
        self.all.iter().find(|table| *table.state.info().name == *name).map(|table| Arc::clone(&table.state))
    }

    /// Returns a prefetcher for the tables whose keys may be those of messages.
    pub(crate) fn prefetcher(&self) -> Prefetcher {
        Prefetcher::new(self.plain.iter().map(|table| Arc::clone(table) as Arc<dyn Prefetchable>).collect())
    }

    pub(super) fn windowed(&self, table: &str) -> Option<&Windowed> {
        self.windowed.iter().find(|windowed| *windowed.table.state.info().name == *table)
    }

    /// Records the timestamps held by fields of an event.
    pub(crate) fn note_fields(&self, value: &dyn Any) {
        if !self.has_fields {
            return;
        }
        let mut times = self.field_times.lock().unwrap_or_else(PoisonError::into_inner);
        for windowed in &self.windowed {
            if let Some(field) = windowed.field() {
                times.insert(Arc::clone(&windowed.table.state.info().name), field(value));
            }
        }
    }

    pub(crate) fn field_time(&self, table: &str) -> Option<Timestamp> {
        self.field_times.lock().unwrap_or_else(PoisonError::into_inner).get(table).copied().flatten()
    }

    /// Records an event for a window that has expired. Its hook runs once the event is finished.
    pub(crate) fn note_late(&self, table: &str, key: &[u8], window: Window, event: LateEvent) {
        let Some(windowed) = self.windowed(table).filter(|windowed| windowed.late.get().is_some()) else { return };
        let call = HookCall::Late { key: key.to_vec(), window, event };
        let name = Arc::clone(&windowed.table.state.info().name);
        self.late.lock().unwrap_or_else(PoisonError::into_inner).push((name, call));
        self.has_late.store(true, Ordering::Release);
    }

    /// Returns `true` if [`close`](super::window_close::close) has work to do at this stream time of the stage.
    pub(crate) fn has_work(&self, stream_time: Option<Timestamp>) -> bool {
        if self.windowed.is_empty() {
            return false;
        }
        // The stage's own time is checked first: the table's stream time has to visit all its stages.
        let is_due = |windowed: &Windowed, time: Timestamp| {
            let due = windowed.table.state.due();
            due <= Some(time) && windowed.table.stream_time().is_some_and(|time| due <= Some(time))
        };
        self.has_late() || stream_time.is_some_and(|time| self.windowed.iter().any(|windowed| is_due(windowed, time)))
    }

    /// Returns `true` if late events are waiting for their hook.
    pub(crate) fn has_late(&self) -> bool {
        self.has_late.load(Ordering::Acquire)
    }

    pub(super) fn take_late(&self) -> Vec<(Arc<str>, HookCall)> {
        self.has_late.store(false, Ordering::Release);
        std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Windowed {
    fn field(&self) -> Option<fn(&dyn Any) -> Option<Timestamp>> {
        match self.table.state.info().relative_to {
            RelativeTo::Field(field) => Some(field),
            RelativeTo::Stream | RelativeTo::Now => None,
        }
    }
}

impl std::fmt::Debug for StageTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.all.iter().map(|table| &table.state.info().name)).finish()
    }
}
