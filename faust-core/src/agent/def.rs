//! The definition of an agent, as `#[agent]` generates it.

use crate::config::FailurePolicy;
use crate::error::Error;
use crate::stage::{AgentCx, AgentFuture};

/// The definition that `#[agent]` generates at compile time: plain data and one function pointer.
#[derive(Clone, Copy, Debug)]
pub struct AgentDef {
    /// Name of the agent, unique in an app: the function's name unless `name = ".."` is given.
    pub name: &'static str,
    /// Topics that its stream reads.
    pub topics: &'static [&'static str],
    /// Topics that its return values are sent to.
    pub sinks: &'static [&'static str],
    /// Handling of its failures, if it differs from the setting `agent_failure`.
    pub on_failure: Option<FailurePolicy>,
    /// First paragraph of its doc comment.
    pub help: &'static str,
    /// Module that defines it, for [`AppBuilder::discover_in`](crate::app::AppBuilder::discover_in).
    pub module: &'static str,
    /// Source file, for error messages.
    pub file: &'static str,
    /// Line in the source file.
    pub line: u32,
    /// Builds the arguments and calls the function.
    pub start: fn(&mut AgentCx<'_>) -> Result<AgentFuture, Error>,
}

impl AgentDef {
    /// Creates a definition that the attribute has not generated. The other fields are empty.
    pub const fn new(
        name: &'static str,
        topics: &'static [&'static str],
        start: fn(&mut AgentCx<'_>) -> Result<AgentFuture, Error>,
    ) -> Self {
        Self { name, topics, sinks: &[], on_failure: None, help: "", module: "", file: "", line: 0, start }
    }
}

inventory::collect!(AgentDef);

/// The type that `#[agent]` generates beside the function, under the same name. It is used to register the agent
/// explicitly.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an agent",
    label = "not an agent",
    note = "name an async function that is annotated with `#[agent(topic = \"..\")]`"
)]
pub trait AgentHandle {
    /// The definition.
    const DEF: AgentDef;
}
