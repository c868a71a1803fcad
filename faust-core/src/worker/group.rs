//! Events of the consumer group, sent to the control loop.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::error::TransportError;
use crate::transport::{Assigned, GroupListener, TopicPartition};

/// An event of the worker's group membership or connection.
pub(super) enum GroupEvent {
    Assigned(Vec<Assigned>),
    /// Partitions are revoked, or already lost if the flag is set. The sender is used once they may be released.
    Revoked(Vec<TopicPartition>, bool, oneshot::Sender<()>),
    Failed(TransportError),
    Connection(bool, String),
}

/// A group listener that sends every event to the control loop.
pub(super) struct Listener {
    events: mpsc::UnboundedSender<GroupEvent>,
}

impl Listener {
    pub(super) fn new(events: mpsc::UnboundedSender<GroupEvent>) -> Self {
        Self { events }
    }

    fn tell(&self, event: GroupEvent) {
        // An error means that the control loop has ended, and the worker with it.
        drop(self.events.send(event));
    }
}

impl crate::transport::port::Sealed for Listener {}

impl GroupListener for Listener {
    fn assigned(&self, partitions: Vec<Assigned>) {
        self.tell(GroupEvent::Assigned(partitions));
    }

    fn revoked(&self, partitions: Vec<TopicPartition>, lost: bool) -> BoxFuture<'static, ()> {
        let (done, finished) = oneshot::channel();
        self.tell(GroupEvent::Revoked(partitions, lost, done));
        // An error means that the control loop has ended, so there is nothing left to finish.
        finished.map(drop).boxed()
    }

    fn failed(&self, error: TransportError) {
        self.tell(GroupEvent::Failed(error));
    }

    fn connection(&self, up: bool, detail: &str) {
        self.tell(GroupEvent::Connection(up, detail.to_owned()));
    }
}
