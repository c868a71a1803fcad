//! Storage in files, for `embedded://DIR`.
//!
//! ```text
//! DIR/lock                    locked by the broker that uses the directory
//! DIR/holder                  process id and address of that broker, for the error message of another one
//! DIR/journal                 topics, configs, committed offsets, producer ids: one change per line
//! DIR/logs/TOPIC-ID/P/N.log   batches of partition P from offset N on, as received
//! DIR/logs/TOPIC-ID/P/N-M.log compacted batches of the offsets N (inclusive) to M (exclusive)
//! DIR/logs/TOPIC-ID/P/N-M.new the same, incomplete
//! ```
//!
//! Compaction writes a `.new` file and renames it. A file whose first offset is within the `N-M` range of another file
//! has been replaced by that file; if a crash prevented its deletion, it is deleted at the next start.
//!
//! Every write is passed to the operating system before it is acknowledged, so that it survives the end of the process.
//! Writes are not flushed to disk first, so a power failure may lose them; Kafka relies on replication in that case.

mod journal;
mod lock;
mod segment;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use self::journal::Journal;
use self::lock::Lock;
use self::segment::FileSegment;
use crate::core::change::Change;
use crate::core::storage::{LogStorage, PartitionId, SegmentData, StoredSegment};
use crate::core::{Broker, CoreConfig};
use crate::error::Error;

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

    /// Restores the broker stored in the directory, with all acknowledged writes, or creates one in an empty directory.
    pub(crate) fn open(&self, config: CoreConfig) -> Result<Broker, Error> {
        let failed = |source| Error::Directory { directory: self.path.clone(), source };
        let logs = self.path.join("logs");
        fs::create_dir_all(&logs).map_err(failed)?;
        let (journal, changes) = Journal::open(self.path.join("journal"))?;
        let storage = Disk { logs, journal };
        storage.drop_deleted(&changes).map_err(failed)?;
        Broker::restore(config, Box::new(storage), changes).map_err(failed)
    }
}

/// Storage in files.
#[derive(Debug)]
struct Disk {
    logs: PathBuf,
    journal: Journal,
}

impl Disk {
    fn partition_dir(&self, id: &PartitionId) -> PathBuf {
        self.topic_dir(id.topic_id).join(id.partition.to_string())
    }

    fn topic_dir(&self, topic_id: u128) -> PathBuf {
        self.logs.join(format!("{topic_id:032x}"))
    }

    /// Deletes the files of topics whose deletion is in the journal but was interrupted by a crash.
    ///
    /// Files of topics that are not in the journal are kept: they only waste space, whereas deleting them could lose
    /// the topics of a damaged journal.
    fn drop_deleted(&self, changes: &[Change]) -> io::Result<()> {
        let mut live = HashMap::new();
        for change in changes {
            match change {
                Change::TopicCreated { name, id, .. } => drop(live.insert(name, id.0)),
                Change::TopicDeleted { name } => {
                    if let Some(id) = live.remove(name) {
                        remove_if_there(&self.topic_dir(id))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl LogStorage for Disk {
    fn record(&mut self, change: &Change) -> io::Result<()> {
        self.journal.append(change)
    }

    fn create_segment(&mut self, partition: &PartitionId, base_offset: i64) -> io::Result<Box<dyn SegmentData>> {
        let directory = self.partition_dir(partition);
        fs::create_dir_all(&directory)?;
        Ok(Box::new(FileSegment::create(segment_path(&directory, base_offset))?))
    }

    fn load_segments(&mut self, partition: &PartitionId) -> io::Result<Vec<StoredSegment>> {
        let directory = self.partition_dir(partition);
        if !directory.exists() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&path)?;
            } else if let Some((base_offset, end_offset)) = offsets_of(&path) {
                found.push((base_offset, end_offset, path));
            }
        }
        // Of files with the same first offset, the longest one comes first.
        found.sort_by_key(|(base_offset, end_offset, _)| (*base_offset, std::cmp::Reverse(*end_offset)));
        let mut segments = Vec::with_capacity(found.len());
        let mut replaced_below = i64::MIN;
        for (base_offset, end_offset, path) in found {
            if base_offset < replaced_below {
                fs::remove_file(&path)?;
                continue;
            }
            replaced_below = end_offset.unwrap_or(replaced_below);
            let data = Box::new(FileSegment::open(path)?);
            segments.push(StoredSegment { base_offset, end_offset, data });
        }
        Ok(segments)
    }

    fn rewrite_segment(&mut self, partition: &PartitionId, offsets: Range<i64>) -> io::Result<Box<dyn SegmentData>> {
        let name = format!("{:020}-{:020}.log", offsets.start, offsets.end);
        Ok(Box::new(FileSegment::create_beside(self.partition_dir(partition).join(name))?))
    }

    fn delete_topic(&mut self, topic_id: u128) -> io::Result<()> {
        remove_if_there(&self.topic_dir(topic_id))
    }

    fn wants_snapshot(&self) -> bool {
        self.journal.has_grown()
    }

    fn replace_changes(&mut self, snapshot: &[Change]) -> io::Result<()> {
        self.journal.replace(snapshot)
    }
}

/// Removes a directory if it exists; a topic without any records has none.
fn remove_if_there(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn segment_path(directory: &Path, base_offset: i64) -> PathBuf {
    directory.join(format!("{base_offset:020}.log"))
}

/// Parses the base offset of a segment, and the end offset if compaction has written it, from the file name.
fn offsets_of(path: &Path) -> Option<(i64, Option<i64>)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
    match name.split_once('-') {
        Some((base, end)) => Some((base.parse().ok()?, Some(end.parse().ok()?))),
        None => Some((name.parse().ok()?, None)),
    }
}

#[cfg(test)]
mod tests;
