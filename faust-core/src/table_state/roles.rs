//! Traits through which the engine uses a table's partition, independent of the type of its values.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::prefetch::Prefetchable;
use super::spec::TableInfo;
use crate::error::Error;
use crate::store::{Sealed, StoreWriter};
use crate::time::Timestamp;
use crate::window::Window;

/// A partition of a table, independent of the type of its values.
pub(crate) trait AnyTablePartition: CommitState + RestoreState + ExpireWindows + Prefetchable {
    fn info(&self) -> &TableInfo;

    /// Returns the maximum size of a changelog record in bytes.
    fn max_record(&self) -> u64;

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// Sealing, committing and rolling back the changes of a table's partition.
pub(crate) trait CommitState: Send + Sync {
    /// Returns whether there is something to seal.
    fn is_dirty(&self) -> bool;

    /// Returns the number of keys written since the last seal.
    fn dirty(&self) -> usize;

    /// Ends the current epoch and encodes its changes; `None` if there are none.
    ///
    /// # Errors
    /// The codec rejects a value, or it is too large for the changelog; then nothing is sealed.
    fn seal(&self) -> Result<Option<Arc<Sealed>>, Error>;

    /// Hands sealed changes to the store, with this checkpoint, once they are committed.
    fn committed(&self, sealed: Arc<Sealed>, mark: Vec<u8>, writer: &StoreWriter);

    /// Sets whether each written value is encoded, so that one that cannot be sealed is refused by its event.
    fn check_writes(&self, checks: bool);

    /// Undoes the last seal, before anything else is written: its changes are open again.
    fn reopen(&self);

    /// Merges the last two seals: they are committed or rolled back together.
    fn merge_last_seals(&self);

    /// Rolls back the changes made since the last seal.
    fn roll_back_open(&self);

    /// Rolls back the sealed changes as well.
    fn roll_back_sealed(&self);

    /// Evicts some clean entries if all tables together exceed their memory budget.
    fn trim(&self);
}

/// Restoring a table's partition from its changelog.
pub(crate) trait RestoreState: Send + Sync {
    /// Starts a restore from an empty table: a key that is not applied does not exist.
    fn begin_whole(&self);

    /// Applies a batch of records in order, and hands it to the store with this checkpoint.
    fn apply(&self, batch: Arc<Sealed>, mark: Vec<u8>, writer: &StoreWriter);

    /// Ends a restore: marks keys whose latest changelog record was never committed, so that the next seal rewrites
    /// them.
    ///
    /// # Errors
    /// The committed value of such a key is lost.
    fn repair(&self, keys: &BTreeMap<Vec<u8>, PriorValue>) -> Result<(), Error>;
}

/// The committed value of a key, by the record of it that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PriorValue {
    /// There may be none.
    Unknown,
    /// There was one at the last commit of another owner, which may not be the one that counts.
    Likely,
    /// There is one.
    Certain,
}

/// Removing expired windows.
pub(crate) trait ExpireWindows: Send + Sync {
    /// Removes a bounded number of expired windows, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    fn expire(&self, stream_time: Timestamp, with_values: bool) -> Result<Expired, Error>;

    /// Returns the time such that all windows starting before it have been removed permanently; `None` if there are
    /// none.
    fn closed_to(&self) -> Option<Timestamp>;

    /// Returns the stream time from which [`expire`](Self::expire) has work to do; `None` if that is unknown, so that it
    /// must be called.
    fn due(&self) -> Option<Timestamp>;
}

/// The result of one step of removing expired windows.
#[derive(Debug, Default)]
pub(crate) struct Expired {
    /// The windows that were removed; a step may remove none and still not be the last.
    pub(crate) closed: Vec<ClosedWindow>,
    /// Set if another step must follow.
    pub(crate) has_more: bool,
}

/// An expired window of one key.
#[derive(Debug)]
pub(crate) struct ClosedWindow {
    pub(crate) key: Vec<u8>,
    pub(crate) window: Window,
    /// The last value, encoded; empty if it was not requested.
    pub(crate) value: Vec<u8>,
}
