//! A member of a consumer group of the in-memory cluster.

use std::sync::Arc;

use crate::transport::port::{GroupListener, Subscription, TopicPartition};

/// A member of a group.
pub(super) struct Member {
    /// Name of its client, for the observer.
    pub(super) client: Arc<str>,
    /// The instance id of a static member.
    pub(super) instance: Option<Arc<str>>,
    /// Its place among the members, by which partitions are assigned: the id of the first member with this instance id.
    pub(super) place: u64,
    pub(super) subscription: Subscription,
    pub(super) listener: Arc<dyn GroupListener>,
    pub(super) assigned: Vec<TopicPartition>,
    /// The generation of the group in which the member got its assignment.
    pub(super) generation: u64,
    /// Set after a crash, or after the orderly end of a static member. The member then keeps its partitions until its session times out.
    pub(super) crashed: bool,
    /// Set while the group goes on without the member, which does not know it yet.
    pub(super) expelled: bool,
}

/// Returns the id of a member as text. The order of the texts is that of the numbers, in which partitions are assigned.
pub(super) fn member_id(id: u64) -> String {
    format!("member-{id:020}")
}

impl Member {
    pub(super) fn group(&self) -> &str {
        &self.subscription.group
    }
}
