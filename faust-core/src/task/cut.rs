//! A cut: the newest seals of the groups of a task, in the form that a commit takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::ownership::Ownership;
use super::positions::Marks;
use super::seal_writer::{SealWriter, SlotFiller};
use super::tables::{SealedTable, TaskTables};
use crate::error::{Error, TransportError, TransportErrorKind};
use crate::offsets::{CommitMetadata, CommitNumber, CommitVersion, OwnerEpoch};
use crate::transport::{Committed, Delivery, Sender, Sink, TopicPartition};

/// The outcome of a commit: the offsets that the broker has accepted.
pub(crate) type CommittedOffsets = BTreeMap<TopicPartition, Committed>;

/// The content of a task's commit: for each group its newest seal, or its positions of the last commit.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(super) version: CommitVersion,
    /// Fingerprint of the plan.
    pub(super) plan: u32,
    /// The partitions of the task, each with the epoch of its ownership.
    pub(super) owners: BTreeMap<TopicPartition, OwnerEpoch>,
    /// All groups of the task.
    pub(super) groups: Vec<GroupCut>,
    /// Groups that were left out because of a message that was not delivered, permanently.
    pub(super) undelivered: BTreeMap<usize, Undelivered>,
    /// Groups that were left out because their messages are late.
    pub(super) late: BTreeSet<usize>,
    /// Receives the result of the commit. If it is dropped, the commit was abandoned.
    pub(super) reply: oneshot::Sender<Resolution>,
    /// Takes the producer of the transaction that contains the cut, under exactly-once. Nothing is sent before.
    pub(super) transaction: Option<SlotFiller>,
    /// Keeps the writer alive, so that it sends the seals even if the task ends first.
    pub(super) _writer: Option<Arc<SealWriter>>,
}

/// The part of one group.
#[derive(Debug)]
pub(super) struct GroupCut {
    /// Positions and number of the last commit.
    pub(super) confirmed: Marks,
    pub(super) number: CommitNumber,
    pub(super) tables: Arc<TaskTables>,
    /// The newest seal; `None` if the group has finished nothing since the last commit.
    pub(super) seal: Option<SealCut>,
}

/// A seal that is being committed.
#[derive(Debug)]
pub(super) struct SealCut {
    pub(super) marks: Marks,
    /// The number that its records carry: that of the first commit that contained it.
    pub(super) number: CommitNumber,
    pub(super) tables: Vec<SealedTable>,
    /// Deliveries that must be acknowledged before.
    pub(super) deliveries: Vec<Arc<Delivery>>,
}

/// The result of a commit for one cut.
#[derive(Debug)]
pub(super) struct Resolution {
    /// The broker has accepted the commit. Otherwise, it was unavailable or the group has rebalanced, and the next commit
    /// covers the cut.
    pub(super) is_confirmed: bool,
    /// Groups of which a message was not delivered, permanently. The commit does not contain them.
    pub(super) undelivered: BTreeMap<usize, Undelivered>,
    /// Groups whose messages are late. The commit does not contain them, and the next one does not send them again.
    pub(super) late: BTreeSet<usize>,
}

/// The state of the messages of a group's seal.
enum Arrival {
    /// They are acknowledged, or there is no seal.
    Complete,
    /// Some are not acknowledged.
    Late,
    /// One was not delivered.
    Failed(Undelivered),
}

impl GroupCut {
    fn arrival(&self) -> Arrival {
        let deliveries = || self.seal.iter().flat_map(|seal| &seal.deliveries);
        // Also if another one has failed: the group must not go back before all of its messages have arrived or failed.
        if deliveries().any(|delivery| delivery.pending() > 0) {
            return Arrival::Late;
        }
        let failed = deliveries().find_map(|delivery| {
            let error = delivery.all().now_or_never()?.err()?;
            Some(Undelivered { error, sender: delivery.sender().cloned() })
        });
        failed.map_or(Arrival::Complete, Arrival::Failed)
    }
}

/// The failure to deliver a message.
#[derive(Debug)]
pub(crate) struct Undelivered {
    pub(super) error: TransportError,
    /// The events that have sent it, if they are known.
    pub(super) sender: Option<Sender>,
}

impl Resolution {
    /// Creates the resolution of a commit that was abandoned.
    pub(super) fn abandoned() -> Self {
        Self { is_confirmed: false, undelivered: BTreeMap::new(), late: BTreeSet::new() }
    }
}

impl Cut {
    /// Returns the number of messages that are not acknowledged.
    pub(crate) fn pending(&self) -> u64 {
        let seals = self.groups.iter().filter_map(|group| group.seal.as_ref());
        seals.flat_map(|seal| &seal.deliveries).map(|delivery| delivery.pending()).sum()
    }

