//! The planner: runs every agent up to its stream to record its declarations.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;

use super::model::Plan;
use crate::agent::{AgentEntry, HookEntry};
use crate::error::{BoxError, Error, chain, panic_text};
use crate::stage::context::StageMode;
use crate::stage::recorder::{Declared, PlanRecorder};
use crate::stage::{AgentCx, HookDef};

/// The result of planning.
pub(crate) struct Planned {
    /// The plan of the other agents; `None` if they do not work without those that failed.
    pub(crate) plan: Option<Plan>,
    /// The agents that failed before they read their streams, each with the reason. Another attempt may succeed.
    pub(crate) failures: Vec<String>,
}

impl Planned {
    /// Returns the plan of all agents.
    ///
    /// # Errors
    /// Reports the agents that failed.
    pub(crate) fn complete(self) -> Result<Plan, Error> {
        self.plan.filter(|_| self.failures.is_empty()).ok_or_else(|| Error::setup(self.failures))
    }
}

/// Builds the plan of an app.
///
/// # Errors
/// Reports all faults of all agents and hooks together.
pub(crate) async fn plan(
    group: &str,
    agents: &[AgentEntry],
    hooks: &[HookEntry],
    timeout: Duration,
) -> Result<Planned, Error> {
    let mut planned = Vec::new();
    let mut failures = Vec::new();
    let mut is_faulty = false;
    for entry in agents {
        match record_agent(group, entry, timeout).await {
            Ok(declared) => planned.push((entry.clone(), declared)),
            Err(Unplanned::Failed(why)) => failures.push(why),
            Err(Unplanned::Faulty(more)) => {
                is_faulty = true;
                failures.extend(more);
            }
        }
    }
    // Failures are reported with the faults, if there are any, in the order of the agents.
    let mut faults = if is_faulty { std::mem::take(&mut failures) } else { Vec::new() };
    let mut planned_hooks = Vec::new();
    let is_taken = |table: &str| {
        planned.iter().flat_map(|(_, declared)| &declared.tables).any(|factory| *factory.info().name == *table)
    };
    for HookEntry { def, .. } in hooks.iter().filter(|hook| hook.required || is_taken(hook.def.table)) {
        match record_hook(group, def) {
            Ok(declared) => planned_hooks.push((*def, declared)),
            Err(more) => faults.extend(more),
        }
    }
    // The topology of the agents without faults is checked in any case, so that all faults are reported together.
    match Plan::build(group, planned, planned_hooks) {
        Ok(plan) if faults.is_empty() => Ok(Planned { plan: Some(plan), failures }),
        Ok(_) => Err(Error::setup(faults)),
        // A table's hook or another agent may be missed only because its agent failed.
        Err(_) if faults.is_empty() && !failures.is_empty() => Ok(Planned { plan: None, failures }),
        Err(more) => {
            faults.extend(more);
            Err(Error::setup(faults))
        }
    }
}

/// Records the declarations of a hook, all of which are in its arguments.
fn record_hook(group: &str, def: &HookDef) -> Result<Declared, Vec<String>> {
    let recorder = PlanRecorder::new(def.name, group);
    let mut cx = AgentCx { agent: def.name, sinks: &[], mode: StageMode::Planning(Arc::clone(&recorder)) };
    let started = (def.start)(&mut cx);
    let mut declared = recorder.take();
    match started {
        Ok(_) => {}
        Err(Error::Setup(errors)) => declared.faults.extend(errors.faults().to_vec()),
        Err(error) => declared.faults.push(format!("hook `{}`: {error}", def.name)),
    }
    if let Some(table) = declared.tables.first() {
        let name = &table.info().name;
        declared.faults.push(format!(
            "hook `{}` takes table `{name}`, but hooks cannot use tables; send to a topic, and update the table in an agent that reads it",
            def.name
        ));
    }
    if declared.faults.is_empty() { Ok(declared) } else { Err(declared.faults) }
}

/// The reason that an agent is not planned.
enum Unplanned {
    /// Its declarations have faults.
    Faulty(Vec<String>),
    /// Its code failed before it read its stream, which may pass.
    Failed(String),
}

/// Runs an agent up to its stream and returns its declarations.
async fn record_agent(group: &str, entry: &AgentEntry, timeout: Duration) -> Result<Declared, Unplanned> {
    let agent = &entry.name;
    let recorder = PlanRecorder::new(agent, group);
    // A separate task, so that an agent that blocks its thread does not block the planner.
    let run = tokio::spawn(run_to_stream(entry.clone(), Arc::clone(&recorder)));
    let abort = run.abort_handle();
    let outcome = tokio::time::timeout(timeout, run).await;
    abort.abort();
    let mut declared = recorder.take();
    match outcome {
        Ok(Ok(Ok(()))) if declared.polled.is_some() => {}
        // A recorded fault is the reason that the stream was not polled; no second error is added.
        _ if !declared.faults.is_empty() => {}
        Ok(Ok(Ok(()))) => declared.faults.push(format!("agent `{agent}` returned before it read its stream; read it with `while let Some(event) = stream.next().await` (book: Code before the first next())")),
        Ok(Ok(Err(StartError::Setup(Error::Setup(errors))))) => declared.faults.extend(errors.faults().to_vec()),
        Ok(Ok(Err(error))) => return Err(Unplanned::Failed(format!("agent `{agent}` failed before it read its stream: {error}"))),
        Ok(Err(join)) => return Err(Unplanned::Failed(format!("agent `{agent}` failed before it read its stream: {join}"))),
        Err(_) => {
            return Err(Unplanned::Failed(format!(
                "agent `{agent}` did not reach its stream within {timeout:?}; move slow work after the first event, or raise `plan_timeout` (book: Code before the first next())"
            )));
        }
    }
    if declared.faults.is_empty() { Ok(declared) } else { Err(Unplanned::Faulty(declared.faults)) }
}

/// The reason that a planning run ended before the stream was polled.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("{0}")]
    Setup(Error),
    #[error("{}", chain(&**.0))]
    Returned(BoxError),
    #[error("it panicked: {0}")]
    Panicked(String),
}

/// Starts the agent, polls it until it has polled its stream, and drops it.
async fn run_to_stream(entry: AgentEntry, recorder: Arc<PlanRecorder>) -> Result<(), StartError> {
    let mut cx = AgentCx { agent: &entry.name, sinks: &entry.sinks, mode: StageMode::Planning(Arc::clone(&recorder)) };
    let future = (entry.def.start)(&mut cx).map_err(StartError::Setup)?;
    let mut future = AssertUnwindSafe(future).catch_unwind();
    std::future::poll_fn(|cx| {
        recorder.planned_by(cx.waker());
        let polled = future.poll_unpin(cx);
        if recorder.is_complete() {
            return Poll::Ready(Ok(()));
        }
        polled.map(|result| match result {
            Ok(returned) => returned.map_err(StartError::Returned),
            Err(panic) => Err(StartError::Panicked(panic_text(&*panic))),
        })
    })
    .await
}
