//! The coordinator of transactions.
//!
//! A transaction belongs to a *transactional id*, and to the producer that has initialized it last, which has an id and an
//! epoch. What an earlier producer of the same id sends is refused: it is *fenced*.
//!
//! A transaction ends in three steps, as in Kafka (KIP-98): the outcome is recorded in the journal, markers are written
//! to the partitions, and the offsets that were committed in the transaction become valid or are dropped. The first step
//! decides: after a crash, the others are done again at the next start. Here all three happen within one call, unless
//! the storage fails.
//!
//! Clients of the second version of transactions (KIP-890) need not add partitions and groups, and get a new epoch with
//! each transaction.

mod end;
mod enlist;
mod init;
mod offsets;
mod query;
mod upkeep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

pub use self::query::TransactionView;

use crate::core::change::Change;
use crate::core::records::marker::Outcome;
use crate::core::{BrokerCore, ErrorCode};

/// Last epoch that a producer gets. Markers that fence it have the next one.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// A producer: its id and its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerIdentity {
    /// Producer id.
    pub id: i64,
    /// Epoch. A newer one fences the producer.
    pub epoch: i16,
}

/// The phase of a transactional id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// There has been no transaction yet.
    Empty,
    /// A transaction is open.
    Ongoing,
    /// The outcome is recorded, and not all markers are written.
    Ending(Outcome),
    /// The last transaction has ended.
    Complete(Outcome),
}

impl Phase {
    /// Returns the name of the phase, as in Kafka.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::Ending(Outcome::Commit) => "PrepareCommit",
            Self::Ending(Outcome::Abort) => "PrepareAbort",
            Self::Complete(Outcome::Commit) => "CompleteCommit",
            Self::Complete(Outcome::Abort) => "CompleteAbort",
        }
    }
}

/// The persistent state of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Transaction {
    producer: ProducerIdentity,
    /// The identity before the last change. A client that has not received the response may still state it.
    previous: Option<ProducerIdentity>,
    /// The identity with which the producer goes on after the end, if it gets another id.
    next: Option<ProducerIdentity>,
    timeout_ms: i32,
    phase: Phase,
    /// The partitions by topic.
    partitions: BTreeMap<String, BTreeSet<i32>>,
    groups: BTreeSet<String>,
    /// Start of the open transaction, in milliseconds since the Unix epoch.
    started_ms: i64,
    /// Last change of the phase, in milliseconds since the Unix epoch.
    changed_ms: i64,
}

/// All transactional ids.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    by_id: BTreeMap<String, Transaction>,
    /// The transactional ids of the current producers.
    ids: HashMap<i64, String>,
    /// The ids whose transaction is open or ending, which a tick looks at.
    unfinished: BTreeSet<String>,
    /// True if a log may have a transaction open that no id has.
    may_hang: bool,
    /// Time before which no tick tries again what the storage has refused.
    paused_until_ms: i64,
    /// Partitions in which a transaction has ended.
    advanced: BTreeSet<(u128, i32)>,
}

impl Transactions {
    fn set(&mut self, id: String, transaction: Transaction) {
        if let Some(former) = self.by_id.get(&id).filter(|former| former.producer.id != transaction.producer.id) {
            self.ids.remove(&former.producer.id);
        }
        self.ids.insert(transaction.producer.id, id.clone());
        if matches!(transaction.phase, Phase::Ongoing | Phase::Ending(_)) {
            self.unfinished.insert(id.clone());
        } else {
            self.unfinished.remove(&id);
        }
        self.by_id.insert(id, transaction);
    }

