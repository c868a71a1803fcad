//! The changelog of a table: the format of its records, and their writer.
//!
//! The key of a record is the output of the key codec, followed by the start of the window if the table has windows, as
//! in Kafka Streams' windowed serde. The value is the output of the value codec; a removal is a tombstone. A header
//! ([`COMMIT_HEADER`]) contains the epoch of the record's writer and the number of its commit: a restore skips the records of
//! commits that never took effect, and those of a former owner. It also contains the entry's time, the greatest of the events
//! that made the value: the record's own timestamp is the broker's, so that retention keeps records of old events. The last
//! record of a commit also has its metadata, from which the command `recover` takes the positions up again if the group's
//! offsets have expired.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::check::differing_windows;
use super::commit_header::{COMMIT_HEADER, CommitHeader, CommitHeaders};
use super::in_flight::InFlight;
use crate::error::{Error, TransportError};
use crate::message::{Headers, RawMessage};
use crate::offsets::{CommitMetadata, CommitNumber, CommitVersion, OwnerEpoch};
use crate::stage::tables::TaskTable;
use crate::stats::Stats;
use crate::store::Sealed;
use crate::table_state::RECORD_HEADERS;
use crate::time::Timestamp;
use crate::transport::{Delivery, Outgoing, Sink, SinkTopic, TopicPartition, send};
use crate::window::key::{changelog_key, split_changelog_key, split_store_key, store_key};

/// Name of the header with the metadata of the commit, after the number of tables that it changes: `TABLES METADATA`. The last
/// record of each of these tables has it. If it is there, so are the others of the table.
const METADATA_HEADER: &str = "faust-commit-metadata";
/// Number of records to send before yielding to other tasks.
const TURN: usize = 256;

/// A writer that sends the sealed tables of one task to their changelogs, in the order in which they were sealed.
///
/// It runs concurrently with the task, so that a commit with many keys does not block the agents. It ends as soon as
/// its last owner drops it: the remaining records must not be sent, because another worker may own the partition.
#[derive(Debug)]
pub(crate) struct ChangelogWriter {
    work: mpsc::UnboundedSender<Work>,
    running: tokio::task::JoinHandle<()>,
    in_flight: Arc<InFlight>,
    epoch: OwnerEpoch,
}

/// A sealed table to send to its changelog.
struct Work {
    topic: Arc<dyn SinkTopic>,
    partition: i32,
    /// The layout of the table's windows.
    layout: Option<String>,
    sealed: Arc<Sealed>,
    version: CommitVersion,
    /// The value of [`METADATA_HEADER`].
    metadata: Option<Bytes>,
    /// Maximum size of a record, in bytes.
    max_record: u64,
    delivery: Arc<Delivery>,
    outcome: Result<(), TransportError>,
}

impl Drop for Work {
    /// Releases the count that [`ChangelogWriter::begin`] has added, so that the delivery is not complete before all
    /// records are sent.
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Ok(()));
        self.delivery.done(outcome.map(|()| None));
    }
}

impl ChangelogWriter {
    /// Starts the writer of an owner.
    pub(crate) fn spawn(
        sink: Arc<dyn Sink>,
        stats: Arc<Stats>,
        in_flight: Arc<InFlight>,
        epoch: OwnerEpoch,
    ) -> Arc<Self> {
        let (work, mut waiting) = mpsc::unbounded_channel::<Work>();
        let running = tokio::spawn(async move {
            while let Some(mut work) = waiting.recv().await {
                work.outcome = work.send(&*sink).await;
                stats.changelog(work.sealed.len() as u64);
            }
        });
        Arc::new(Self { work, running, in_flight, epoch })
    }

    /// Returns the epoch that the records carry.
    pub(crate) fn epoch(&self) -> OwnerEpoch {
        self.epoch
    }

    /// Queues a sealed table for sending. The returned delivery is complete once all of its records are acknowledged.
    /// `metadata` are those of the commit, from [`metadata_header`].
    pub(crate) fn begin(
        &self,
        table: &TaskTable,
        number: CommitNumber,
        sealed: Arc<Sealed>,
        metadata: Option<Bytes>,
    ) -> Arc<Delivery> {
        let (info, topic, partition) = (table.state.info(), Arc::clone(&table.topic), table.partition);
        let delivery = Delivery::with_offsets(Arc::clone(&table.stored_records));
        delivery.sent();
        let layout = info.layout();
        // A restarted task must not read the changelog before these records are acknowledged.
        self.in_flight.add(TopicPartition::new(info.changelog.as_str(), partition), &delivery);
        // Reported if the writer ends before the table is sent.
        let outcome = Err(TransportError::retriable("changelog", "the task has ended"));
        let version = CommitVersion { epoch: self.epoch, number };
        let of_work = Arc::clone(&delivery);
        let max_record = table.state.max_record();
        let work = Work { topic, partition, layout, sealed, version, metadata, max_record, delivery: of_work, outcome };
        // Cannot fail: the writer runs as long as `self` exists.
        drop(self.work.send(work));
        delivery
    }
}

