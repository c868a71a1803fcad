//! The description of transactional ids.

use crate::core::BrokerCore;
use crate::core::transactions::{Phase, ProducerIdentity, Transaction};

/// The state of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionView<'a> {
    /// The transactional id.
    pub id: &'a str,
    /// The current producer.
    pub producer: ProducerIdentity,
    /// The phase.
    pub phase: Phase,
    /// Time after which an open transaction is aborted, in milliseconds.
    pub timeout_ms: i32,
    /// Start of the open transaction in milliseconds since the Unix epoch, or -1.
    pub started_ms: i64,
    /// The partitions in the transaction, ordered by topic and index.
    pub partitions: Vec<(&'a str, i32)>,
}

/// Queries of transactions.
impl BrokerCore {
    /// Returns all transactional ids, ordered by id.
    pub fn transactional_ids(&self) -> impl Iterator<Item = TransactionView<'_>> {
        self.transactions.by_id.iter().map(|(id, held)| view(id, held))
    }

    /// Returns the state of a transactional id.
    pub fn transactional_id(&self, id: &str) -> Option<TransactionView<'_>> {
        self.transactions.by_id.get_key_value(id).map(|(id, held)| view(id, held))
    }
}

fn view<'a>(id: &'a str, held: &'a Transaction) -> TransactionView<'a> {
    let is_open = matches!(held.phase, Phase::Ongoing | Phase::Ending(_));
    TransactionView {
        id,
        producer: held.producer,
        phase: held.phase,
        timeout_ms: held.timeout_ms,
        started_ms: if is_open { held.started_ms } else { -1 },
        partitions: held
            .partitions
            .iter()
            .flat_map(|(topic, partitions)| partitions.iter().map(|partition| (topic.as_str(), *partition)))
            .collect(),
    }
}
