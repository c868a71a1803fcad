//! The value of an overlay entry.

/// A value, which is decoded when it is first read.
#[derive(Clone, Debug)]
pub(crate) enum Held<V> {
    /// The key has no value, or was removed.
    Absent,
    /// The encoded value, not read yet.
    Bytes(Box<[u8]>),
    /// The decoded value.
    Value(V),
    /// A closure has taken the value and will put it back.
    Taken,
}

impl<V> Held<V> {
    pub(crate) fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}