impl Drop for ChangelogWriter {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Work {
    async fn send(&self, sink: &dyn Sink) -> Result<(), TransportError> {
        let mut headers = CommitHeaders::new(self.version, self.layout.as_deref());
        let mut rotated = Vec::new();
        let last = self.sealed.len().saturating_sub(1);
        for (index, entry) in self.sealed.iter().enumerate() {
            if index % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
            let key = if self.layout.is_some() { rotate(entry.key, &mut rotated) } else { entry.key };
            let size = (key.len() + entry.value().map_or(0, <[u8]>::len) + RECORD_HEADERS) as u64;
            // Without the metadata, `recover` continues from an earlier commit.
            let fits = |metadata: &&Bytes| size + metadata.len() as u64 <= self.max_record;
            let metadata = self.metadata.as_ref().filter(|_| index == last).filter(fits);
            let of_last = metadata.map(|metadata| Headers::new().with(METADATA_HEADER, metadata.clone()));
            let message = Outgoing {
                partition: Some(self.partition),
                key: Some(key),
                payload: entry.value(),
                headers: of_last.unwrap_or_default(),
                last_header: Some((COMMIT_HEADER, headers.value(entry.is_new, entry.time))),
                timestamp: None,
            };
            send(sink, &*self.topic, &message, &self.delivery).await?;
        }
        Ok(())
    }
}

/// Returns the header's value for a commit that changes this number of tables.
pub(super) fn metadata_header(tables: usize, metadata: &CommitMetadata) -> Bytes {
    Bytes::from(format!("{tables} {}", metadata.to_text()))
}

/// Reads the metadata of a commit from the headers of a record, with the number of tables that it changes. `topic` is one of
/// those that the task reads.
pub(super) fn metadata_of(headers: &Headers, topic: &str) -> Option<(usize, CommitMetadata)> {
    let (tables, text) = headers.get_str(METADATA_HEADER)?.split_once(' ')?;
    Some((tables.parse().ok()?, CommitMetadata::from_text(text, topic)?))
}

/// Creates the error of a changelog with commits whose group has none.
pub(super) fn without_offsets(table: &str, changelog: &TopicPartition, number: CommitNumber) -> Error {
    Error::State {
        table: table.to_owned(),
        partition: changelog.partition,
        why: format!(
            "its changelog `{}` holds commit {number}, but there is no commit of this app: the group's offsets were deleted or changed, they expired while no worker ran, or the changelog is that of another program with the id of this app, which reads other topics; run `recover` to continue from the last commit in it, or `reset --topics` to start over; give another program an id of its own",
            changelog.topic
        ),
    }
}

/// Converts a windowed key from the store's format to the changelog's: the window's start follows the key instead of
/// preceding it.
fn rotate<'a>(key: &'a [u8], out: &'a mut Vec<u8>) -> &'a [u8] {
    let Some((start, plain)) = split_store_key(key) else { return key };
    out.clear();
    changelog_key(plain, start, out);
    out
}

/// A changelog record, decoded for a restore.
pub(crate) struct ChangelogRecord<'a> {
    pub(crate) version: CommitVersion,
    /// The key may have had no value at the last commit.
    pub(crate) is_new: bool,
    /// Key in the store's format.
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
    /// The entry's time; that of the record if an earlier release wrote it.
    pub(crate) time: Timestamp,
}

impl<'a> ChangelogRecord<'a> {
    /// Decodes a record. `layout` is that of the table's windows, and `buffer` holds the converted key of a windowed table.
    ///
    /// # Errors
    /// Fails if the record cannot belong to the table: it has no key, or was written with other windows.
    pub(crate) fn read(
        table: &TaskTable,
        layout: Option<&str>,
        message: &RawMessage<'a>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Self, Error> {
        let info = table.state.info();
        let foreign = |what: &str| {
            Error::Misuse(format!(
                "changelog `{}` holds a record that does not belong to table `{}`, at offset {}: {what}; delete the topic with `reset --topics`, or choose another with `changelog_topic`",
                info.changelog, info.name, message.offset
            ))
        };
        let mut key = message.key.ok_or_else(|| foreign("it has no key"))?;
        let CommitHeader { version, is_new, time, layout: written } = CommitHeader::of(&message.headers);
        // The removal of an old window does no harm.
        if written.is_some() && written != layout && message.payload.is_some() {
            return Err(Error::State {
                table: info.name.to_string(),
                partition: table.partition,
                why: differing_windows(info, &format!("changelog `{}`", info.changelog), written),
            });
        }
        if let Some(window) = info.window {
            let (plain, start) = split_changelog_key(key).ok_or_else(|| foreign("its key has no window"))?;
            // Records of earlier releases name no windows.
            if written.is_none() && !window.is_start(start) {
                return Err(foreign("its key has no window of the table"));
            }
            buffer.clear();
            store_key(start, plain, buffer);
            key = buffer;
        }
        let time = time.unwrap_or(message.timestamp);
        Ok(Self { version, is_new, key, value: message.payload, time })
    }
}
