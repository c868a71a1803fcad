//! The bytes of a table's keys and values: those of messages, except that `None` has bytes too, and that a value is
//! refused if it could not be read back.

mod nulls;
mod trust;
mod entry_coder;
#[cfg(test)]
mod tests;

pub(crate) use self::entry_coder::EntryCoder;
