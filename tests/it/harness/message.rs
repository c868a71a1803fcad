//! A message as bytes, as it is produced and as it is read again.

use std::fmt;

use faust::transport::TopicPartition;
use faust::{Headers, OwnedMessage, Timestamp};

/// A message to produce, or one that was read.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Where it is to go, or where it lay; to be produced without one, the key places it.
    pub(crate) partition: Option<i32>,
    /// Where it lay; not looked at when it is produced.
    pub(crate) offset: i64,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Headers,
}

impl Message {
    /// A message without a key.
    pub(crate) fn of(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// A message without a value.
    pub(crate) fn tombstone(key: impl Into<Vec<u8>>) -> Self {
        Self::default().key(key)
    }

    pub(crate) fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Goes to this partition, whatever the key says.
    pub(crate) fn to(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Its time in milliseconds since 1970.
    pub(crate) fn at(mut self, millis: i64) -> Self {
        self.timestamp = Some(millis);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers = self.headers.with(name, value.to_owned());
        self
    }

    /// The key as text; the empty text when there is none.
    pub(crate) fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    /// The value as text; the empty text when there is none.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    /// The value as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let value = self.value.as_deref().unwrap_or(b"null");
        serde_json::from_slice(value).unwrap_or_else(|why| panic!("{self:?} is no JSON: {why}"))
    }

    /// The partition it was read from.
    pub(crate) fn place(&self) -> (i32, i64) {
        (self.partition.unwrap(), self.offset)
    }

    /// A header as text.
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
