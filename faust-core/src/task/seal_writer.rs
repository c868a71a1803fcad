//! The writer of a task's seals: it sends their table changes and staged messages.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{mpsc, oneshot};

use super::changelog::METADATA_HEADER;
use super::commit_header::{COMMIT_HEADER, CommitHeaders};
use super::in_flight::InFlight;
use crate::error::TransportError;
use crate::message::Headers;
use crate::offsets::{CommitNumber, CommitVersion, OwnerEpoch};
use crate::stage::staging::StagedOutputs;
use crate::stage::tables::TaskTable;
use crate::stats::Stats;
use crate::store::Sealed;
use crate::table_state::RECORD_HEADERS;
use crate::transport::{Delivery, Outgoing, Sink, TopicPartition, send};
use crate::window::key::{changelog_key, split_store_key};

/// Number of records to send before yielding to other tasks.
const TURN: usize = 256;

/// A writer that sends the seals of one task, in the order in which they were taken.
///
/// It runs concurrently with the task, so that a commit with many keys does not block the agents. It ends as soon as
/// its last owner drops it: the remaining records must not be sent, because another worker may own the partition.
#[derive(Debug)]
pub(crate) struct SealWriter {
    work: mpsc::UnboundedSender<Work>,
    running: tokio::task::JoinHandle<()>,
    in_flight: Arc<InFlight>,
    epoch: OwnerEpoch,
}

/// The producer of the transaction that is to contain a cut, once it is open. It fails if the cut is dropped before.
pub(super) type TransactionSlot = Shared<BoxFuture<'static, Result<Arc<dyn Sink>, TransportError>>>;

/// The sender that fills a slot.
pub(super) struct SlotFiller(oneshot::Sender<Arc<dyn Sink>>);

impl SlotFiller {
    /// Passes the producer of an open transaction to the writer.
    pub(super) fn fill(self, sink: &Arc<dyn Sink>) {
        // The writer may have ended with its task.
        drop(self.0.send(Arc::clone(sink)));
    }
}

impl std::fmt::Debug for SlotFiller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SlotFiller")
    }
}

/// Creates a slot, with its filler.
pub(super) fn transaction_slot() -> (SlotFiller, TransactionSlot) {
    let (fill, opened) = oneshot::channel();
    let abandoned = |_| TransportError::retriable("commit", "it was abandoned before its transaction began");
    let slot = opened.map(move |sink: Result<_, oneshot::error::RecvError>| sink.map_err(abandoned));
    (SlotFiller(fill), slot.boxed().shared())
}

/// A part of a seal to send.
struct Work {
    part: Part,
    /// The transaction to wait for, under exactly-once.
    slot: Option<TransactionSlot>,
    deliveries: Vec<Arc<Delivery>>,
    outcome: Result<(), TransportError>,
}

enum Part {
    Table(SealedRecords),
    Outputs(Arc<StagedOutputs>),
}

/// The sealed changes of a table.
struct SealedRecords {
    changelog: String,
    partition: i32,
    /// The layout of the table's windows.
    layout: Option<String>,
    sealed: Arc<Sealed>,
    version: CommitVersion,
    /// The value of [`METADATA_HEADER`].
    metadata: Option<Bytes>,
    /// Maximum size of a record, in bytes.
    max_record: u64,
}

impl Drop for Work {
    /// Releases the counts that the deliveries have had from the start, so that none is complete before everything is sent.
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Ok(()));
        self.deliveries.iter().for_each(|delivery| delivery.done(outcome.clone().map(|()| None)));
    }
}

impl SealWriter {
    /// Starts the writer of an owner. It sends to `sink`, unless a seal belongs to a transaction.
    pub(crate) fn spawn(
        sink: Arc<dyn Sink>,
        stats: Arc<Stats>,
        in_flight: Arc<InFlight>,
        epoch: OwnerEpoch,
    ) -> Arc<Self> {
        let (work, mut waiting) = mpsc::unbounded_channel::<Work>();
        let running = tokio::spawn(async move {
            while let Some(mut work) = waiting.recv().await {
                work.outcome = work.send(&sink, &stats).await;
            }
        });
        Arc::new(Self { work, running, in_flight, epoch })
    }

    /// Returns the epoch that the records carry.
    pub(crate) fn epoch(&self) -> OwnerEpoch {
        self.epoch
    }

    /// Queues a sealed table for sending. The returned delivery is complete once all of its records are acknowledged.
    /// `metadata` are those of the commit, from [`metadata_header`](super::changelog::metadata_header).
    pub(super) fn begin(
        &self,
        table: &TaskTable,
        number: CommitNumber,
        sealed: Arc<Sealed>,
        metadata: Option<Bytes>,
        slot: Option<&TransactionSlot>,
    ) -> Arc<Delivery> {
        let (info, partition) = (table.state.info(), table.partition);
        let delivery = Delivery::with_offsets(Arc::clone(table.own.stored()));
        delivery.sent();
        // A restarted task must not read the changelog before these records are acknowledged.
        self.in_flight.add(TopicPartition::new(info.changelog.as_str(), partition), &delivery);
        let part = SealedRecords {
            changelog: info.changelog.clone(),
            partition,
            layout: info.layout(),
            sealed,
            version: CommitVersion { epoch: self.epoch, number },
            metadata,
            max_record: table.state.max_record(),
        };
        self.queue(Part::Table(part), slot.cloned(), vec![Arc::clone(&delivery)]);
        delivery
    }

    /// Queues staged messages for sending in a transaction. Returns their deliveries.
    pub(super) fn begin_outputs(&self, outputs: &Arc<StagedOutputs>, slot: &TransactionSlot) -> Vec<Arc<Delivery>> {
        let deliveries = outputs.deliveries();
        self.queue(Part::Outputs(Arc::clone(outputs)), Some(slot.clone()), deliveries.clone());
        deliveries
    }

    fn queue(&self, part: Part, slot: Option<TransactionSlot>, deliveries: Vec<Arc<Delivery>>) {
        // Reported if the writer ends before the part is sent.
        let outcome = Err(TransportError::retriable("commit", "the task has ended"));
        // Cannot fail: the writer runs as long as `self` exists.
        drop(self.work.send(Work { part, slot, deliveries, outcome }));
    }
}

impl Drop for SealWriter {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Work {
    async fn send(&self, sink: &Arc<dyn Sink>, stats: &Stats) -> Result<(), TransportError> {
        let sink = match &self.slot {
            None => Arc::clone(sink),
            Some(slot) => slot.clone().await?,
        };
        match (&self.part, self.deliveries.first()) {
            (Part::Outputs(outputs), _) => outputs.send(&*sink, &self.deliveries).await,
            (Part::Table(records), Some(delivery)) => {
                let sent = records.send(&*sink, delivery).await;
                stats.changelog(records.sealed.len() as u64);
                sent
            }
            (Part::Table(_), None) => Ok(()),
        }
    }
}

impl SealedRecords {
    async fn send(&self, sink: &dyn Sink, delivery: &Arc<Delivery>) -> Result<(), TransportError> {
        let topic = sink.topic(&self.changelog)?;
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
            send(sink, &*topic, &message, delivery).await?;
        }
        Ok(())
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
