//! The upkeep of transactions, which needs no request: timeouts, the expiry of ids, and the ends that a crash, a full disk or
//! damage has interrupted.

use crate::core::change::Change;
use crate::core::log::Log;
use crate::core::records::marker::Outcome;
use crate::core::transactions::{Phase, ProducerIdentity, Transaction};
use crate::core::{BrokerCore, ErrorCode};

/// Time after which a tick tries again what the storage has refused, in milliseconds.
const RETRY_MS: i64 = 1_000;

/// An open transaction in a log.
#[derive(Debug)]
struct Hanging {
    topic: String,
    partition: i32,
    producer_id: i64,
    first_offset: i64,
}

/// Upkeep of transactions.
impl BrokerCore {
    /// Aborts transactions that have timed out, and goes on with ends that the storage has interrupted.
    pub fn tick_transactions(&mut self, now_ms: i64) {
        if now_ms < self.transactions.paused_until_ms {
            return;
        }
        let wall_ms = self.groups.wall_ms(now_ms);
        let is_due = |held: &Transaction| match held.phase {
            Phase::Ongoing => wall_ms.saturating_sub(held.started_ms) >= i64::from(held.timeout_ms),
            Phase::Ending(_) => true,
            Phase::Empty | Phase::Complete(_) => false,
        };
        let unfinished = self.transactions.unfinished.iter();
        let due = unfinished.filter(|id| self.transactions.by_id.get(*id).is_some_and(is_due));
        for id in due.cloned().collect::<Vec<_>>() {
            let ended = self.end_due(&id, now_ms);
            self.pause_after(ended, now_ms);
        }
        if self.transactions.may_hang {
            let ended = self.end_hanging_transactions(false);
            self.transactions.may_hang = ended.is_err();
            self.pause_after(ended, now_ms);
        }
    }

    fn end_due(&mut self, id: &str, now_ms: i64) -> Result<(), ErrorCode> {
        if self.transactions.by_id.get(id).is_some_and(|held| held.phase == Phase::Ongoing) {
            self.fence_and_abort(id, now_ms)?;
            tracing::warn!(transactional_id = id, "aborted a transaction that has timed out");
            return Ok(());
        }
        self.finish(id)
    }

    fn pause_after(&mut self, ended: Result<(), ErrorCode>, now_ms: i64) {
        if let Err(code) = ended {
            tracing::error!(%code, "cannot end a transaction; its readers wait until it can be ended");
            self.transactions.paused_until_ms = now_ms.saturating_add(RETRY_MS);
        }
    }

    /// Forgets transactional ids that have not been used for `transactional.id.expiration.ms`.
    pub(crate) fn expire_transactional_ids(&mut self, wall_ms: i64) {
        let oldest_ms = wall_ms.saturating_sub(self.values.number("transactional.id.expiration.ms"));
        let is_unused =
            |held: &Transaction| matches!(held.phase, Phase::Empty | Phase::Complete(_)) && held.changed_ms < oldest_ms;
        let unused = self.transactions.by_id.iter().filter(|(_, held)| is_unused(held));
        for id in unused.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            let forgotten = Change::TransactionForgotten { id };
            // If it cannot be written, which is logged, the next check tries again.
            if self.note(&forgotten).is_err() {
                return;
            }
            self.transactions.apply(forgotten);
        }
    }

    /// Completes the transactions that were ending when the broker was stopped, and aborts those that no coordinator knows.
    /// An end that the storage refuses is left to the ticks.
    pub(crate) fn recover_transactions(&mut self) {
        for id in self.transactions.unfinished.clone() {
            self.drop_finished_partitions(&id);
        }
        self.transactions.may_hang = true;
        for id in self.transactions.unfinished.clone() {
            let ended = self.finish(&id);
            self.pause_after(ended, 0);
        }
        let ended = self.end_hanging_transactions(false);
        self.transactions.may_hang = ended.is_err();
        self.pause_after(ended, 0);
        // There are no readers yet.
        self.transactions.advanced.clear();
    }

    /// Ends the transactions that a log has open and no coordinator: the end of the journal is lost, or a marker.
    ///
    /// With `is_marker_lost`, the journal is whole, and the outcome of the producer's last transaction is the right one.
    /// Otherwise it may be that of an earlier transaction, and they are aborted.
    pub(in crate::core) fn end_hanging_transactions(&mut self, is_marker_lost: bool) -> Result<(), ErrorCode> {
        // As long as the start has left some, their entries in the journal may be lost as well.
        let is_marker_lost = is_marker_lost && !self.transactions.may_hang;
        for Hanging { topic, partition, producer_id, first_offset } in self.hanging_transactions() {
            let log = self.log(&topic, partition)?;
            let (epoch, latest_ms) = (log.producer_epoch(producer_id).unwrap_or_default(), log.latest_ms());
            let outcome = if is_marker_lost { self.last_outcome(producer_id) } else { None };
            let outcome = outcome.unwrap_or(Outcome::Abort);
            self.write_marker(&topic, partition, ProducerIdentity { id: producer_id, epoch }, outcome, latest_ms)?;
            tracing::warn!(
                topic,
                partition,
                producer_id,
                first_offset,
                ?outcome,
                "ended a transaction whose marker or whose entry in the journal is lost"
            );
        }
        Ok(())
    }

    /// Remembers that a log may have a transaction open that no coordinator knows.
    pub(in crate::core) fn expect_hanging_transactions(&mut self) {
        self.transactions.may_hang = true;
    }

    fn last_outcome(&self, producer_id: i64) -> Option<Outcome> {
        let held = self.transactions.id_of(producer_id).and_then(|id| self.transactions.by_id.get(id))?;
        if let Phase::Complete(outcome) = held.phase { Some(outcome) } else { None }
    }

    /// Removes the partitions whose markers were written before a crash.
    fn drop_finished_partitions(&mut self, id: &str) {
        let topics = &self.topics;
        let held = self.transactions.by_id.get_mut(id).filter(|held| matches!(held.phase, Phase::Ending(_)));
        let Some(held) = held else { return };
        let producer_id = held.producer.id;
        let is_open = |log: &Log| log.transactions().open_since(producer_id).is_some();
        for (topic, partitions) in &mut held.partitions {
            let log = |partition: i32| topics.get(topic).and_then(|topic| topic.log(partition).ok());
            partitions.retain(|partition| log(*partition).is_some_and(is_open));
        }
    }

    fn hanging_transactions(&self) -> Vec<Hanging> {
        let mut hanging = Vec::new();
        for (name, topic) in &self.topics {
            for (partition, log) in (0..).zip(&topic.logs) {
                let open = log.transactions().open();
                let unknown = open.filter(|(producer_id, _)| !self.transactions.knows(*producer_id, name, partition));
                hanging.extend(unknown.map(|(producer_id, first_offset)| Hanging {
                    topic: name.clone(),
                    partition,
                    producer_id,
                    first_offset,
                }));
            }
        }
        hanging
    }
}
