//! Offsets to commit: the tracker of finished events, and the numbers and the metadata of a commit.

mod tracker;
mod number;
mod name_hash;
mod log_id;
mod earlier;
mod metadata;

pub(crate) use self::log_id::LogId;
pub(crate) use self::metadata::{CommitMetadata, CommittedTable, StageMark, TableMark};
pub(crate) use self::name_hash::{NameHash, fnv1a};
pub(crate) use self::number::{CommitNumber, CommitVersion, OwnerEpoch};
pub(crate) use self::tracker::{OffsetTracker, Position};
