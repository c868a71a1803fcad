//! The engine of Faust for Rust: streams, agents, partition tasks, commits, and the port to a Kafka.
//!
//! Users depend on the facade crate `faust`, which re-exports what they need from here.

pub mod time;
pub mod message;
pub(crate) mod offsets;
pub mod partitioner;
pub mod stats;
pub mod error;
pub mod aggregate;
pub mod window;
pub mod declare;
pub mod config;
pub mod codec;
pub mod transport;
pub(crate) mod store;
pub(crate) mod table_state;
pub mod local;
pub mod stage;
pub mod topic;
pub mod stream;
pub mod table;
pub mod agent;
pub mod plan;
pub mod directory;
pub mod task;
pub mod worker;
pub mod client;
pub mod app;
#[cfg(feature = "testing")]
pub mod testing;

pub use stage::dead_letter;

/// Names that the macros emit. Not public API: it may change in a patch release.
#[doc(hidden)]
pub mod __private {
    pub use crate::agent::{AgentDef, output, per_event, per_event_to_sinks};
    pub use crate::codec::record::support;
    pub use crate::config::FailurePolicy;
    pub use crate::declare::{ArgSpec, SourceDecl, TopicDecl};
    pub use crate::declare::{RelativeTo, TableDecl, WindowDecl};
    pub use crate::stage::context::{AgentCx, arg};
    pub use crate::stage::future::AgentFuture;
    pub use crate::stage::hook::{HookDef, hook_key, hook_value, window_close, window_late};
    pub use crate::stage::hook_call::HookKind;
    pub use crate::window::WindowSpec;
    pub use ::inventory;
    pub use ::serde;
}
