//! What a stage does for windowed tables besides its events: windows that close, events that come late.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::stage::LiveStage;
use super::tables::{TaskTable, TaskTables};
use crate::table_state::Prefetch;
use crate::agent::{AgentCx, Run};
use crate::error::{BoxError, Error, chain};
use crate::table_state::Prefetcher;
use crate::table_state::{AnyTablePartition, Closed};
use crate::declare::RelativeTo;
use crate::table::{HookCall, HookDef, HookFn, HookKind, LateEvent};
use crate::time::Timestamp;
use crate::window::Window;

/// The tables of a task as one stage uses them.
#[derive(Default)]
pub(crate) struct StageTables {
    task: Arc<TaskTables>,
    /// Those with windows.
    windowed: Vec<Windowed>,
    /// Those without.
    plain: Vec<Arc<dyn AnyTablePartition>>,
    /// Late events whose hooks have not run yet.
    late: Mutex<Vec<(Arc<str>, HookCall)>>,
    has_late: AtomicBool,
    /// The times that fields of the present event hold, of the tables that are relative to one.
    field_times: Mutex<BTreeMap<Arc<str>, Option<Timestamp>>>,
    has_fields: bool,
}

struct Windowed {
    table: Arc<TaskTable>,
    close: OnceLock<HookFn>,
    late: OnceLock<HookFn>,
}

impl StageTables {
    /// The tables of these names, for a stage.
    pub(crate) fn new(task: &Arc<TaskTables>, used: &[Arc<str>]) -> Self {
        let tables = used.iter().filter_map(|name| task.get(name));
        let (windowed, plain): (Vec<_>, Vec<_>) = tables.partition(|table| table.cell.info().window.is_some());
        let with_hooks =
            |table: &Arc<_>| Windowed { table: Arc::clone(table), close: OnceLock::new(), late: OnceLock::new() };
        let windowed: Vec<_> = windowed.into_iter().map(with_hooks).collect();
        let plain = plain.into_iter().map(|table| Arc::clone(&table.cell)).collect();
        let has_fields = windowed.iter().any(|windowed| windowed.field().is_some());
        Self { task: Arc::clone(task), windowed, plain, has_fields, ..Self::default() }
    }

    pub(crate) fn cell(&self, name: &str) -> Option<Arc<dyn AnyTablePartition>> {
        self.task.cell(name)
    }

    /// For the tables whose keys may be those of messages.
    pub(crate) fn look_ahead(&self) -> Prefetcher {
        Prefetcher::new(self.plain.iter().map(|table| Arc::clone(table) as Arc<dyn Prefetch>).collect())
    }

    /// Makes the hooks of the stage's tables, which may take topics of their own.
    pub(crate) fn start_hooks(stage: &Arc<LiveStage>, hooks: &[HookDef]) -> Result<(), Error> {
        for hook in hooks {
            let Some(windowed) = stage.tables.windowed(hook.table) else { continue };
            let mut cx = AgentCx { agent: hook.name, sinks: &[], run: Run::Live(Arc::clone(stage)) };
            let started = (hook.start)(&mut cx)?;
            let slot = if hook.kind == HookKind::Close { &windowed.close } else { &windowed.late };
            // There is one of each kind for a table: the plan has checked it.
            drop(slot.set(started));
        }
        Ok(())
    }

    fn windowed(&self, table: &str) -> Option<&Windowed> {
        self.windowed.iter().find(|windowed| *windowed.table.cell.info().name == *table)
    }

    /// Notes the times that fields of an event hold.
    pub(crate) fn note_fields(&self, value: &dyn Any) {
        if !self.has_fields {
            return;
        }
        let mut times = self.field_times.lock().unwrap_or_else(PoisonError::into_inner);
        for windowed in &self.windowed {
            if let Some(field) = windowed.field() {
                times.insert(Arc::clone(&windowed.table.cell.info().name), field(value));
            }
        }
    }

    pub(crate) fn field_time(&self, table: &str) -> Option<Timestamp> {
        self.field_times.lock().unwrap_or_else(PoisonError::into_inner).get(table).copied().flatten()
    }

    /// An event came for a window that is gone. Its hook runs when the event is over.
    pub(crate) fn note_late(&self, table: &str, key: &[u8], window: Window, event: LateEvent) {
        let Some(windowed) = self.windowed(table).filter(|windowed| windowed.late.get().is_some()) else { return };
        let call = HookCall::Late { key: key.to_vec(), window, event };
        let name = Arc::clone(&windowed.table.cell.info().name);
        self.late.lock().unwrap_or_else(PoisonError::into_inner).push((name, call));
        self.has_late.store(true, Ordering::Release);
    }

    /// Whether [`close`] has anything to do at this stream time of the stage.
    pub(crate) fn has_work(&self, stream_time: Option<Timestamp>) -> bool {
        if self.windowed.is_empty() {
            return false;
        }
        // The stage's own time first: that of the table asks all its stages.
        let is_due = |windowed: &Windowed, time: Timestamp| {
            let due = windowed.table.cell.due();
            due <= time.0 && windowed.table.stream_time().is_some_and(|time| due <= time.0)
        };
        self.has_late() || stream_time.is_some_and(|time| self.windowed.iter().any(|windowed| is_due(windowed, time)))
    }

    /// Whether late events wait for their hook.
    pub(crate) fn has_late(&self) -> bool {
        self.has_late.load(Ordering::Acquire)
    }

    fn take_late(&self) -> Vec<(Arc<str>, HookCall)> {
        self.has_late.store(false, Ordering::Release);
        std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Windowed {
    fn field(&self) -> Option<fn(&dyn Any) -> Option<Timestamp>> {
        match self.table.cell.info().relative_to {
            RelativeTo::Field(field) => Some(field),
            RelativeTo::Stream | RelativeTo::Now => None,
        }
    }
}

/// Between two events, as part of the first: tells of late events, then removes the windows that stream time has left
/// behind and tells of those.
pub(crate) async fn close(stage: Arc<LiveStage>) -> Result<(), Error> {
    for (table, call) in stage.tables.take_late() {
        if let Some(hook) = stage.tables.windowed(&table).and_then(|windowed| windowed.late.get()) {
            run(hook, call, &table).await?;
        }
    }
    for windowed in &stage.tables.windowed {
        let Some(stream_time) = windowed.table.stream_time() else { continue };
        let cell = &windowed.table.cell;
        if cell.due() > stream_time.0 {
            continue;
        }
        loop {
            let closed = cell.expire(stream_time.0, windowed.close.get().is_some())?;
            if closed.is_empty() {
                break;
            }
            stage.outputs.stats.windows_closed(closed.len() as u64);
            if let Some(hook) = windowed.close.get() {
                for Closed { key, window, value } in closed {
                    run(hook, HookCall::Close { key, window, value }, &cell.info().name).await?;
                }
            }
            // Many windows may close at once; the task's own commands and its neighbours want a turn meanwhile.
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

async fn run(hook: &HookFn, call: HookCall, table: &str) -> Result<(), Error> {
    let name = match &call {
        HookCall::Close { window, .. } => format!("window_close for {window}"),
        HookCall::Late { window, .. } => format!("window_late for {window}"),
    };
    let failed = |error: BoxError| Error::Hook { table: table.to_owned(), hook: name, why: chain(&*error) };
    hook(call).await.map_err(failed)
}

impl std::fmt::Debug for StageTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.task.fmt(f)
    }
}