    /// Starts sending the cut's seals in an open transaction.
    pub(crate) fn send_in(&mut self, sink: &Arc<dyn Sink>) {
        if let Some(transaction) = self.transaction.take() {
            transaction.fill(sink);
        }
    }

    /// Returns the partitions whose positions the cut contains.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.groups.iter().flat_map(|group| group.confirmed.offsets.keys())
    }

    /// Returns the partitions that were given away since they were assigned to the task.
    pub(crate) fn given_away<'a>(&'a self, ownership: &'a Ownership) -> impl Iterator<Item = &'a TopicPartition> {
        let lost = |(partition, epoch): &(&TopicPartition, &OwnerEpoch)| !ownership.owns(partition, **epoch);
        self.owners.iter().filter(lost).map(|(partition, _)| partition)
    }

    /// Waits until the messages of every seal are acknowledged, or have failed.
    pub(crate) async fn arrived(&self) {
        let seals = self.groups.iter().filter_map(|group| group.seal.as_ref());
        join_all(seals.flat_map(|seal| &seal.deliveries).map(|delivery| delivery.all())).await;
    }

    /// Leaves out the groups whose messages are not acknowledged: they keep the positions of their last commit, and stop no
    /// other. Returns how many of them are late.
    pub(crate) fn leave_out(&mut self) -> usize {
        for (index, group) in self.groups.iter_mut().enumerate() {
            match group.arrival() {
                Arrival::Complete => continue,
                Arrival::Late => _ = self.late.insert(index),
                Arrival::Failed(undelivered) => _ = self.undelivered.insert(index, undelivered),
            }
            group.seal = None;
        }
        self.late.len()
    }

    /// Leaves out the groups of which a message was refused permanently. Returns the error of a message that was not delivered, if
    /// there is any: the transaction has to be aborted.
    pub(crate) fn leave_out_refused(&mut self) -> Option<TransportError> {
        let mut undelivered = None;
        for (index, group) in self.groups.iter_mut().enumerate() {
            let Arrival::Failed(failed) = group.arrival() else { continue };
            undelivered = Some(failed.error.clone());
            if failed.error.kind == TransportErrorKind::Fatal {
                group.seal = None;
                self.undelivered.insert(index, failed);
            }
        }
        undelivered
    }

    /// Returns the offsets with their metadata, once everything is acknowledged. They are empty if there is nothing to commit.
    ///
    /// # Errors
    /// Fails if a changelog was deleted and created again, or if the metadata are too long for the broker.
    pub(crate) fn to_commit(&self) -> Result<BTreeMap<TopicPartition, Committed>, Error> {
        if self.groups.iter().all(|group| group.seal.is_none()) {
            return Ok(BTreeMap::new());
        }
        let mut marks = Marks::default();
        let mut tables = BTreeMap::new();
        for group in &self.groups {
            let number = match &group.seal {
                Some(seal) => {
                    seal.tables.iter().try_for_each(SealedTable::arrived)?;
                    marks.join(&seal.marks);
                    seal.number
                }
                None => {
                    marks.join(&group.confirmed);
                    group.number
                }
            };
            tables.extend(group.tables.marks(|_| number));
        }
        let metadata = CommitMetadata { tables, ..marks.metadata(self.version, self.plan) }.to_text();
        if metadata.len() > CommitMetadata::LIMIT {
            let topics = marks.offsets.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::Misuse(format!(
                "the positions of the agents of {topics} take {} bytes, and a broker stores {} with an offset: event times that are centuries apart take more; split the agents into several apps",
                metadata.len(),
                CommitMetadata::LIMIT
            )));
        }
        let committed = |offset| Committed { offset, metadata: metadata.clone() };
        Ok(marks.offsets.into_iter().map(|(partition, offset)| (partition, committed(offset))).collect())
    }

    /// Returns whether one of the cut's offsets was committed, which confirms all of it: its metadata hold the positions in
    /// all topics.
    pub(crate) fn is_confirmed_by(&self, committed: &BTreeMap<TopicPartition, Committed>) -> bool {
        self.partitions().any(|partition| committed.contains_key(partition))
    }

    /// Ends the commit, and reports its result to the task. Passes the sealed tables to their stores if the broker has accepted it.
    pub(crate) fn resolve(self, is_confirmed: bool) {
        if is_confirmed {
            let seals = self.groups.into_iter().filter_map(|group| group.seal);
            seals.flat_map(|seal| seal.tables).for_each(SealedTable::committed);
        }
        // A task that has ended needs no resolution.
        drop(self.reply.send(Resolution { is_confirmed, undelivered: self.undelivered, late: self.late }));
    }
}
