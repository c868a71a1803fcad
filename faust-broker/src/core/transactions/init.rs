//! The initialization of a transactional id's producer.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::transactions::{LAST_EPOCH, Phase, ProducerIdentity, Transaction};
use crate::core::{BrokerCore, ErrorCode};

/// Maximum length of a transactional id in bytes.
const MAX_ID_LEN: usize = i16::MAX as usize;

/// Producers of transactions.
impl BrokerCore {
    /// Initializes the producer of a transactional id: an open transaction is aborted, and earlier producers are fenced.
    /// `expected` is the identity that the producer has, if it recovers from an error.
    ///
    /// # Errors
    /// `InvalidRequest` for an empty id, `InvalidTransactionTimeout`, `ProducerFenced`, `StorageError`.
    pub fn init_transactions(
        &mut self,
        id: &str,
        timeout_ms: i32,
        expected: Option<ProducerIdentity>,
        now_ms: i64,
    ) -> Result<ProducerIdentity, ErrorCode> {
        // What clients of older versions can send.
        if id.is_empty() || id.len() > MAX_ID_LEN {
            return Err(ErrorCode::InvalidRequest);
        }
        if !(1..=self.values.number("transaction.max.timeout.ms")).contains(&i64::from(timeout_ms)) {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        let Some(held) = self.transactions.by_id.get(id) else {
            let producer = ProducerIdentity { id: self.init_producer_id()?, epoch: 0 };
            let changed_ms = self.groups.wall_ms(now_ms);
            let transaction = Transaction {
                producer,
                previous: None,
                next: None,
                timeout_ms,
                phase: Phase::Empty,
                partitions: BTreeMap::new(),
                groups: BTreeSet::new(),
                started_ms: 0,
                changed_ms,
            };
            self.note_transaction(id, transaction)?;
            return Ok(producer);
        };
        let has_ended = matches!(held.phase, Phase::Empty | Phase::Complete(_));
        let is_repeated = expected.is_some() && held.previous == expected && has_ended;
        if expected.is_some_and(|expected| expected != held.producer) && !is_repeated {
            return Err(ErrorCode::ProducerFenced);
        }
        match held.phase {
            Phase::Ongoing => self.fence_and_abort(id, now_ms)?,
            Phase::Ending(_) => self.finish(id)?,
            Phase::Empty | Phase::Complete(_) if is_repeated => return Ok(held.producer),
            Phase::Empty | Phase::Complete(_) => {}
        }
        self.renew_producer(id, timeout_ms, expected, now_ms)
    }

    /// Gives a transactional id a new epoch, or a new producer id after the last one.
    fn renew_producer(
        &mut self,
        id: &str,
        timeout_ms: i32,
        expected: Option<ProducerIdentity>,
        now_ms: i64,
    ) -> Result<ProducerIdentity, ErrorCode> {
        let mut held = self.transactions.by_id.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?.clone();
        // IMPORTANT: only the producer that has asked may repeat the request. If the former one was another, it would get the
        // identity of its successor.
        held.previous = expected;
        held.producer = self.next_identity(held.producer)?;
        held.timeout_ms = timeout_ms;
        // The former outcome belongs to the former identity, which may not ask for it again.
        held.phase = Phase::Empty;
        held.changed_ms = self.groups.wall_ms(now_ms);
        let producer = held.producer;
        self.note_transaction(id, held)?;
        Ok(producer)
    }

    fn next_identity(&mut self, producer: ProducerIdentity) -> Result<ProducerIdentity, ErrorCode> {
        if producer.epoch < LAST_EPOCH {
            return Ok(ProducerIdentity { epoch: producer.epoch + 1, ..producer });
        }
        Ok(ProducerIdentity { id: self.init_producer_id()?, epoch: 0 })
    }
}
