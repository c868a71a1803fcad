//! The producer of a transaction, for as long as the transaction is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::error::TransportError;
use crate::transport::{Delivery, Outgoing, Sealed, SendRefused, Sink, SinkTopic};

/// The producer of an open transaction. It refuses messages once the guard is dropped: the writer of a seal may still be sending
/// when its transaction is aborted, and what it has left must not get into the next one.
pub(super) struct OpenTransaction {
    sink: Arc<dyn Sink>,
    has_ended: Arc<AtomicBool>,
}

/// Ends the sending in a transaction when it is dropped.
pub(super) struct TransactionGuard(Arc<AtomicBool>);

impl OpenTransaction {
    /// Wraps the producer of a transaction that has begun.
    pub(super) fn of(sink: Arc<dyn Sink>) -> (Arc<dyn Sink>, TransactionGuard) {
        let has_ended = Arc::<AtomicBool>::default();
        (Arc::new(Self { sink, has_ended: Arc::clone(&has_ended) }), TransactionGuard(has_ended))
    }
}

impl Drop for TransactionGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Sealed for OpenTransaction {}

impl Sink for OpenTransaction {
    fn topic(&self, name: &str) -> Result<Arc<dyn SinkTopic>, TransportError> {
        Ok(Arc::new(OpenTopic { topic: self.sink.topic(name)?, has_ended: Arc::clone(&self.has_ended) }))
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        self.sink.room()
    }

    fn flush(&self, within: Duration) -> BoxFuture<'_, Result<(), TransportError>> {
        self.sink.flush(within)
    }
}

struct OpenTopic {
    topic: Arc<dyn SinkTopic>,
    has_ended: Arc<AtomicBool>,
}

impl Sealed for OpenTopic {}

impl SinkTopic for OpenTopic {
    fn try_send(&self, message: &Outgoing<'_>, delivery: &Arc<Delivery>) -> Result<(), SendRefused> {
        if self.has_ended.load(Ordering::Acquire) {
            let error = TransportError::retriable("sending in a transaction", "the transaction has ended");
            return Err(SendRefused::Failed(error));
        }
        self.topic.try_send(message, delivery)
    }

    fn check(&self, message: &Outgoing<'_>) -> Result<(), TransportError> {
        self.topic.check(message)
    }
}
