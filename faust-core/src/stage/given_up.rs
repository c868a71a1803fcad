//! Events that have failed too often, and are not processed any more.

/// An event that has failed too often, according to the policy of its agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp {
    pub(crate) disposal: Disposal,
    /// The number of failures, and the last error.
    pub(crate) why: String,
}

/// The handling of a message that is not processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposal {
    /// It is sent to the dead-letter topic.
    DeadLetter,
    /// It is counted and skipped.
    Skip,
}
