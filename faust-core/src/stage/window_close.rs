//! The work of a stage for windowed tables between events: closing windows and reporting late events.

use std::sync::Arc;

use super::context::{AgentCx, StageMode};
use super::hook::HookDef;
use super::hook_call::{HookCall, HookFn, HookKind};
use super::running::RunningStage;
use crate::error::{BoxError, Error};
use crate::table_state::{ClosedWindow, Expired};

/// Reports late events to their hooks, then removes the windows that have expired by stream time and passes them to
/// their hooks. This runs between two events, as part of the first.
pub(crate) async fn close(stage: Arc<RunningStage>) -> Result<(), Error> {
    for (table, call) in stage.tables.take_late() {
        if let Some(hook) = stage.tables.windowed(&table).and_then(|windowed| windowed.late.get()) {
            run(hook, call, &table).await?;
        }
    }
    for windowed in &stage.tables.windowed {
        let Some(stream_time) = windowed.table.stream_time() else { continue };
        let state = &windowed.table.state;
        if state.due().is_some_and(|due| due > stream_time) {
            continue;
        }
        loop {
            let Expired { closed, has_more } = state.expire(stream_time, windowed.close.get().is_some())?;
            if !has_more {
                break;
            }
            stage.outbox.stats.windows_closed(closed.len() as u64);
            stage.observe_closed(&state.info().name, &closed);
            if let Some(hook) = windowed.close.get() {
                for ClosedWindow { key, window, value } in closed {
                    run(hook, HookCall::Close { key, window, value }, &state.info().name).await?;
                }
            }
            // Many windows may close at once: the task's own commands and other tasks on this thread must run
            // meanwhile.
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
    let failed = |error: BoxError| Error::Hook { table: table.to_owned(), hook: name, source: error };
    hook(call).await.map_err(failed)
}

/// Starts the hooks of the stage's tables. Hooks may take topics as arguments.
pub(crate) fn start_hooks(stage: &Arc<RunningStage>, hooks: &[HookDef]) -> Result<(), Error> {
    for hook in hooks {
        let Some(windowed) = stage.tables.windowed(hook.table) else { continue };
        let mut cx = AgentCx { agent: hook.name, sinks: &[], mode: StageMode::Live(Arc::clone(stage)) };
        let started = (hook.start)(&mut cx)?;
        let slot = if hook.kind == HookKind::Close { &windowed.close } else { &windowed.late };
        // A table has one hook of each kind: the plan has checked it.
        drop(slot.set(started));
    }
    Ok(())
}