    fn remove(&mut self, id: &str) {
        self.unfinished.remove(id);
        if let Some(former) = self.by_id.remove(id) {
            self.ids.remove(&former.producer.id);
        }
    }

    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::TransactionNoted { id, transaction } => self.set(id, transaction),
            Change::PartitionsEnlisted { id, partitions } => {
                if let Some(held) = self.by_id.get_mut(&id) {
                    held.enlist(partitions);
                }
            }
            Change::GroupEnlisted { id, group } => {
                if let Some(held) = self.by_id.get_mut(&id) {
                    held.groups.insert(group);
                }
            }
            Change::TransactionForgotten { id } => self.remove(&id),
            _ => {}
        }
    }

    pub(crate) fn snapshot(&self, changes: &mut Vec<Change>) {
        let noted = |(id, transaction): (&String, &Transaction)| Change::TransactionNoted {
            id: id.clone(),
            transaction: transaction.clone(),
        };
        changes.extend(self.by_id.iter().map(noted));
    }

    /// Returns the transactional id with this producer.
    fn id_of(&self, producer_id: i64) -> Option<&str> {
        self.ids.get(&producer_id).map(String::as_str)
    }

    /// Returns true if the transaction of a producer is open.
    fn is_open_with(&self, producer_id: i64, topic: &str, partition: i32) -> bool {
        let held = self.id_of(producer_id).and_then(|id| self.by_id.get(id));
        held.is_some_and(|held| held.phase == Phase::Ongoing && held.has(topic, partition))
    }

    /// Returns true if the transaction of a producer includes this partition, and has not ended there.
    fn knows(&self, producer_id: i64, topic: &str, partition: i32) -> bool {
        let held = self.id_of(producer_id).and_then(|id| self.by_id.get(id));
        let is_open = |held: &Transaction| matches!(held.phase, Phase::Ongoing | Phase::Ending(_));
        held.is_some_and(|held| is_open(held) && held.has(topic, partition))
    }

    /// Forgets the partitions of a deleted topic.
    pub(crate) fn forget_topic(&mut self, name: &str) {
        for held in self.by_id.values_mut() {
            held.partitions.remove(name);
        }
    }
}

impl Transaction {
    /// Checks that a request comes from the current producer.
    fn check(&self, producer: ProducerIdentity) -> Result<(), ErrorCode> {
        if producer.id != self.producer.id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if producer.epoch != self.producer.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        Ok(())
    }

    fn has(&self, topic: &str, partition: i32) -> bool {
        self.partitions.get(topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    fn enlist(&mut self, partitions: Vec<(String, i32)>) {
        for (topic, partition) in partitions {
            self.partitions.entry(topic).or_default().insert(partition);
        }
    }

    /// Removes a partition, and its topic after the last one.
    fn leave(&mut self, topic: &str, partition: Option<i32>) {
        let Some(partitions) = self.partitions.get_mut(topic) else { return };
        partition.map(|partition| partitions.remove(&partition));
        if partitions.is_empty() {
            self.partitions.remove(topic);
        }
    }

    /// Returns the identity with which the producer goes on after the end.
    fn successor(&self) -> ProducerIdentity {
        self.next.unwrap_or(self.producer)
    }

    /// Opens a transaction unless one is open.
    fn open(&mut self, wall_ms: i64) -> Result<(), ErrorCode> {
        match self.phase {
            Phase::Ending(_) => return Err(ErrorCode::ConcurrentTransactions),
            Phase::Ongoing => {}
            Phase::Empty | Phase::Complete(_) => {
                self.phase = Phase::Ongoing;
                (self.started_ms, self.changed_ms) = (wall_ms, wall_ms);
            }
        }
        Ok(())
    }
}

/// Transactions.
impl BrokerCore {
    /// Takes the partitions (topic id and index) in which transactions have ended: consumers may read on there. Call it after
    /// every operation on transactions and every tick; they are collected until then.
    pub fn take_advanced(&mut self) -> BTreeSet<(u128, i32)> {
        std::mem::take(&mut self.transactions.advanced)
    }

    fn note_transaction(&mut self, id: &str, transaction: Transaction) -> Result<(), ErrorCode> {
        let change = Change::TransactionNoted { id: id.to_owned(), transaction };
        self.note(&change)?;
        self.transactions.apply(change);
        Ok(())
    }
}
