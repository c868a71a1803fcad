//! The record that ends a transaction in a partition. It is a batch of its own, which only brokers write.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::raw;
use super::{Producer, Record, encode};
use crate::core::ErrorCode;
use crate::core::batch::{Batch, Header};

/// Version of the key and of the value.
const VERSION: [u8; 2] = [0, 0];
/// Epoch of the coordinator. It never changes, because there is one node.
const COORDINATOR_EPOCH: [u8; 4] = [0; 4];

/// The outcome of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its records become visible to consumers that read committed records only.
    Commit,
    /// Its records are never visible to them.
    Abort,
}

impl Outcome {
    fn type_bytes(self) -> [u8; 2] {
        match self {
            Self::Abort => [0, 0],
            Self::Commit => [0, 1],
        }
    }
}

/// Returns the batch that ends the transaction of a producer.
pub(crate) fn marker(producer_id: i64, epoch: i16, outcome: Outcome, now_ms: i64) -> Result<Batch, ErrorCode> {
    let key = Bytes::from([VERSION, outcome.type_bytes()].concat());
    let value = Bytes::from([&VERSION[..], &COORDINATOR_EPOCH].concat());
    let record = Record { timestamp: now_ms, key: Some(key), value: Some(value), ..Record::default() };
    let bytes = encode(&[record], Producer { id: producer_id, epoch, sequence: -1 })?;
    Batch::control(bytes).ok_or(ErrorCode::CorruptMessage)
}

/// Returns the outcome in a control batch, or `None` if it is no marker of a transaction.
pub(crate) fn outcome(header: &Header, batch: &[u8]) -> Option<Outcome> {
    let body = raw::readable(header, batch)?;
    let record = raw::records(header, &body).next()?.ok()?;
    let kind = record.key?.get(2..4)?;
    [Outcome::Abort, Outcome::Commit].into_iter().find(|outcome| outcome.type_bytes() == kind)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_marker_has_the_format_of_kafka() {
        let batch = marker(7, 3, Outcome::Commit, 1000).unwrap();
        let header = Header::read(batch.bytes()).unwrap();
        assert!(header.is_control() && header.is_transactional());
        assert_eq!(
            (header.producer_id, header.producer_epoch, header.base_sequence, header.record_count),
            (7, 3, -1, 1)
        );
        // Of the record: length, attributes, timestamp and offset delta; the key's length and content, the value's; no headers.
        assert_eq!(batch.bytes()[61..], [32, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(outcome(&header, batch.bytes()), Some(Outcome::Commit));
        let aborted = marker(7, 3, Outcome::Abort, 1000).unwrap();
        assert_eq!(outcome(aborted.header(), aborted.bytes()), Some(Outcome::Abort));
    }

    #[test]
    fn clients_cannot_send_a_marker() {
        let batch = marker(7, 3, Outcome::Commit, 1000).unwrap();
        assert_eq!(Batch::parse(batch.bytes().clone()).unwrap_err(), ErrorCode::InvalidRecord);
    }
}
