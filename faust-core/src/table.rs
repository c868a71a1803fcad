//! Tables: local state by key, backed by a changelog topic and updated by the agents of one partition.

mod handle;
mod entry;
mod plain;
mod windowed_handle;
mod window_set;
mod windowed_at;
mod windowed;
#[cfg(test)]
mod tests;

pub use self::entry::{Entry, ValueMut};
pub use self::plain::{OrderedKey, Table};
pub use self::window_set::WindowSet;
pub use self::windowed::WindowedTable;
pub use self::windowed_at::WindowedAt;
pub use crate::table_state::TableValue;
