//! The context that the arguments of agents and hooks are built from.

use std::sync::Arc;

use super::recorder::PlanRecorder;
use super::running::RunningStage;
use crate::declare::ArgSpec;
use crate::error::Error;

/// The context an argument is built from: a planning run, or a live stage of a partition task.
pub struct AgentCx<'a> {
    /// Name of the agent or hook being started.
    pub(crate) agent: &'a str,
    /// Topics that the agent's return values are sent to.
    pub(crate) sinks: &'a [Arc<str>],
    /// Mode of this run.
    pub(crate) mode: StageMode,
}

/// The mode in which an agent is run.
#[derive(Clone)]
pub(crate) enum StageMode {
    /// Records the agent's declarations; the run is dropped when the agent first polls its stream.
    Planning(Arc<PlanRecorder>),
    /// Processes events.
    Live(Arc<RunningStage>),
}

impl std::fmt::Debug for AgentCx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentCx").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// A type that agents and hooks can take as an argument.
#[diagnostic::on_unimplemented(
    message = "agents and hooks cannot take an argument of type `{Self}`",
    label = "not something the framework can inject",
    note = "an agent takes `Stream<V>` or `Stream<V, K>` as its source; agents and hooks take `#[topic(\"..\")] out: Topic<K, V>` as outputs, and `Table<K, V>` or `#[table(window = tumbling(\"10s\"))] sums: WindowedTable<K, V>` as state"
)]
pub trait AgentArg: Sized {
    /// Builds the argument. A planning run also records its declarations.
    ///
    /// # Errors
    /// Returns an error if a declaration is invalid, such as one with an unknown codec.
    fn arg(cx: &mut AgentCx<'_>, spec: &'static ArgSpec) -> Result<Self, Error>;
}

/// Builds one argument. The macros call it with the span of the argument's type.
#[doc(hidden)]
pub fn arg<T: AgentArg>(cx: &mut AgentCx<'_>, spec: &'static ArgSpec) -> Result<T, Error> {
    T::arg(cx, spec)
}
