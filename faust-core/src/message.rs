//! Messages as bytes: what comes from a broker, what goes to one, and their headers.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A message as it lies in the transport's buffer: borrowed, so that decoding copies nothing it does not need.
#[derive(Clone, Debug)]
pub struct RawMessage<'a> {
    /// Position in its partition.
    pub offset: i64,
    /// The message's own time; 0 when the producer sent none.
    pub timestamp: Timestamp,
    /// Absent and empty differ: an absent key is placed anywhere.
    pub key: Option<&'a [u8]>,
    /// Absent means a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Empty for most messages, and then without an allocation.
    pub headers: Headers,
}

/// A message that outlives the transport's buffer: kept for an agent that is behind, or for the dead-letter topic.
#[derive(Clone, Debug)]
pub struct OwnedMessage {
    /// See [`RawMessage::offset`].
    pub offset: i64,
    /// See [`RawMessage::timestamp`].
    pub timestamp: Timestamp,
    /// See [`RawMessage::key`].
    pub key: Option<Bytes>,
    /// See [`RawMessage::payload`].
    pub payload: Option<Bytes>,
    /// See [`RawMessage::headers`].
    pub headers: Headers,
}

impl RawMessage<'_> {
    /// Copies the bytes out of the transport's buffer.
    pub fn to_owned(&self) -> OwnedMessage {
        OwnedMessage {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(Bytes::copy_from_slice),
            payload: self.payload.map(Bytes::copy_from_slice),
            headers: self.headers.clone(),
        }
    }
}

impl OwnedMessage {
    /// The borrowed view that decoders read.
    pub fn as_raw(&self) -> RawMessage<'_> {
        RawMessage {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            payload: self.payload.as_deref(),
            headers: self.headers.clone(),
        }
    }
}

/// The headers of a message, in order; names may repeat, values may be absent. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<Header>>>);

type Header = (String, Option<Bytes>);

impl Headers {
    /// No headers, no allocation.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Adds one at the end; the same name may occur again.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.push(name.into(), Some(value.into()));
        self
    }

    /// Adds one at the end, whose value may be absent.
    pub fn push(&mut self, name: String, value: Option<Bytes>) {
        Arc::make_mut(self.0.get_or_insert_with(Arc::default)).push((name, value));
    }

    /// The last value of that name, as Kafka's own clients resolve repeats.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().filter(|(n, _)| *n == name).last().and_then(|(_, value)| value)
    }

    /// The last value of that name, if it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.0.iter().flat_map(|list| list.iter().map(|(name, value)| (name.as_str(), value.as_deref())))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, value.map(String::from_utf8_lossy)))).finish()
    }
}

/// A key nobody asked to decode: the bytes as they came, or none.
///
/// It is the default key of a stream, so that an event can be sent on under the very key it came with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawKey(pub Option<Vec<u8>>);

impl RawKey {
    /// No key: the message goes to any partition.
    pub const NONE: RawKey = RawKey(None);

    /// The bytes, if there are any.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.0.as_deref()
    }
}

impl fmt::Display for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0.as_deref().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_header_of_a_name_wins() {
        let headers = Headers::new().with("a", "1").with("b", "2").with("a", "3");
        assert_eq!((headers.get_str("a"), headers.get_str("b"), headers.get("c")), (Some("3"), Some("2"), None));
        assert_eq!(headers.len(), 3);
    }
}
