//! Encoding of a message's key and value into reused buffers.

use std::cell::Cell;

use super::coder::Coder;
use super::data::Data;
use crate::error::Error;

/// Encodes key and value into buffers that this thread reuses, and hands them to `then`.
pub(crate) fn encode<K: Data, V: Data, R>(
    topic: &str,
    key_coder: &Coder<K>,
    key: &K,
    value_coder: &Coder<V>,
    value: &V,
    then: impl FnOnce(Option<&[u8]>, Option<&[u8]>) -> R,
) -> Result<R, Error> {
    encode_parts(
        |out| key_coder.encode(key, out).map_err(|why| Error::encode(topic, "key", why)),
        |out| value_coder.encode(value, out).map_err(|why| Error::encode(topic, "value", why)),
        then,
    )
}

pub(crate) fn encode_parts<R>(
    key: impl FnOnce(&mut Vec<u8>) -> Result<bool, Error>,
    value: impl FnOnce(&mut Vec<u8>) -> Result<bool, Error>,
    then: impl FnOnce(Option<&[u8]>, Option<&[u8]>) -> R,
) -> Result<R, Error> {
    thread_local! {
        static BUFFERS: Cell<(Vec<u8>, Vec<u8>)> = const { Cell::new((Vec::new(), Vec::new())) };
    }
    // Taken out rather than borrowed: a codec of the user's may itself send.
    let (mut key_bytes, mut value_bytes) = BUFFERS.take();
    key_bytes.clear();
    value_bytes.clear();
    let has_key = key(&mut key_bytes)?;
    let has_value = value(&mut value_bytes)?;
    let result = then(has_key.then_some(&key_bytes), has_value.then_some(&value_bytes));
    BUFFERS.set((key_bytes, value_bytes));
    Ok(result)
}
