//! The value of an entry, decoded when it is first read.

/// A value, decoded when it is first asked for.
#[derive(Clone, Debug)]
pub(crate) enum Held<V> {
    /// There is none; the key was removed.
    Absent,
    Bytes(Box<[u8]>),
    Value(V),
    /// A closure has it at the moment.
    Taken,
}

impl<V> Held<V> {
    pub(crate) fn is_there(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}
