//! Consistency checks of a store, its changelog and the last commit. A store that can be restored is no error: it is a cache
//! of its changelog. Every other inconsistency is.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::without_paths;
use crate::error::Error;
use crate::message::Offset;
use crate::offsets::{CommitNumber, CommitVersion, CommittedTable};
use crate::store::Store;
use crate::store::mark::{STORE_VERSION, StoreCheckpoint, StoreIdentity};
use crate::table_state::{TableFactory, TableInfo};
use crate::time::millis;
use crate::transport::{StartAt, TopicPartition};

/// A table of a task that has passed the checks.
pub(super) struct CheckedTable {
    pub(super) factory: Arc<dyn TableFactory>,
    pub(super) partitions: i32,
    pub(super) changelog: TopicPartition,
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) identity: StoreIdentity,
    pub(super) from: Offset,
    pub(super) end: Offset,
    pub(super) full: bool,
    pub(super) cut: CommitNumber,
    /// End of the changelog's part with the records that are in the store.
    pub(super) records_end: Offset,
    /// The committed state of the table; `None` before the first commit.
    pub(super) committed: Option<CommittedTable>,
}

impl CheckedTable {
    /// Returns the position from which to read the changelog; `None` if there is nothing to read.
    pub(super) fn start(&self) -> Option<(TopicPartition, StartAt)> {
        (self.from < self.end).then(|| self.start_at())
    }

    /// Returns the position from which to read the changelog, even if nothing is there yet.
    pub(super) fn start_at(&self) -> (TopicPartition, StartAt) {
        (self.changelog.clone(), StartAt::Offset(self.from))
    }
}

/// The input of the checks of one table.
pub(super) struct Facts<'a> {
    pub(super) identity: &'a StoreIdentity,
    /// Encoded checkpoint of the store.
    pub(super) held: Option<Vec<u8>>,
    /// The committed state of the table; `None` without a commit of this app.
    pub(super) commit: Option<CommittedTable>,
    /// Log start offset and high watermark of the changelog.
    pub(super) low: Offset,
    pub(super) high: Offset,
    pub(super) changelog: &'a TopicPartition,
}

/// The position from which a table is restored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RestoreStart {
    pub(super) from: Offset,
    pub(super) full: bool,
    /// Number of the last cut in the store.
    pub(super) cut: CommitNumber,
    /// `true` if the store cannot be used, and is replaced: it may have missed removals whose tombstones were compacted away,
    /// is ahead, or was written by an earlier release.
    pub(super) is_stale: bool,
    /// `true` if the store holds changes that are not committed. It is replaced, logged and counted.
    pub(super) is_ahead: bool,
}

/// Maximum age of a store that has to catch up: half of Kafka's default `delete.retention.ms`, after which compaction
/// deletes tombstones.
const STALE_AFTER: Duration = Duration::from_secs(12 * 60 * 60);

