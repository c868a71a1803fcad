//! Whether a store, its changelog and the last commit fit together. What does not is never guessed at.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::offsets::CommitMetadata;
use crate::store::Store;
use crate::store::mark::{STORE_VERSION, StoreCheckpoint, StoreIdentity};
use crate::table_state::{TableFactory, TableInfo};
use crate::time::millis;
use crate::transport::{StartAt, TopicPartition};

/// A table of a task, looked at.
pub(super) struct CheckedTable {
    pub(super) factory: Arc<dyn TableFactory>,
    pub(super) partitions: i32,
    pub(super) changelog: TopicPartition,
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) identity: StoreIdentity,
    pub(super) from: i64,
    pub(super) end: i64,
    pub(super) full: bool,
    pub(super) cut: u64,
}

impl CheckedTable {
    /// Where its changelog has to be read, if there is anything to read.
    pub(super) fn start(&self) -> Option<(TopicPartition, StartAt)> {
        (self.from < self.end).then(|| (self.changelog.clone(), StartAt::Offset(self.from)))
    }
}

/// What is known of a table before it is restored.
pub(super) struct Facts<'a> {
    pub(super) identity: &'a StoreIdentity,
    /// The mark in the store.
    pub(super) held: Option<Vec<u8>>,
    pub(super) commit: Option<&'a CommitMetadata>,
    /// The changelog's first offset, and the one after its last.
    pub(super) low: i64,
    pub(super) high: i64,
    pub(super) changelog: &'a TopicPartition,
}

/// From where a table is restored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RestoreStart {
    pub(super) from: i64,
    pub(super) full: bool,
    /// The last cut that is in the store.
    pub(super) cut: u64,
    /// The store has missed removals that the changelog may have forgotten by now.
    pub(super) is_stale: bool,
}

/// How old a store may be that has to catch up: half of Kafka's default `delete.retention.ms`, after which a changelog
/// forgets that a key was removed.
const STALE_AFTER: Duration = Duration::from_secs(12 * 60 * 60);

/// Decides from where to restore.
///
/// # Errors
/// What does not fit, and how to start over.
pub(super) fn check(info: &TableInfo, partition: i32, facts: Facts<'_>) -> Result<RestoreStart, Error> {
    let Facts { identity, held, commit, low, high, changelog } = facts;
    let fault = |why: String| Error::State { table: info.name.to_string(), partition, why };
    if let Some(&log) = commit.and_then(|commit| commit.logs.get(&*info.name))
        && log > high
    {
        return Err(fault(format!(
            "the last commit knows its changelog {changelog} up to offset {log}, but it ends at {high}: somebody deleted or truncated it, and what it held is gone; create it anew from a backup, or run `reset --topics` to start over"
        )));
    }
    let Some(mark) = held.map(|held| read(identity, &held).map_err(&fault)).transpose()? else {
        // Where all of it was deleted there is nothing left to tell that, but a commit of a table that was written to.
        if low > 0 && (high > low || commit.is_some_and(|commit| commit.cut > 0)) {
            return Err(fault(format!(
                "its changelog {changelog} begins at offset {low}: records before it were deleted, so the table cannot be restored; changelogs need `cleanup.policy=compact` alone. StageMode `reset --topics` to start over"
            )));
        }
        return Ok(RestoreStart { from: low, full: true, cut: 0, is_stale: false });
    };
    if mark.topic_id != identity.topic_id {
        return Err(fault(format!(
            "its changelog `{}` was deleted and created again since the store was written (topic id {} then, {} now); run `reset` to take what the changelog holds now, or `reset --topics` to start over",
            changelog.topic, mark.topic_id, identity.topic_id
        )));
    }
    if mark.next > high {
        return Err(fault(format!(
            "its store holds its changelog {changelog} up to offset {}, but that ends at {high}: it was truncated; run `reset` to take what the changelog holds now, or `reset --topics` to start over",
            mark.next
        )));
    }
    let committed = commit.map(|commit| commit.cut);
    if committed.is_none_or(|committed| committed < mark.cut) {
        let says = committed
            .map_or_else(|| "there is no commit of this app".to_owned(), |cut| format!("the last commit is cut {cut}"));
        return Err(fault(format!(
            "its store holds cut {}, but {says}: somebody moved or deleted the group's offsets; run `reset --topics` to start over",
            mark.cut
        )));
    }
    let age = identity.clock.now().0.saturating_sub(mark.time);
    let is_stale = mark.next < high && age > millis(STALE_AFTER);
    if is_stale && low == 0 {
        tracing::info!(table = %info.name, partition, "the store is too old to catch up, because the changelog forgets removals after a day: it is restored from the beginning");
        return Ok(RestoreStart { from: low, full: true, cut: mark.cut, is_stale: true });
    }
    if mark.next < low {
        return Err(fault(format!(
            "its store holds its changelog {changelog} up to offset {}, but that begins at {low}: records between were deleted; run `reset --topics` to start over",
            mark.next
        )));
    }
    if is_stale {
        return Err(fault(format!(
            "its store is too old to catch up, because the changelog forgets removals after a day, and its changelog {changelog} begins at offset {low}: records before it were deleted, so the table cannot be restored; run `reset --topics` to start over"
        )));
    }
    Ok(RestoreStart { from: mark.next, full: false, cut: mark.cut, is_stale: false })
}

/// Reads a store's mark and holds it against the table it is wanted for.
fn read(identity: &StoreIdentity, held: &[u8]) -> Result<StoreCheckpoint, String> {
    #[derive(serde::Deserialize)]
    struct Version {
        v: u8,
    }
    let version: Option<Version> = serde_json::from_slice(held).ok();
    let mark: Option<StoreCheckpoint> = serde_json::from_slice(held).ok();
    let mark = match (version, mark) {
        (Some(Version { v: STORE_VERSION }), Some(mark)) => mark,
        (Some(Version { v }), _) if v != STORE_VERSION => {
            return Err(format!(
                "its store was written in form {v}, and this program knows form {STORE_VERSION}; run `reset`, it is restored from the changelog"
            ));
        }
        _ => {
            return Err(
                "its store has a mark that cannot be read; run `reset`, it is restored from the changelog".to_owned()
            );
        }
    };
    if mark.group != identity.group {
        return Err(format!(
            "its store was written by the app `{}`, and this is `{}`; give each app a `datadir` of its own, or run `reset`, then this one's is restored from the changelog",
            mark.group, identity.group
        ));
    }
    if mark.kind != identity.kind {
        return Err(format!(
            "its store holds {}, and the program wants {}; raise the app's `version` to start over, give the table another name, or go back to the old types",
            mark.kind, identity.kind
        ));
    }
    Ok(mark)
}

#[cfg(test)]
mod tests;
