//! Messages as bytes, both produced and read.

use std::fmt;

use faust::transport::TopicPartition;
use faust::{Headers, Offset, OwnedMessage, Timestamp};

/// A message that is to be produced, or that was read.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The partition to produce to, or the one read from. Without it, the key determines the partition.
    pub(crate) partition: Option<i32>,
    /// The offset of a message that was read; ignored by the producer.
    pub(crate) offset: Offset,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Headers,
}

impl Message {
    /// Creates a message without a key.
    pub(crate) fn of(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// Creates a message without a value.
    pub(crate) fn tombstone(key: impl Into<Vec<u8>>) -> Self {
        Self::default().key(key)
    }

    pub(crate) fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the partition, which then does not depend on the key.
    pub(crate) fn to(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the timestamp, in milliseconds since 1970.
    pub(crate) fn at(mut self, millis: i64) -> Self {
        self.timestamp = Some(millis);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers = self.headers.with(name, value.to_owned());
        self
    }

    /// Returns the key as text, which is empty if there is none.
    pub(crate) fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    /// Returns the value as text, which is empty if there is none.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    /// Parses the value as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let value = self.value.as_deref().unwrap_or(b"null");
        serde_json::from_slice(value).unwrap_or_else(|why| panic!("{self:?} is not JSON: {why}"))
    }

    /// Returns the partition and the offset of a message that was read.
    pub(crate) fn place(&self) -> (i32, Offset) {
        (self.partition.unwrap(), self.offset)
    }

    /// Returns a header as text.
    pub(crate) fn header_text(&self, name: &str) -> Option<&str> {
        self.headers.get_str(name)
    }

    pub(super) fn read(from: &TopicPartition, message: &OwnedMessage) -> Self {
        Self {
            partition: Some(from.partition),
            offset: message.offset,
            timestamp: Some(message.timestamp.as_millis()),
            key: message.key.as_deref().map(Vec::from),
            value: message.payload.as_deref().map(Vec::from),
            headers: message.headers.clone(),
        }
    }

    pub(super) fn outgoing(&self) -> faust::transport::Outgoing<'_> {
        faust::transport::Outgoing {
            partition: self.partition,
            key: self.key.as_deref(),
            payload: self.value.as_deref(),
            headers: self.headers.clone(),
            timestamp: self.timestamp.map(Timestamp),
            last_header: None,
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let shown: String = text.chars().take(200).collect();
        write!(f, "[{:?}]@{} {:?}={shown:?} {:?}", self.partition, self.offset, self.key_text(), self.headers)
    }
}
