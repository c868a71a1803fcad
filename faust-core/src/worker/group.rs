//! Events of the consumer group, sent to the control loop.

use std::ops::Range;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::error::TransportError;
use crate::message::Offset;
use crate::task::Ownership;
use crate::transport::{Assigned, GroupListener, TopicPartition};

/// An event of the worker's group membership or connection.
pub(super) enum GroupEvent {
    Assigned(Vec<Assigned>),
    /// Partitions are revoked, or already lost if the flag is set. The sender is used once they may be released.
    Revoked(Vec<TopicPartition>, bool, oneshot::Sender<()>),
    /// The assignment of these partitions waits for an open transaction.
    OffsetsPending(Vec<TopicPartition>),
    Failed(TransportError),
    Connection(bool, String),
    /// The messages of a partition at these offsets were deleted before they were read, and it continues at another offset.
    Deleted(TopicPartition, Range<Offset>, Offset),
}

/// A group listener that sends every event to the control loop.
pub(super) struct Listener {
    events: mpsc::UnboundedSender<GroupEvent>,
    ownership: Arc<Ownership>,
}

impl Listener {
    pub(super) fn new(events: mpsc::UnboundedSender<GroupEvent>, ownership: Arc<Ownership>) -> Self {
        Self { events, ownership }
    }

    fn tell(&self, event: GroupEvent) {
        // An error means that the control loop has ended, and the worker with it.
        drop(self.events.send(event));
    }
}

impl crate::transport::port::Sealed for Listener {}

impl GroupListener for Listener {
    fn assigned(&self, partitions: Vec<Assigned>) {
        self.ownership.assigned(&partitions);
        self.tell(GroupEvent::Assigned(partitions));
    }

    fn revoked(&self, partitions: Vec<TopicPartition>, lost: bool) -> BoxFuture<'static, ()> {
        let mut revocation = Some(self.ownership.revoke(&partitions));
        if lost {
            drop(revocation.take());
        }
        let (done, finished) = oneshot::channel();
        self.tell(GroupEvent::Revoked(partitions, lost, done));
        let released = async move {
            // An error means that the control loop has ended, so there is nothing left to finish.
            drop(finished.await);
            drop(revocation);
        };
        // If the transport gives up waiting, it drops the future: the partitions are lost then, too.
        released.boxed()
    }

    fn offsets_pending(&self, partitions: &[TopicPartition]) {
        self.tell(GroupEvent::OffsetsPending(partitions.to_vec()));
    }

    fn failed(&self, error: TransportError) {
        self.tell(GroupEvent::Failed(error));
    }

    fn connection(&self, up: bool, detail: &str) {
        self.tell(GroupEvent::Connection(up, detail.to_owned()));
    }

    fn deleted(&self, partition: &TopicPartition, unread: Range<Offset>, next: Offset) {
        self.tell(GroupEvent::Deleted(partition.clone(), unread, next));
    }
}
