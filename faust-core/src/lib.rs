//! The engine of Faust for Rust: streams, agents, partition tasks, commits, and the port to a Kafka.
//!
//! Users depend on the facade crate `faust`, which re-exports what they need from here.

pub mod agent;
pub mod aggregate;
pub mod app;
pub(crate) mod changelog;
pub mod client;
pub mod codec;
pub mod config;
pub mod declare;
pub mod error;
pub mod local;
pub mod message;
pub(crate) mod offsets;
pub(crate) mod partition;
pub mod partitioner;
pub mod plan;
pub mod recovery;
pub mod stage;
pub mod stats;
pub(crate) mod store;
pub mod stream;
pub mod table;
pub(crate) mod table_state;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod topic;
pub mod transport;
pub mod window;
pub mod worker;

pub use stage::dead_letter;

/// What the macros emit by name. Not public API: it may change in a patch release.
#[doc(hidden)]
pub mod __private {
    pub use crate::stage::context::{arg, AgentCx};
    pub use crate::agent::{output, per_event, per_event_to_sinks, AgentDef};
    pub use crate::stage::future::AgentFuture;
    pub use crate::declare::{ArgSpec, SourceDecl, TopicDecl};
    pub use crate::codec::record::support;
    pub use crate::stage::hook::{hook_key, hook_value, window_close, window_late, HookDef};
    pub use crate::stage::hook_call::HookKind;
    pub use crate::declare::{RelativeTo, TableDecl, WindowDecl};
    pub use ::inventory;
    pub use ::serde;
}
