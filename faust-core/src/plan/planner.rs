//! Runs every agent once, up to its stream, to learn its topology.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;

use super::model::Plan;
use crate::agent::AgentEntry;
use crate::error::{BoxError, Error, chain};
use crate::stage::context::Run;
use crate::stage::recorder::{Drawn, Sketch};
use crate::stage::{AgentCx, HookDef};

/// Plans an app.
///
/// # Errors
/// All faults of all agents together.
pub(crate) async fn plan(
    group: &str,
    agents: &[AgentEntry],
    hooks: &[HookDef],
    timeout: Duration,
) -> Result<Plan, Error> {
    let mut planned = Vec::new();
    let mut faults = Vec::new();
    for entry in agents {
        match sketch(group, entry, timeout).await {
            Ok(drawn) => planned.push((entry.clone(), drawn)),
            Err(more) => faults.extend(more),
        }
    }
    let mut planned_hooks = Vec::new();
    for def in hooks {
        match sketch_hook(group, def) {
            Ok(drawn) => planned_hooks.push((*def, drawn)),
            Err(more) => faults.extend(more),
        }
    }
    // Faults of the topology are told with the others, from the agents that could be planned.
    match Plan::draw(group, planned, planned_hooks) {
        Ok(plan) if faults.is_empty() => Ok(plan),
        Ok(_) => Err(Error::setup(faults)),
        Err(more) => {
            faults.extend(more);
            Err(Error::setup(faults))
        }
    }
}

/// A hook declares all it has to by its arguments.
fn sketch_hook(group: &str, def: &HookDef) -> Result<Drawn, Vec<String>> {
    let sketch = Sketch::new(def.name, group);
    let mut cx = AgentCx { agent: def.name, sinks: &[], run: Run::Planning(Arc::clone(&sketch)) };
    let started = (def.start)(&mut cx);
    let mut drawn = sketch.take();
    match started {
        Ok(_) => {}
        Err(Error::Setup(errors)) => drawn.faults.extend(errors.faults().to_vec()),
        Err(error) => drawn.faults.push(format!("hook `{}`: {error}", def.name)),
    }
    if let Some(table) = drawn.tables.first() {
        let name = &table.info().name;
        drawn.faults.push(format!(
            "hook `{}` takes table `{name}`; hooks send to topics, and an agent keeps tables: let one read what it sends",
            def.name
        ));
    }
    if drawn.faults.is_empty() { Ok(drawn) } else { Err(drawn.faults) }
}

/// The planning run of one agent.
async fn sketch(group: &str, entry: &AgentEntry, timeout: Duration) -> Result<Drawn, Vec<String>> {
    let agent = &entry.name;
    let sketch = Sketch::new(agent, group);
    // In a task of its own, so that an agent that blocks its thread does not block the planner.
    let run = tokio::spawn(run_to_stream(entry.clone(), Arc::clone(&sketch)));
    let abort = run.abort_handle();
    let outcome = tokio::time::timeout(timeout, run).await;
    abort.abort();
    let mut drawn = sketch.take();
    match outcome {
        Ok(Ok(Ok(()))) if drawn.polled.is_some() => {}
        // What a fault noted on the way explains needs no second error.
        _ if !drawn.faults.is_empty() => {}
        Ok(Ok(Ok(()))) => drawn.faults.push(format!("agent `{agent}` returned before it read its stream; read it with `while let Some(event) = stream.next().await`")),
        Ok(Ok(Err(StartError::Setup(Error::Setup(errors))))) => drawn.faults.extend(errors.faults().to_vec()),
        Ok(Ok(Err(error))) => drawn.faults.push(format!("agent `{agent}` failed before it read its stream: {error}")),
        Ok(Err(join)) => drawn.faults.push(format!("agent `{agent}` failed before it read its stream: {join}")),
        Err(_) => drawn.faults.push(format!(
            "agent `{agent}` did not come to its stream within {timeout:?}; what takes long belongs after the first event (or raise `plan_timeout`)"
        )),
    }
    if drawn.faults.is_empty() { Ok(drawn) } else { Err(drawn.faults) }
}

/// Why a planning run ended early.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("{0}")]
    Setup(Error),
    #[error("{}", chain(&**.0))]
    Returned(BoxError),
    #[error("it panicked: {0}")]
    Panicked(String),
}

/// Starts the agent and polls it until its stream was polled, then drops it.
async fn run_to_stream(entry: AgentEntry, sketch: Arc<Sketch>) -> Result<(), StartError> {
    let mut cx = AgentCx { agent: &entry.name, sinks: &entry.sinks, run: Run::Planning(Arc::clone(&sketch)) };
    let future = (entry.def.start)(&mut cx).map_err(StartError::Setup)?;
    let mut future = AssertUnwindSafe(future).catch_unwind();
    std::future::poll_fn(|cx| {
        let polled = future.poll_unpin(cx);
        if sketch.is_complete() {
            return Poll::Ready(Ok(()));
        }
        polled.map(|result| match result {
            Ok(returned) => returned.map_err(StartError::Returned),
            Err(panic) => Err(StartError::Panicked(panic_text(&*panic))),
        })
    })
    .await
}

/// The words of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}