/// Determines the position from which a table is restored.
///
/// # Errors
/// Reports an inconsistency, and how to start over.
pub(super) fn check(info: &TableInfo, partition: i32, facts: Facts<'_>) -> Result<RestoreStart, Error> {
    let Facts { identity, held, commit, low, high, changelog } = facts;
    let fault = |why: String| Error::State { table: info.name.to_string(), partition, why };
    if let Some(log) = commit.map(|commit| commit.mark.length)
        && log > high
    {
        return Err(fault(format!(
            "the last commit covers its changelog {changelog} up to offset {log}, but it ends at {high}: it was deleted or truncated, and its records are lost; restore it from a backup, or run `reset --topics` to start over"
        )));
    }
    let Some(mark) = held.map(|held| read(info, identity, &held).map_err(&fault)).transpose()? else {
        // If all records were deleted, only the cut number of the last commit shows that the table was written to.
        if low > Offset(0) && (high > low || commit.is_some_and(|commit| commit.mark.number > CommitNumber::default()))
        {
            return Err(fault(format!(
                "its changelog {changelog} begins at offset {low}: records before it were deleted, so the table cannot be restored; changelogs need `cleanup.policy=compact` alone; run `reset --topics` to start over"
            )));
        }
        return Ok(RestoreStart {
            from: low,
            full: true,
            cut: CommitNumber::default(),
            is_stale: false,
            is_ahead: false,
        });
    };
    if mark.topic_id != identity.topic_id {
        return Err(fault(format!(
            "its changelog `{}` was deleted and created again since the store was written (topic id {} then, {} now); run `reset` to restore from the current changelog, or `reset --topics` to start over",
            changelog.topic, mark.topic_id, identity.topic_id
        )));
    }
    if mark.next > high {
        return Err(fault(format!(
            "its store holds its changelog {changelog} up to offset {}, but that ends at {high}: it was truncated; run `reset` to restore from the current changelog, or `reset --topics` to start over",
            mark.next
        )));
    }
    let Some(commit) = commit else {
        return Err(fault(format!(
            "its store holds commit {}, but there is no commit of this app: the group's offsets were changed or deleted, or they expired while no worker ran; run `recover` to continue from the last commit in its changelog, or `reset --topics` to start over",
            mark.cut
        )));
    };
    if is_ahead(mark.version(), mark.records_end(), commit) {
        if low > Offset(0) {
            return Err(fault(format!(
                "its store holds commit {} of epoch {}, but the last commit is {} of epoch {}, and its changelog {changelog} begins at offset {low}, so that it cannot be restored: the group's offsets were changed; run `reset --topics` to start over",
                mark.cut, mark.epoch, commit.mark.number, commit.epoch
            )));
        }
        // A commit that a slow broker carries out late, or one of a former owner, takes the group back.
        tracing::warn!(table = %info.name, partition, "the store holds changes that are not committed: it is restored from the beginning of its changelog");
        return Ok(RestoreStart { from: low, full: true, cut: mark.cut, is_stale: true, is_ahead: true });
    }
    if mark.v != STORE_VERSION {
        return replaced(info, partition, (low, changelog), &mark).map_err(fault);
    }
    // A store with everything that is committed has missed no removal. What follows in the changelog does not count: the end of a
    // transaction, or changes that were not committed.
    let is_complete = !mark.partial && (mark.epoch, mark.cut) == (commit.epoch, commit.mark.number);
    let age = identity.clock.now().0.saturating_sub(mark.time.0);
    let is_stale = mark.next < high && age > millis(STALE_AFTER) && !is_complete;
    if is_stale && low == Offset(0) {
        tracing::info!(table = %info.name, partition, "the store is too old to catch up, because tombstones in the changelog expire after a day: it is restored from the beginning");
        return Ok(RestoreStart { from: low, full: true, cut: mark.cut, is_stale: true, is_ahead: false });
    }
    if mark.next < low && !is_complete {
        return Err(fault(format!(
            "its store holds its changelog {changelog} up to offset {}, but that begins at {low}: the records in between were deleted; run `reset --topics` to start over",
            mark.next
        )));
    }
    if is_stale {
        return Err(fault(format!(
            "its store is too old to catch up, because tombstones in the changelog expire after a day, and its changelog {changelog} begins at offset {low}: records before it were deleted, so the table cannot be restored; run `reset --topics` to start over"
        )));
    }
    Ok(RestoreStart { from: mark.next.max(low), full: false, cut: mark.cut, is_stale: false, is_ahead: false })
}

/// Replaces a store whose values have the format of an earlier release, which are not read. All else fits: the changelog has what
/// the store holds.
fn replaced(
    info: &TableInfo,
    partition: i32,
    (low, changelog): (Offset, &TopicPartition),
    mark: &StoreCheckpoint,
) -> Result<RestoreStart, String> {
    if low > Offset(0) {
        return Err(format!(
            "its store was written by an earlier release, and its changelog {changelog} begins at offset {low}, so that it cannot be restored: go back to that release, or run `reset --topics` to start over"
        ));
    }
    tracing::info!(table = %info.name, partition, "the store was written by an earlier release: it is restored from the beginning of its changelog");
    Ok(RestoreStart { from: low, full: true, cut: mark.cut, is_stale: true, is_ahead: false })
}

