//! An outgoing message that owns its contents.

use bytes::Bytes;

use super::port::Outgoing;
use crate::message::{Headers, OwnedMessage};
use crate::time::Timestamp;

/// An outgoing message that waits for room in the producer's buffer, independent of the buffers it was encoded in.
pub(crate) struct Owned {
    partition: Option<i32>,
    key: Option<Bytes>,
    payload: Option<Bytes>,
    headers: Headers,
    timestamp: Option<Timestamp>,
}

impl Owned {
    pub(crate) fn of(message: &Outgoing<'_>) -> Self {
        Self {
            partition: message.partition,
            key: message.key.map(Bytes::copy_from_slice),
            payload: message.payload.map(Bytes::copy_from_slice),
            headers: message.headers.clone(),
            timestamp: message.timestamp,
        }
    }

    pub(crate) fn as_outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            partition: self.partition,
            key: self.key.as_deref(),
            payload: self.payload.as_deref(),
            headers: self.headers.clone(),
            timestamp: self.timestamp,
        }
    }

    pub(crate) fn into_message(self, offset: i64) -> OwnedMessage {
        let timestamp = self.timestamp.unwrap_or_else(Timestamp::now);
        OwnedMessage { offset, timestamp, key: self.key, payload: self.payload, headers: self.headers }
    }
}
