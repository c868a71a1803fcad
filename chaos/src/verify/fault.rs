//! What is wrong, and where.

use std::fmt;

/// A difference between what was found and what the input implies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The offset of the record at fault; `None` if something is missing.
    pub(crate) offset: Option<i64>,
    pub(crate) key: String,
    pub(crate) problem: Problem,
    pub(crate) expected: String,
    pub(crate) found: String,
}

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Problem {
    Lost,
    Duplicate,
    OutOfOrder,
    WrongValue,
    WrongKey,
    Unreadable,
    WrongState,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Duplicate => "duplicate",
            Self::OutOfOrder => "out of order",
            Self::WrongValue => "wrong value",
            Self::WrongKey => "wrong key",
            Self::Unreadable => "unreadable",
            Self::WrongState => "wrong state",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, offset, key, problem, expected, found } = self;
        let place = offset.map_or_else(|| "at its end".to_owned(), |offset| format!("offset {offset}"));
        write!(f, "{problem}: {topic} [{partition}] {place}, key `{key}`: expected {expected}, found {found}")
    }
}

/// The number of faults that are kept; all are counted.
const KEPT: usize = 20;

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) first: Vec<Fault>,
    pub(crate) count: u64,
}

impl Faults {
    /// Adds a fault.
    pub(crate) fn add(&mut self, fault: Fault) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(fault);
        }
    }
}
