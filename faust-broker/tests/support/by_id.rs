//! Requests of version 10 of `OffsetCommit` and `OffsetFetch`, which the codec does not have, from those of version 9.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::{Encodable, StrBytes};

/// An encoded name of one character, which is part of no other field.
const PLACE: &[u8] = b"\x02~";

/// Returns the name of a topic that [`encode`] replaces by an id.
pub(crate) fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("~"))
}

/// Encodes a request in version 9, with `ids` in place of the names of its topics, in their order.
pub(crate) fn encode(request: &impl Encodable, ids: impl IntoIterator<Item = u128>) -> Bytes {
    let mut named = BytesMut::new();
    request.encode(&mut named, 9).unwrap();
    let (mut body, mut rest, mut ids) = (BytesMut::new(), &named[..], ids.into_iter());
    while let Some(at) = rest.windows(PLACE.len()).position(|window| window == PLACE) {
        body.put_slice(&rest[..at]);
        body.put_u128(ids.next().unwrap());
        rest = &rest[at + PLACE.len()..];
    }
    body.put_slice(rest);
    body.freeze()
}
