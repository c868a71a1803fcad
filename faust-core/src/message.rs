//! Messages as bytes, with their offsets, headers and raw keys.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Header with the event time of a message whose timestamp cannot hold it: milliseconds since the Unix epoch, as eight
/// bytes in big-endian order.
///
/// Kafka refuses or changes some timestamps: those before 1970-01-01, those outside the limits of the topic, such as too far
/// ahead of the clock, and all of a topic with `message.timestamp.type=LogAppendTime`. A message to a topic of `group_by` or
/// `through`, or to the dead-letter topic, then has the clock's time as its timestamp, and this header; so has one that is
/// more than half an hour ahead of the clock. The setting `on_timestamp_error` can extend this to all topics. Streams take
/// the event time from the header, and do not pass the header on.
pub const EVENT_TIME: &str = "faust-event-time";

/// A message borrowed from the transport's buffer, so that decoding copies only what it needs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawMessage<'a> {
    /// Offset in the partition.
    pub offset: Offset,
    /// Timestamp of the message; 0 if the producer sent none.
    pub timestamp: Timestamp,
    /// The key. An absent key differs from an empty one: the message may be in any partition.
    pub key: Option<&'a [u8]>,
    /// The payload; if absent, the message is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// The headers; most messages have none, which needs no allocation.
    pub headers: Headers,
}

/// A message that outlives the transport's buffer: buffered for an agent that is behind, or for the dead-letter topic.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OwnedMessage {
    /// See [`RawMessage::offset`].
    pub offset: Offset,
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

    /// Returns the event time that the transport has carried, and the headers without [`EVENT_TIME`].
    #[inline]
    pub(crate) fn event_time(&self) -> (Timestamp, Headers) {
        if self.headers.is_empty() { (self.timestamp, Headers::new()) } else { self.carried_time() }
    }

    fn carried_time(&self) -> (Timestamp, Headers) {
        let mut headers = self.headers.clone();
        let time = headers.event_time();
        if time.is_some() {
            headers.remove(EVENT_TIME);
        }
        (time.unwrap_or(self.timestamp), headers)
    }
}

impl OwnedMessage {
    /// Returns a borrowed view of the message, for decoders.
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

/// The offset of a message in its partition, as in Kafka. It is displayed and serialized as the bare number.
///
/// Offsets begin at 0 and increase with each message. Compaction and transaction markers leave gaps between them.
///
/// ```
/// use faust::Offset;
///
/// assert_eq!(Offset(41).next(), Offset(42));
/// assert_eq!(Offset(42).since(Offset(40)), 2);
/// assert_eq!(Offset(42).to_string(), "42");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl Offset {
    /// Returns the offset that follows this one: the next to read, and the one to commit once this message is finished.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns the number of offsets from `earlier` up to this one, or 0 if this one is lower. Because of gaps, the number
    /// of messages may be smaller.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The headers of a message, in order. Names may repeat, and values may be absent. Cloning is cheap.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<Header>>>);

type Header = (String, Option<Bytes>);

impl Headers {
    /// Creates an empty list without an allocation.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Appends a header; names may repeat.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.push(name.into(), Some(value.into()));
        self
    }

    /// Appends a header, whose value may be absent.
    pub fn push(&mut self, name: String, value: Option<Bytes>) {
        Arc::make_mut(self.0.get_or_insert_with(Arc::default)).push((name, value));
    }

    /// Returns the value of the header [`EVENT_TIME`].
    pub(crate) fn event_time(&self) -> Option<Timestamp> {
        let bytes = self.get(EVENT_TIME)?.try_into().ok()?;
        Some(Timestamp(i64::from_be_bytes(bytes)))
    }

    /// Sets the header [`EVENT_TIME`].
    pub(crate) fn set_event_time(&mut self, time: Timestamp) {
        self.remove(EVENT_TIME);
        self.push(EVENT_TIME.to_owned(), Some(Bytes::copy_from_slice(&time.0.to_be_bytes())));
    }

    /// Returns the last value of that name, as Kafka clients do for repeated names.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().filter(|(n, _)| *n == name).last().and_then(|(_, value)| value)
    }

    /// Returns the last value of that name, if it is valid UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Removes all headers of that name. Without any, nothing is copied.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(list) = self.0.as_mut().filter(|list| list.iter().any(|(n, _)| n == name)) {
            Arc::make_mut(list).retain(|(n, _)| n != name);
        }
        if self.is_empty() {
            self.0 = None;
        }
    }

    /// Returns all headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.0.iter().flat_map(|list| list.iter().map(|(name, value)| (name.as_str(), value.as_deref())))
    }

    /// Returns the number of headers.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.len())
    }

    /// Returns `true` if there are no headers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, value.map(String::from_utf8_lossy)))).finish()
    }
}

/// A key that is not decoded: its bytes, or none.
///
/// It is the default key type of a stream, so that an event can be forwarded with its key unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawKey(pub Option<Vec<u8>>);

impl RawKey {
    /// The absent key: the message may go to any partition.
    pub const NONE: RawKey = RawKey(None);

    /// Returns the bytes, or `None` for an absent key.
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
        let (mut rest, mut none) = (headers.clone(), Headers::new().with("a", "1"));
        rest.remove("a");
        none.remove("a");
        assert_eq!((rest, none, headers.len()), (Headers::new().with("b", "2"), Headers::new(), 3));
    }

    #[test]
    fn the_event_time_passes_through_a_header() {
        let own = Headers::new().with("a", "1");
        let message =
            |headers| RawMessage { offset: Offset(0), timestamp: Timestamp(7), key: None, payload: None, headers };
        assert_eq!(message(own.clone()).event_time(), (Timestamp(7), own.clone()));
        for time in [i64::MIN, -1, 0, i64::MAX].map(Timestamp) {
            let mut headers = own.clone();
            headers.set_event_time(Timestamp(1));
            headers.set_event_time(time);
            assert_eq!(message(headers).event_time(), (time, own.clone()));
        }
        let foreign = own.with(EVENT_TIME, "soon");
        assert_eq!(message(foreign.clone()).event_time(), (Timestamp(7), foreign));
    }
}
