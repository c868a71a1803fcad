//! Tables: state that an agent keeps by key.

mod decl;
mod hook;

use std::fmt;
use std::marker::PhantomData;

use crate::agent::{AgentArg, AgentCx, ArgSpec};
use crate::codec::Data;
use crate::error::Error;

pub use decl::{RelativeTo, TableDecl, WindowDecl};
pub use hook::{
    HookCall, HookDef, HookFn, HookHandle, HookKind, HookPart, LateEvent, hook_key, hook_value, window_close,
    window_late,
};

/// State by key: an agent takes it as `counts: Table<String, u64>`, and the table is named after the argument.
pub struct Table<K, V> {
    types: PhantomData<fn() -> (K, V)>,
}

/// State by key and window: `#[table(window = tumbling("10s"))] sums: WindowedTable<String, i64>`.
pub struct WindowedTable<K, V> {
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Data, V: Data> AgentArg for Table<K, V> {
    fn arg(_: &mut AgentCx<'_>, _: &'static ArgSpec) -> Result<Self, Error> {
        Ok(Self { types: PhantomData })
    }
}

impl<K: Data, V: Data> AgentArg for WindowedTable<K, V> {
    fn arg(_: &mut AgentCx<'_>, _: &'static ArgSpec) -> Result<Self, Error> {
        Ok(Self { types: PhantomData })
    }
}

// Not derived: a derive would ask the same of `K` and `V`.
impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { types: PhantomData }
    }
}

impl<K, V> Clone for WindowedTable<K, V> {
    fn clone(&self) -> Self {
        Self { types: PhantomData }
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

impl<K, V> fmt::Debug for WindowedTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowedTable").finish_non_exhaustive()
    }
}
