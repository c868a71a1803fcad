//! A running stage of a task: its inputs, progress, tables and outbox, and the context its arguments are built from.

mod turns;
pub(super) mod gate;
mod progress;
pub(super) mod event_clock;
pub(super) mod cursor;
pub(super) mod future;
pub(super) mod hook_call;
pub(super) mod timestamps;
pub(super) mod staging;
pub(super) mod outbox;
pub(super) mod reader;
pub(super) mod input;
pub(super) mod own_part;
pub(super) mod tables;
pub(super) mod given_up;
pub(super) mod observer;
pub(super) mod running;
pub mod dead_letter;
pub(super) mod recorder;
pub(super) mod context;
pub(crate) mod binding;
pub(super) mod hook;
pub(super) mod window_close;

pub use self::context::{AgentArg, AgentCx, arg};
pub use self::future::AgentFuture;
pub use self::hook::{HookDef, HookHandle, HookPart, hook_key, hook_value, window_close, window_late};
pub use self::hook_call::{HookCall, HookFn, HookKind, LateEvent};
