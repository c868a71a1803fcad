//! Storage in files, for `embedded://DIR`.
//!
//! ```text
//! DIR/lock                    locked by the broker that uses the directory
//! DIR/holder                  process id and address of that broker, for the error message of another one
//! DIR/journal                 topics, configs, committed offsets, producer ids: one change per line
//! DIR/synced                  the ends of the parts of the logs that are synced
//! DIR/stopped                 the same if the broker was stopped and everything is; renamed to `synced` at its start
//! DIR/reserve                 disk space for the deletion of a topic when the disk is full
//! DIR/logs/TOPIC-ID/topic     a copy of the topic's creation, in case the journal is damaged
//! DIR/logs/TOPIC-ID/P/N.log   batches of partition P from offset N on, as received
//! DIR/logs/TOPIC-ID/P/N-M.log batches of the offsets N (inclusive) to M (exclusive), compacted or repaired: with gaps
//! DIR/logs/TOPIC-ID/P/N-M.new the same, incomplete
//! DIR/logs/TOPIC-ID/P/*.summary  what a start must know of the segment of this name
//! *.at-POSITION.damaged       bytes that a repair has removed from the file of this name; never read, never deleted
//! ```
//!
//! Compaction writes a `.new` file and renames it. A file whose first offset is within the `N-M` range of another file
//! has been replaced by that file; if a crash prevented its deletion, it is deleted at the next start.
//!
//! Every write is passed to the operating system before it is acknowledged, so that it survives the end of the process.
//! Records and committed offsets are not synced first, so a power failure may lose the last ones; Kafka relies on
//! replication in that case. A segment is synced in the background when the next one begins, the last one when it has grown
//! enough, and everything when the broker is stopped.
//!
//! A start does not read segments that were synced and have a summary, reads only the headers of other batches that were
//! synced, and verifies the checksums of those that were not. All other checksums are verified while the broker is running.

mod aside;
mod files;
mod journal;
mod line;
mod lock;
mod marker;
mod progress;
mod reserve;
mod segment;
mod sync;
mod topics;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use self::files::Files;
use self::journal::{Journal, JournalPart};
use self::lock::Lock;
use self::marker::Synced;
use self::progress::Progress;
use self::reserve::Reserve;
use self::segment::{Access, FileSegment, covering_path, offsets_of, plain_path, summary_path};
use self::sync::Syncer;
use crate::core::advice::{advice, at_path, is_out_of_space};
use crate::core::change::Change;
use crate::core::storage::{LogStorage, PartitionId, SegmentData, StoredLog, StoredSegment};
use crate::core::{BrokerCore, CoreConfig};
use crate::error::Error;

/// Number of producer ids that are skipped if the journal has lost changes, far more than may have been reserved.
const SKIPPED_PRODUCER_IDS: i64 = 1_000_000;

/// A directory that is locked for this broker.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: Lock,
}

impl Directory {
    /// Locks the directory for a broker that listens on `address`, and creates it if necessary.
    pub(crate) fn lock(path: &Path, address: SocketAddr) -> Result<Self, Error> {
        let lock = Lock::take(path, address)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Restores the broker stored in the directory, with all acknowledged writes, or creates one in an empty directory. At
    /// most `open_files` segments are open at a time.
    pub(crate) fn open(&self, config: CoreConfig, open_files: NonZeroUsize) -> Result<BrokerCore, Error> {
        let failed = Error::directory(&self.path);
        let logs = self.path.join("logs");
        fs::create_dir_all(&logs).map_err(at_path(&logs)).map_err(&failed)?;
        let synced = marker::take(&self.path).map_err(&failed)?;
        let (journal, changes) = self.open_journal(&logs)?;
        let was_killed = !synced.was_stopped && !changes.is_empty();
        if was_killed {
            tracing::info!(directory = ?self.path, "the broker was not stopped; what was not synced is verified");
        }
        let files = Arc::new(Files::new(open_files));
        let syncer = Arc::new(Syncer::new(Arc::clone(&files)));
        let access = Access { syncer, files, buffers: Arc::default() };
        let reserve = Reserve::new(self.path.join("reserve"));
        let progress = Progress::default();
        let storage = Disk { root: self.path.clone(), logs, journal, reserve, access, synced, progress };
        let broker = BrokerCore::restore(config, Box::new(storage), changes).map_err(failed)?;
        if was_killed && !broker.is_unverified() {
            tracing::info!("verified the checksums of all records");
        }
        Ok(broker)
    }

    /// Opens the journal and repairs it if it is damaged.
    fn open_journal(&self, logs: &Path) -> Result<(Journal, Vec<Change>), Error> {
        let failed = Error::directory(&self.path);
        let path = self.path.join("journal");
        let journal::Content { mut entries, is_terminated } = journal::read(&path)?;
        let is_damaged = entries.iter().any(|entry| matches!(entry, JournalPart::Damaged(..)));
        journal::set_aside_damage(&path, &entries).map_err(&failed)?;
        let has_lost_topics = topics::restore(logs, &mut entries).map_err(&failed)?;
        let as_change = |entry| match entry {
            JournalPart::Change(change) => Some(change),
            JournalPart::Damaged(..) => None,
        };
        let mut changes: Vec<Change> = entries.into_iter().filter_map(as_change).collect();
        if is_damaged || has_lost_topics {
            let known = changes.iter().filter_map(|change| match change {
                Change::ProducerIds { next } => Some(*next),
                _ => None,
            });
            let next = known.max().unwrap_or(0).saturating_add(SKIPPED_PRODUCER_IDS);
            changes.push(Change::ProducerIds { next });
        }
        let is_intact = is_terminated && !is_damaged && !has_lost_topics;
        let journal = Journal::open(path, &changes, is_intact).map_err(failed)?;
        Ok((journal, changes))
    }
}

/// Storage in files.
#[derive(Debug)]
struct Disk {
    root: PathBuf,
    logs: PathBuf,
    journal: Journal,
    reserve: Reserve,
    access: Access,
    /// The part of the logs that the last run has synced.
    synced: Synced,
    progress: Progress,
}

impl Disk {
    fn partition_dir(&self, id: &PartitionId) -> PathBuf {
        topics::topic_dir(&self.logs, id.topic_id).join(id.partition.to_string())
    }

