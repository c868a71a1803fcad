//! The checkpoint in a store: its position in the changelog, and its identity.

use serde::{Deserialize, Serialize};

use crate::message::Offset;
use crate::offsets::{CommitNumber, CommitVersion, OwnerEpoch};
use crate::time::{Clock, Timestamp};

/// The identity of a store, which is part of every mark.
#[derive(Clone)]
pub(crate) struct StoreIdentity {
    /// Id of the app with its version.
    pub(crate) group: String,
    /// Types, codecs and windows that the store is written for.
    pub(crate) kind: String,
    /// Id of the changelog topic, which distinguishes it from another topic of the same name.
    pub(crate) topic_id: String,
    pub(crate) clock: Clock,
}

/// The position of a store in its changelog, and its identity. Kept in the store, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreCheckpoint {
    /// Version of the store format.
    pub(crate) v: u8,
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) topic_id: String,
    /// Next offset of the changelog to read: all records before it that count are in the store.
    pub(crate) next: Offset,
    /// End of the changelog's part with the records that are in the store; the greatest offset if it is unknown. It is behind
    /// [`next`](Self::next) if records before it do not count, and before it if only the ends of transactions follow, as in a
    /// standby. `None` in stores of earlier releases.
    #[serde(default)]
    pub(crate) end: Option<Offset>,
    /// Number of the last commit that is in the store.
    pub(crate) cut: CommitNumber,
    /// Epoch of that commit; 0 in stores of earlier releases.
    #[serde(default)]
    pub(crate) epoch: OwnerEpoch,
    /// Records of that commit are missing, because the changelog was not read to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) partial: bool,
    /// Time of writing, by the wall clock. It matters because the changelog removes tombstones after some time.
    pub(crate) time: Timestamp,
}

impl StoreCheckpoint {
    /// Returns the end of the changelog's part with the records that are in the store.
    pub(crate) fn records_end(&self) -> Offset {
        self.end.unwrap_or(self.next)
    }

    /// Returns the version of the last commit that is in the store.
    pub(crate) fn version(&self) -> CommitVersion {
        CommitVersion { epoch: self.epoch, number: self.cut }
    }
}

/// Version of the store format that this release writes.
pub(crate) const STORE_VERSION: u8 = 2;

impl StoreIdentity {
    /// Returns an encoded mark.
    pub(crate) fn mark(&self, (next, end): (Offset, Offset), version: CommitVersion, partial: bool) -> Vec<u8> {
        let mark = StoreCheckpoint {
            v: STORE_VERSION,
            group: self.group.clone(),
            kind: self.kind.clone(),
            topic_id: self.topic_id.clone(),
            next,
            end: Some(end),
            cut: version.number,
            epoch: version.epoch,
            partial,
            time: self.clock.now(),
        };
        serde_json::to_vec(&mark).expect("numbers and strings are always JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores of earlier releases hold this text.
    #[test]
    fn a_mark_holds_plain_numbers() {
        let identity = StoreIdentity {
            group: "shop".to_owned(),
            kind: "String -> u8".to_owned(),
            topic_id: "id".to_owned(),
            clock: Clock::new(|| Timestamp(1000)),
        };
        let text = r#"{"v":2,"group":"shop","kind":"String -> u8","topic_id":"id","next":50,"end":60,"cut":7,"epoch":3,"time":1000}"#;
        let version = CommitVersion { epoch: OwnerEpoch(3), number: CommitNumber(7) };
        assert_eq!(identity.mark((Offset(50), Offset(60)), version, false), text.as_bytes());
        let partial = text.replace(r#""time""#, r#""partial":true,"time""#);
        assert_eq!(identity.mark((Offset(50), Offset(60)), version, true), partial.as_bytes());
        let earlier = text.replace(r#""epoch":3,"#, "").replace(r#""end":60,"#, "");
        let earlier: StoreCheckpoint = serde_json::from_str(&earlier).expect("the text of an earlier release");
        assert_eq!((earlier.cut, earlier.epoch, earlier.end), (CommitNumber(7), OwnerEpoch(0), None));
    }
}
