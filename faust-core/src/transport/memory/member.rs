//! A member of a consumer group of the in-memory cluster.

use std::sync::Arc;

use crate::transport::port::{GroupListener, Subscription, TopicPartition};

/// A member of a group.
pub(super) struct Member {
    /// Name of its client, for the observer.
    pub(super) client: Arc<str>,
    pub(super) subscription: Subscription,
    pub(super) listener: Arc<dyn GroupListener>,
    pub(super) assigned: Vec<TopicPartition>,
    /// The generation of the group in which the member got its assignment.
    pub(super) generation: u64,
    /// Set after a crash. The member then keeps its partitions until its session times out.
    pub(super) crashed: bool,
    /// Set while the group goes on without the member, which does not know it yet.
    pub(super) expelled: bool,
}

impl Member {
    pub(super) fn group(&self) -> &str {
        &self.subscription.group
    }
}