    /// Creates the directory of a partition if it does not exist.
    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        if !directory.is_dir() {
            fs::create_dir_all(directory).map_err(at_path(directory))?;
        }
        Ok(())
    }
}

impl LogStorage for Disk {
    fn record(&mut self, change: &Change) -> io::Result<()> {
        let frees_space = matches!(change, Change::TopicDeleted { .. } | Change::LogStart { .. });
        if frees_space {
            // In case that the last one has used it.
            self.reserve.refill();
        }
        let mut recorded = self.journal.append(change);
        if recorded.as_ref().is_err_and(is_out_of_space) && frees_space {
            self.reserve.free();
            recorded = self.journal.append(change);
        }
        recorded?;
        topics::write_copy(&self.logs, change);
        Ok(())
    }

    fn create_segment(&mut self, partition: &PartitionId, base_offset: i64) -> io::Result<Box<dyn SegmentData>> {
        let directory = self.partition_dir(partition);
        self.create_dir(&directory)?;
        let created = FileSegment::create(self.access.clone(), plain_path(&directory, base_offset))?;
        Ok(Box::new(created))
    }

    fn load_segments(&mut self, partition: &PartitionId) -> io::Result<StoredLog> {
        let directory = self.partition_dir(partition);
        let Synced { ends, was_stopped } = &self.synced;
        let synced = ends.get(partition).copied().unwrap_or(0);
        let mut log = StoredLog { segments: Vec::new(), synced };
        if !directory.exists() {
            return Ok(log);
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&directory).map_err(at_path(&directory))? {
            let path = entry.map_err(at_path(&directory))?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&path).map_err(at_path(&path))?;
            } else if path.extension().is_some_and(|extension| extension == "summary") {
                if !path.with_extension("log").exists() {
                    // If it stays, it only takes space.
                    drop(fs::remove_file(&path));
                }
            } else if let Some((base_offset, end_offset)) = offsets_of(&path) {
                found.push((base_offset, end_offset, path));
            }
        }
        // Of files with the same first offset, the longest one comes first.
        found.sort_by_key(|(base_offset, end_offset, _)| (*base_offset, std::cmp::Reverse(*end_offset)));
        let mut replaced_below = i64::MIN;
        for (base_offset, end_offset, path) in found {
            if base_offset < replaced_below {
                fs::remove_file(&path).map_err(at_path(&path))?;
                drop(fs::remove_file(summary_path(&path)));
                continue;
            }
            replaced_below = end_offset.unwrap_or(replaced_below);
            let data = Box::new(FileSegment::of_earlier_run(self.access.clone(), path)?);
            let synced = if *was_stopped { i64::MAX } else { synced };
            log.segments.push(StoredSegment { base_offset, end_offset, synced, data });
        }
        Ok(log)
    }

    fn has_read(&mut self, bytes: u64) {
        self.progress.has_read(bytes);
    }

    fn has_recovered(&mut self, logs: usize, of: usize) {
        self.progress.has_recovered(logs, of);
    }

    fn rewrite_segment(&mut self, partition: &PartitionId, offsets: Range<i64>) -> io::Result<Box<dyn SegmentData>> {
        let plain = plain_path(&self.partition_dir(partition), offsets.start);
        Ok(Box::new(FileSegment::create_beside(self.access.clone(), covering_path(&plain, &offsets))?))
    }

    fn delete_topic(&mut self, topic_id: u128) -> io::Result<()> {
        topics::delete(&self.logs, topic_id)
    }

    fn wants_snapshot(&self) -> bool {
        self.journal.has_grown()
    }

    fn replace_changes(&mut self, snapshot: &[Change]) -> io::Result<()> {
        self.journal.replace(snapshot)?;
        // The copies are brought up to date, as the journal now is the only place of older changes.
        snapshot.iter().for_each(|change| topics::write_copy(&self.logs, change));
        Ok(())
    }

    fn release_files(&mut self) {
        self.access.files.close_half();
    }

    fn checkpoint(&mut self, ends: &[Change]) -> io::Result<()> {
        let (root, text) = (self.root.clone(), marker::encode(ends)?);
        self.access.syncer.then(move || marker::checkpoint(&root, &text));
        Ok(())
    }

    fn close(&mut self, ends: &[Change]) -> io::Result<()> {
        self.journal.sync()?;
        if !self.access.syncer.finish() {
            return Err(io::Error::other("a file could not be synced; the log names it"));
        }
        let text = marker::encode(ends)?;
        let mut marked = marker::mark_stop(&self.root, &text);
        if marked.is_err() {
            self.reserve.free();
            marked = marker::mark_stop(&self.root, &text);
        }
        if let Err(error) = marked {
            tracing::warn!(%error, advice = advice(&error), "cannot mark the stop; the next start verifies all checksums");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
