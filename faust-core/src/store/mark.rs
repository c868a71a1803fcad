//! The checkpoint in a store: how far in the changelog the store is, and whose it is.

use serde::{Deserialize, Serialize};

use crate::offsets::CommitNumber;
use crate::time::Clock;

/// What every mark of a store says.
#[derive(Clone)]
pub(crate) struct StoreIdentity {
    /// The app with its version.
    pub(crate) group: String,
    /// The types, codecs and windows it is written for.
    pub(crate) kind: String,
    /// The id of the changelog topic, which another topic of its name does not have.
    pub(crate) topic_id: String,
    pub(crate) clock: Clock,
}

/// How far a store is, and whose it is. Kept in the store, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreCheckpoint {
    /// Version of the form of stores.
    pub(crate) v: u8,
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) topic_id: String,
    /// Everything before this offset of the changelog is in the store.
    pub(crate) next: i64,
    /// The last cut that is in the store.
    pub(crate) cut: CommitNumber,
    /// When it was written, by the wall clock: removals are forgotten by the changelog in time.
    pub(crate) time: i64,
}

/// The form of stores that this release writes.
pub(crate) const STORE_VERSION: u8 = 1;

impl StoreIdentity {
    /// The bytes of a mark.
    pub(crate) fn mark(&self, next: i64, cut: CommitNumber) -> Vec<u8> {
        let mark = StoreCheckpoint {
            v: STORE_VERSION,
            group: self.group.clone(),
            kind: self.kind.clone(),
            topic_id: self.topic_id.clone(),
            next,
            cut,
            time: self.clock.now().0,
        };
        serde_json::to_vec(&mark).expect("numbers and strings are always JSON")
    }
}
