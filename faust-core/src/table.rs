//! Tables: local state by key, backed by a changelog topic and updated by the agents of one partition.

mod handle;
mod entry;
mod plain;
mod windowed;
#[cfg(test)]
mod tests;

pub use self::entry::{Entry, ValueMut};
pub use self::plain::{OrderedKey, Table};
pub use self::windowed::{WindowSet, WindowedAt, WindowedTable};
pub use crate::table_state::TableValue;
