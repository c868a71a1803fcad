//! The context in which an argument of an agent or a hook is made.

use std::sync::Arc;

use super::recorder::PlanRecorder;
use super::running::RunningStage;
use crate::declare::ArgSpec;
use crate::error::Error;

/// What an argument is made from: the planning run, or a live stage of a partition task.
pub struct AgentCx<'a> {
    /// The agent that is started.
    pub(crate) agent: &'a str,
    /// The topics its values go to.
    pub(crate) sinks: &'a [Arc<str>],
    /// Which of the two runs this is.
    pub(crate) mode: StageMode,
}

/// The two ways an agent is run.
#[derive(Clone)]
pub(crate) enum StageMode {
    /// To learn what it declares; dropped when its stream is first polled.
    Planning(Arc<PlanRecorder>),
    /// To process events.
    Live(Arc<RunningStage>),
}

impl std::fmt::Debug for AgentCx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentCx").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// A type an agent or a hook can take as an argument.
#[diagnostic::on_unimplemented(
    message = "agents and hooks cannot take an argument of type `{Self}`",
    label = "not something the framework can inject",
    note = "an agent takes `Stream<V>` or `Stream<V, K>` as its source; agents and hooks take `#[topic(\"..\")] out: Topic<K, V>` as outputs, and `Table<K, V>` or `#[table(window = tumbling(\"10s\"))] sums: WindowedTable<K, V>` as state"
)]
pub trait AgentArg: Sized {
    /// Makes the argument, and in planning notes what it declares.
    ///
    /// # Errors
    /// What is wrong with the declaration, such as an unknown codec.
    fn arg(cx: &mut AgentCx<'_>, spec: &'static ArgSpec) -> Result<Self, Error>;
}

/// Makes one argument; the macro calls it with the span of the argument's type.
#[doc(hidden)]
pub fn arg<T: AgentArg>(cx: &mut AgentCx<'_>, spec: &'static ArgSpec) -> Result<T, Error> {
    T::arg(cx, spec)
}
