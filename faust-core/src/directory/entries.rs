//! The entries of the control topic: their keys, and their values as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

const PLAN: &str = "plan/";
const WORKER: &str = "worker/";

/// The description of a worker for the others of its app. Fields may be added: readers ignore those that they do not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerEntry {
    /// Distinguishes this start of the worker from others under its name.
    pub(crate) start: u64,
    /// Fingerprint of its plan, the name of another entry.
    pub(crate) plan: String,
    /// Time in milliseconds after which the worker counts as dead if it has not written another entry.
    pub(crate) timeout_ms: u64,
    /// The partitions that it has, by topic.
    #[serde(default)]
    pub(crate) partitions: BTreeMap<String, Vec<i32>>,
    /// The standbys that it keeps, by table and partition, each with its lag in offsets; none while that is unknown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) standbys: BTreeMap<String, BTreeMap<i32, Option<u64>>>,
}

/// Header of a removal, with the start of the worker that it is about: a later one under the same name stays.
pub(super) const START_HEADER: &str = "faust-start";

/// The subject of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryKey {
    /// The plan with this fingerprint.
    Plan(String),
    /// The worker of this name.
    Worker(String),
}

impl EntryKey {
    /// Reads the key of a record; `None` if it is of a kind that this release does not know.
    pub(super) fn read(key: &[u8]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?;
        let plan = key.strip_prefix(PLAN).map(|name| Self::Plan(name.to_owned()));
        plan.or_else(|| key.strip_prefix(WORKER).map(|name| Self::Worker(name.to_owned())))
    }

    /// Returns the key of the record.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Plan(name) => format!("{PLAN}{name}"),
            Self::Worker(name) => format!("{WORKER}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        for key in [EntryKey::Plan("00ff".to_owned()), EntryKey::Worker("a/b".to_owned())] {
            assert_eq!(EntryKey::read(key.text().as_bytes()), Some(key));
        }
        for other in ["command/pause", "", "plans/x"] {
            assert_eq!(EntryKey::read(other.as_bytes()), None, "{other}");
        }
        assert_eq!(EntryKey::read(b"worker/\xFF"), None);
    }

    #[test]
    fn a_worker_s_entry_may_have_more_and_fewer_fields() {
        let entry: WorkerEntry = serde_json::from_str(r#"{"start":7,"plan":"00ff","timeout_ms":45000,"lag":{"t":3}}"#)
            .expect("the first fields are enough");
        let expected = WorkerEntry { start: 7, plan: "00ff".to_owned(), timeout_ms: 45_000, ..WorkerEntry::default() };
        assert_eq!(entry, expected);
    }
}
