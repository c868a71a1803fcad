//! The entries of the control topic: their keys, and their values as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

const PLAN: &str = "plan/";
const WORKER: &str = "worker/";

/// What a worker tells the others of its app. Fields may be added: readers ignore those that they do not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerEntry {
    /// Distinguishes this start of the worker from others under its name.
    pub(crate) start: u64,
    /// Fingerprint of its plan, the name of another entry.
    pub(crate) plan: String,
    /// The address at which other workers reach it, if it listens.
    #[serde(default)]
    pub(crate) address: Option<String>,
    /// The partitions that it has, by topic.
    #[serde(default)]
    pub(crate) partitions: BTreeMap<String, Vec<i32>>,
    /// Descriptions of partitions that wait for others.
    #[serde(default)]
    pub(crate) waiting: Vec<String>,
    /// Descriptions of agents that fail again and again.
    #[serde(default)]
    pub(crate) failing: Vec<String>,
}

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
        let entry: WorkerEntry =
            serde_json::from_str(r#"{"start":7,"plan":"00ff","lag":{"t":3}}"#).expect("two fields are enough");
        assert_eq!(entry, WorkerEntry { start: 7, plan: "00ff".to_owned(), ..WorkerEntry::default() });
    }
}