/// Returns whether a store with this encoded checkpoint has a later commit than this one.
pub(super) fn has_later_commit(held: &[u8], commit: CommittedTable) -> bool {
    let mark: Option<StoreCheckpoint> = serde_json::from_slice(held).ok();
    mark.is_some_and(|mark| mark.version() > commit.version())
}

/// Returns the end of the changelog's part with the records that are in a store with this encoded checkpoint; 0 if it cannot be
/// read.
pub(super) fn records_end(held: &[u8]) -> Offset {
    let mark: Option<StoreCheckpoint> = serde_json::from_slice(held).ok();
    mark.map_or(Offset(0), |mark| mark.records_end())
}

/// Returns whether a store holds changes that do not count: of a later commit, or of an owner whose records count only up to
/// the end at which the present one began. `version` is that of the last commit in the store, which has records of the changelog
/// up to `end`.
pub(super) fn is_ahead(version: CommitVersion, end: Offset, commit: CommittedTable) -> bool {
    match version.epoch.cmp(&commit.epoch) {
        Ordering::Less => end > commit.mark.end,
        Ordering::Equal => version.number > commit.mark.number,
        Ordering::Greater => true,
    }
}

/// Returns the version of the format of a store's checkpoint; `None` if it cannot be read.
fn version(held: &[u8]) -> Option<u8> {
    #[derive(serde::Deserialize)]
    struct Version {
        v: u8,
    }
    Some(serde_json::from_slice::<Version>(held).ok()?.v)
}

/// Decodes a store's checkpoint and compares it with the table that the store is opened for.
fn read(info: &TableInfo, identity: &StoreIdentity, held: &[u8]) -> Result<StoreCheckpoint, String> {
    let mark: Option<StoreCheckpoint> = serde_json::from_slice(held).ok();
    let mark = match (version(held), mark) {
        (Some(1..=STORE_VERSION), Some(mark)) => mark,
        (Some(v), _) if v > STORE_VERSION => {
            return Err(format!(
                "its store has format version {v}, but this program supports version {STORE_VERSION}; run `reset` to restore from the changelog"
            ));
        }
        _ => {
            return Err(
                "its store has a checkpoint that cannot be read; run `reset` to restore from the changelog".to_owned()
            );
        }
    };
    if mark.group != identity.group {
        return Err(format!(
            "its store was written by the app `{}`, but this is `{}`; give each app its own `datadir`, or run `reset` to restore the store of this app from the changelog",
            mark.group, identity.group
        ));
    }
    let kind = without_expiry(&mark.kind);
    if kind != identity.kind {
        return Err(differing_kind(info, &kind));
    }
    Ok(mark)
}

/// Returns the kind in a checkpoint as this release writes it. Earlier releases added the modules of types, and the time
/// for which windows are kept, which do not change what is stored.
fn without_expiry(kind: &str) -> String {
    let kind = kind.rsplit_once(", expires ").map_or(kind, |(kind, _)| kind);
    without_paths(kind)
}

/// Describes a store of another kind, and the fixes, the cheapest first.
fn differing_kind(info: &TableInfo, held: &str) -> String {
    match held.strip_prefix(&info.types()) {
        Some(windows) => differing_windows(
            info,
            "store",
            Some(windows.trim_start_matches(", ")).filter(|windows| !windows.is_empty()),
        ),
        None => format!(
            "its store holds {held}, but the program expects {}; if the new types read the old values (new fields have `#[field(default)]`), run `reset` to restore the store from the changelog; otherwise raise the app's `version` to start over, rename the table, or revert to the old types (book: Changing a record)",
            info.kind()
        ),
    }
}

/// Describes keys with other windows than those of the table.
pub(super) fn differing_windows(info: &TableInfo, place: &str, held: Option<&str>) -> String {
    let shown = |windows: Option<&str>| {
        windows.map_or_else(|| "no windows".to_owned(), |windows| format!("windows `{windows}`"))
    };
    format!(
        "its {place} holds {}, but the program declares {}: its entries cannot be assigned to the new windows; revert the declaration, rename the table, or raise the app's `version` to start over",
        shown(held),
        shown(info.layout().as_deref()),
    )
}

#[cfg(test)]
mod tests;
