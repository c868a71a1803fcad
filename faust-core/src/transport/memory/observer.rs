//! The port through which the test driver follows what happens in the in-memory cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::message::Offset;
use crate::time::Timestamp;
use crate::transport::port::TopicPartition;

/// An observer of a cluster. It is called with the name of the client whose request takes effect.
pub(crate) trait ClusterObserver: Send + Sync {
    /// Reports a message that is in its partition.
    fn stored(&self, client: &Arc<str>, message: StoredMessage, now: Timestamp);

    /// Reports the offsets that a commit has set.
    fn committed(&self, client: &Arc<str>, offsets: BTreeMap<TopicPartition, Offset>, now: Timestamp);

    /// Reports a commit that has failed as a whole.
    fn commit_failed(&self, client: &Arc<str>, why: String, now: Timestamp);

    /// Reports partitions that a rebalance gives to a member of a group.
    fn assigned(&self, client: &Arc<str>, partitions: Vec<TopicPartition>, now: Timestamp);

    /// Reports partitions that a member of a group no longer has.
    fn revoked(&self, client: &Arc<str>, partitions: Vec<TopicPartition>, now: Timestamp);
}

/// A message in its partition.
#[derive(Clone, Debug)]
pub(crate) struct StoredMessage {
    pub(crate) partition: TopicPartition,
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Option<Bytes>,
    pub(crate) payload: Option<Bytes>,
}
