//! The errors of transactions, and the identity of a group's member in them.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::error::TransportError;

/// Returns the transactional id of a worker in a group.
pub(crate) fn transactional_id(group: &str, worker: &str) -> String {
    format!("{group}-{worker}")
}

/// The identity of a member in one generation of its group, with which offsets are sent to a transaction. A broker refuses
/// those of an earlier generation.
#[derive(Clone)]
pub struct GroupMembership(Arc<dyn Any + Send + Sync>);

impl GroupMembership {
    /// Wraps the adapter's own description of a member.
    pub(super) fn new(member: impl Any + Send + Sync) -> Self {
        Self(Arc::new(member))
    }

    /// Returns the description, if it is of this type.
    pub(super) fn downcast<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.0).downcast().ok()
    }
}

impl fmt::Debug for GroupMembership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupMembership")
    }
}

/// A failed step of a transaction.
#[derive(Clone, Debug)]
pub struct TransactionError {
    /// The class of the error, by the action it calls for.
    pub kind: TransactionErrorKind,
    /// The attempt and the reason.
    pub error: TransportError,
}

/// The class of a [`TransactionError`], by the action it calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionErrorKind {
    /// The transaction must be aborted. The producer can begin another one.
    Abortable,
    /// The producer cannot be used any more: the broker has timed its transaction out, or another producer has its id. The outcome
    /// of its transaction is known once a new producer is initialized.
    Lost,
    /// A call has not returned in time. The producer is given up like a lost one.
    Hung,
    /// The cluster refuses transactions to this program permanently.
    Refused,
}

impl TransactionError {
    /// Creates an error.
    pub(super) fn new(kind: TransactionErrorKind, error: TransportError) -> Self {
        Self { kind, error }
    }
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for TransactionError {}
