//! The metadata that earlier releases have committed: JSON, for one topic.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::number::CommitNumber;
use crate::message::Offset;
use crate::time::Timestamp;

/// The metadata of an earlier release.
#[derive(Deserialize)]
pub(super) struct EarlierMetadata {
    v: u8,
    /// Number of the commit.
    pub(super) cut: CommitNumber,
    /// Largest event time seen by any stage.
    #[serde(default)]
    pub(super) time: Option<Timestamp>,
    /// Largest event time of each stage for which it differs from `time`; `None` for a stage that has seen no event.
    #[serde(default)]
    pub(super) times: BTreeMap<String, Option<Timestamp>>,
    /// Next offset of each stage that is ahead of the committed offset.
    #[serde(default)]
    pub(super) ahead: BTreeMap<String, Offset>,
    /// End of each table's changelog at the commit.
    #[serde(default)]
    pub(super) logs: BTreeMap<String, Offset>,
}

impl EarlierMetadata {
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|earlier: &Self| earlier.v == 1)
    }
}
