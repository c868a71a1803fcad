//! Agents: their definitions, their results, per-event agents, and the registry of linked agents.

mod def;
mod output;
mod per_event;
pub(super) mod registry;

pub use self::def::{AgentDef, AgentHandle};
pub use self::output::{AgentOutput, output};
pub use self::per_event::{EventArg, per_event, per_event_to_sinks};
pub use self::registry::AgentOptions;
pub(crate) use self::registry::{AgentEntry, check, discover, discover_hooks, sort_hooks};
pub use crate::stage::{AgentArg, AgentCx, AgentFuture};
