//! Agents: their definitions, their results, per-event agents, and the selection of an app's agents.

mod def;
mod output;
mod per_event;
pub(super) mod registry;
mod selection;

pub use self::def::{AgentDef, AgentHandle};
pub use self::output::{AgentOutput, output};
pub use self::per_event::{EventArg, per_event, per_event_to_sinks};
pub use self::registry::AgentOptions;
pub(crate) use self::registry::{AgentEntry, check};
pub(crate) use self::selection::{HookEntry, Selection};
pub use crate::stage::{AgentArg, AgentCx, AgentFuture};
