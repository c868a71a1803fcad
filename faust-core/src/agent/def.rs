//! The definition of an agent, as `#[agent]` makes it.

use crate::error::Error;
use crate::stage::{AgentCx, AgentFuture};

/// Everything `#[agent]` knows at compile time: plain data and one function pointer.
#[derive(Clone, Copy, Debug)]
pub struct AgentDef {
    /// Unique in an app; the function's name unless `name = ".."` was given.
    pub name: &'static str,
    /// The topics its stream reads.
    pub topics: &'static [&'static str],
    /// The topics that the values it returns go to.
    pub sinks: &'static [&'static str],
    /// The first paragraph of its doc comment.
    pub help: &'static str,
    /// Where it is defined, for [`AppBuilder::discover_in`](crate::app::AppBuilder::discover_in).
    pub module: &'static str,
    /// The source file, for error messages.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
    /// Makes the arguments and calls the function.
    pub start: fn(&mut AgentCx<'_>) -> Result<AgentFuture, Error>,
}

inventory::collect!(AgentDef);

/// The type that `#[agent]` makes beside the function, under the same name: how to register it by hand.
pub trait AgentHandle {
    /// The definition.
    const DEF: AgentDef;
}
