//! The attribute macros of Faust for Rust; use them through the facade `faust`, which documents them.
//!
//! Each macro is parse (syn's types, no rules), model (validated, every fault collected), expand (`quote!` only, which
//! cannot fail). This crate knows no other of the workspace: it emits paths.

mod agent;
mod argument;
mod codec;
mod docs;
mod duration;
mod fault;
mod function;
#[cfg(test)]
mod golden;
mod hook;
mod options;
mod record;
mod table;
mod topic;
mod types;

use proc_macro::TokenStream;

/// Makes an async fn a stream processor: `#[agent(topic = "clicks")]`.
///
/// The function stays as it is and can be called; beside it stands a struct of its name, by which the agent can be
/// registered by hand.
///
/// Options: `topic = ".."` or `topics = ["..", ".."]` (literals or constants), `name = ".."`, `key_codec = ".."`,
/// `value_codec = ".."`; for an agent that takes one event at a time also `sink = ".."` or `sinks = [".."]`. An argument
/// is an output with `#[topic("..", partitions = 3, replication = 1, retention = "7d", compacting, key_codec = "..", value_codec = "..")]`,
/// and a table, which is named after it, takes
/// `#[table(name = "..", default = 10, window = tumbling("10s"), expires = "1h", relative_to = now)]`, each of them optional, as are
/// `changelog_topic`, `key_codec`, `value_codec`, `partition_by_source` and `help`. Windows are `tumbling(size)` or
/// `hopping(size, step)`; `relative_to` is `stream`, `now` or `field(Type::field)`.
#[proc_macro_attribute]
pub fn agent(options: TokenStream, item: TokenStream) -> TokenStream {
    agent::expand(options.into(), item.into()).into()
}

/// Makes an async fn what a windowed table calls with each window that has expired:
/// `#[window_close(table = "sums")] async fn closed(key: String, window: Window, total: i64)`.
///
/// More arguments are injected as an agent's are. The function stays as it is and can be called; beside it stands a
/// struct of its name, by which the hook can be registered by hand.
#[proc_macro_attribute]
pub fn window_close(options: TokenStream, item: TokenStream) -> TokenStream {
    hook::expand(hook::Moment::Close, options.into(), item.into()).into()
}

/// As [`macro@window_close`], for each event that comes when its window has expired:
/// `#[window_late(table = "sums")] async fn late(key: String, window: Window, event: LateEvent)`.
#[proc_macro_attribute]
pub fn window_late(options: TokenStream, item: TokenStream) -> TokenStream {
    hook::expand(hook::Moment::Late, options.into(), item.into()).into()
}

/// Makes a struct or an enum a message type: derives serde's traits, names it, validates it, and lists it among the models.
///
/// Options: `name = ".."`, `serializer = ".."` (or `codec`), `key = field`, `timestamp = field`. A field takes
/// `#[field(default = 1, range = 0..=100, len = 1..=20, check = path)]`, each of them optional; a rule on an `Option`
/// applies to the value inside.
///
/// `Clone`, `Debug` and `PartialEq` are derived too, so that a record can be put in a table and compared in a test. A
/// `#[derive(..)]` below `#[record]` that names one of them replaces it. If the type implements one by hand, or a field
/// does not support it, exclude it; otherwise the compiler reports conflicting implementations (E0119) or a missing one.
///
/// ```text
/// #[record(no_derive(PartialEq))]
/// struct Reading { sensor: String, value: f64 }
///
/// impl PartialEq for Reading {
///     fn eq(&self, other: &Self) -> bool { self.sensor == other.sensor }
/// }
/// ```
#[proc_macro_attribute]
pub fn record(options: TokenStream, item: TokenStream) -> TokenStream {
    record::expand(options.into(), item.into()).into()
}

/// Registers a unit struct that implements `Codec` under a name: `#[codec(name = "rot13")]`.
#[proc_macro_attribute]
pub fn codec(options: TokenStream, item: TokenStream) -> TokenStream {
    codec::expand(options.into(), item.into()).into()
}
