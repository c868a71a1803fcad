//! Short ids of topics' logs, for the metadata of commits.

use super::name_hash::fnv1a;

/// A 32-bit hash of the id that a broker gives to a topic when it is created (KIP-516). The log of a topic that was deleted and
/// created again has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogId(pub(super) u32);

impl LogId {
    /// Returns the hash of a topic's id; `None` if the id is empty, because the broker has no ids or the look-up failed.
    pub(crate) fn of(topic_id: &str) -> Option<Self> {
        (!topic_id.is_empty()).then(|| Self(fnv1a(topic_id)))
    }

    /// Returns whether two logs are surely different: both are known, and their ids differ.
    pub(crate) fn differ(one: Option<Self>, other: Option<Self>) -> bool {
        one.zip(other).is_some_and(|(one, other)| one != other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_log_differs_from_none() {
        let [a, b] = ["AAAAAAAAAAAAAAAAAAAAAQ", "AAAAAAAAAAAAAAAAAAAAAg"].map(LogId::of);
        assert!(LogId::differ(a, b) && !LogId::differ(a, a));
        assert!(!LogId::differ(a, LogId::of("")) && !LogId::differ(None, b) && !LogId::differ(None, None));
    }
}
