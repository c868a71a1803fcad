//! What the consumer group tells the worker, as messages to its control loop.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::error::TransportError;
use crate::transport::{Assigned, GroupListener, TopicPartition};

/// What has happened to the worker's membership.
pub(super) enum GroupEvent {
    Assigned(Vec<Assigned>),
    /// The sender is told when the partitions may go.
    Revoked(Vec<TopicPartition>, bool, oneshot::Sender<()>),
    Failed(TransportError),
    Connection(bool, String),
}

/// Passes everything on.
pub(super) struct Listener {
    events: mpsc::UnboundedSender<GroupEvent>,
}

impl Listener {
    pub(super) fn new(events: mpsc::UnboundedSender<GroupEvent>) -> Self {
        Self { events }
    }

    fn tell(&self, event: GroupEvent) {
        // With the control loop gone, the worker is over and there is nobody to tell.
        drop(self.events.send(event));
    }
}

impl GroupListener for Listener {
    fn assigned(&self, partitions: Vec<Assigned>) {
        self.tell(GroupEvent::Assigned(partitions));
    }

    fn revoked(&self, partitions: Vec<TopicPartition>, lost: bool) -> BoxFuture<'static, ()> {
        let (done, finished) = oneshot::channel();
        self.tell(GroupEvent::Revoked(partitions, lost, done));
        // An error means the loop has gone, and with it everything that could have been finished.
        finished.map(drop).boxed()
    }

    fn failed(&self, error: TransportError) {
        self.tell(GroupEvent::Failed(error));
    }

    fn connection(&self, up: bool, detail: &str) {
        self.tell(GroupEvent::Connection(up, detail.to_owned()));
    }
}
