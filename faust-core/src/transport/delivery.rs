//! Counters of the messages that a task has sent and the broker has not yet acknowledged.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use crate::error::TransportError;
use crate::message::Offset;
use crate::offsets::Position;

/// The messages that one task run sends between two cuts.
///
/// A commit waits for exactly these messages. A flush would also wait for those of other tasks.
#[derive(Debug, Default)]
pub struct Delivery {
    pending: AtomicU64,
    /// Highest offset of the acknowledged messages. It is optional because few users need it, and it costs an atomic
    /// operation per message.
    last_offset: Option<HighestOffset>,
    /// Number of acknowledged messages, of this and other counters, if offsets are tracked.
    stored: Arc<AtomicU64>,
    outcome: Mutex<DeliveryState>,
    /// The events that have sent the messages, if they are known.
    sender: Option<Sender>,
}

/// The events of one stage, of which one or more have sent a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    /// Index of the stage in its group.
    pub(crate) stage: usize,
    pub(crate) events: Vec<Position>,
}

#[derive(Debug, Default)]
struct DeliveryState {
    failed: Option<TransportError>,
    /// Wakers of the waiting tasks: a commit and a drain may wait for the same messages.
    wakers: Vec<Waker>,
}

/// The highest offset noted so far, or none. Any thread may note one.
#[derive(Debug)]
struct HighestOffset {
    highest: AtomicI64,
    /// A message was stored at an unknown offset.
    is_incomplete: AtomicBool,
}

impl HighestOffset {
    /// Stands for no offset: a message's own is never negative.
    const NONE: i64 = -1;

    fn new() -> Self {
        Self { highest: AtomicI64::new(Self::NONE), is_incomplete: AtomicBool::new(false) }
    }

    fn note(&self, offset: Offset) {
        self.highest.fetch_max(offset.0, Ordering::Relaxed);
    }

    fn load(&self) -> Option<Offset> {
        Some(self.highest.load(Ordering::Relaxed)).filter(|&offset| offset > Self::NONE).map(Offset)
    }
}

impl Delivery {
    /// Creates a counter without messages.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Creates a counter that also tracks the [`last_offset`](Self::last_offset), for messages to one partition, and adds
    /// those that were acknowledged to `stored`.
    pub fn with_offsets(stored: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { last_offset: Some(HighestOffset::new()), stored, ..Self::default() })
    }

    /// Creates a counter for the messages of these events.
    pub(crate) fn by(sender: Sender) -> Arc<Self> {
        Arc::new(Self { sender: Some(sender), ..Self::default() })
    }

    /// Returns the events that have sent the messages, if they are known.
    pub(crate) fn sender(&self) -> Option<&Sender> {
        self.sender.as_ref()
    }

    /// Records that a message was added to the producer's buffer.
    pub fn sent(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that a message counted by [`sent`](Self::sent) was acknowledged, but the broker did not know its offset any more, as
    /// after a late retry.
    pub fn done_at_unknown_offset(&self) {
        if let Some(last) = &self.last_offset {
            last.is_incomplete.store(true, Ordering::Relaxed);
        }
        self.done(Ok(None));
    }

    /// Returns whether a message was stored at an unknown offset. It is final once no message is [`pending`](Self::pending).
    pub fn has_unknown_offset(&self) -> bool {
        self.last_offset.as_ref().is_some_and(|last| last.is_incomplete.load(Ordering::Relaxed))
    }

    /// Records that a message counted by [`sent`](Self::sent) was acknowledged with this offset, or has failed
    /// permanently.
    ///
    /// `None` stands for a message whose offset does not matter, and for one that was withdrawn.
    pub fn done(&self, result: Result<Option<Offset>, TransportError>) {
        match (result, &self.last_offset) {
            (Ok(Some(offset)), Some(last)) => {
                last.note(offset);
                self.stored.fetch_add(1, Ordering::Relaxed);
            }
            (Ok(_), _) => {}
            (Err(error), _) => _ = self.outcome().failed.get_or_insert(error),
        }
        // Release pairs with the Acquire in `pending`: a thread that reads zero also sees the failure and the last
        // offset.
        if self.pending.fetch_sub(1, Ordering::Release) == 1 {
            let wakers = std::mem::take(&mut self.outcome().wakers);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Returns the number of unacknowledged messages.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Acquire)
    }

    /// Returns the highest known offset of the acknowledged messages. It is final once no message is
    /// [`pending`](Self::pending).
    ///
    /// The result is `None` before the first known offset, and for a counter that was not created by
    /// [`with_offsets`](Self::with_offsets). It may be too low if the broker no longer knew an offset, as after a late
    /// retry, and is never too high.
    pub fn last_offset(&self) -> Option<Offset> {
        self.last_offset.as_ref()?.load()
    }

    /// Waits until no message is pending.
    ///
    /// # Errors
    /// Returns the first failure among the counted messages.
    pub async fn all(&self) -> Result<(), TransportError> {
        std::future::poll_fn(|cx| {
            let mut outcome = self.outcome();
            if self.pending() > 0 {
                if !outcome.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    outcome.wakers.push(cx.waker().clone());
                }
                // The last acknowledgement may have arrived between the check and the registration.
                if self.pending() > 0 {
                    return Poll::Pending;
                }
            }
            Poll::Ready(outcome.failed.clone().map_or(Ok(()), Err))
        })
        .await
    }

    /// Returns `true` if no message is pending and none has failed.
    pub fn is_fulfilled(&self) -> bool {
        self.pending() == 0 && self.outcome().failed.is_none()
    }

    fn outcome(&self) -> std::sync::MutexGuard<'_, DeliveryState> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn all_waiting_tasks_are_woken() {
        let delivery = Delivery::new();
        delivery.sent();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let waits =
                [Arc::clone(&delivery), Arc::clone(&delivery)].map(|d| tokio::spawn(async move { d.all().await }));
            tokio::task::yield_now().await;
            delivery.done(Ok(None));
            for wait in waits {
                assert!(wait.await.expect("no panic").is_ok());
            }
        });
    }

    #[test]
    fn all_waits_for_every_message_and_reports_the_first_failure() {
        let delivery = Delivery::new();
        assert!(delivery.all().now_or_never().expect("no message is pending").is_ok());
        delivery.sent();
        delivery.sent();
        delivery.done(Err(TransportError::fatal("send", "too large")));
        assert!(delivery.all().now_or_never().is_none(), "one message is still pending");
        delivery.done(Ok(None));
        let error = delivery.all().now_or_never().expect("all messages are done").expect_err("one failed");
        assert_eq!(error.to_string(), "send: too large");
    }

    #[test]
    fn the_last_offset_is_the_highest_known_offset() {
        let (delivery, ordinary) = (Delivery::with_offsets(Arc::default()), Delivery::new());
        assert_eq!(delivery.last_offset(), None);
        for offset in [Some(Offset(4)), Some(Offset(7)), None, Some(Offset(5))] {
            delivery.sent();
            ordinary.sent();
            delivery.done(Ok(offset));
            ordinary.done(Ok(offset));
        }
        assert_eq!((delivery.last_offset(), ordinary.last_offset()), (Some(Offset(7)), None));
        assert!(!delivery.has_unknown_offset());
        for delivery in [&delivery, &ordinary] {
            delivery.sent();
            delivery.done_at_unknown_offset();
        }
        assert_eq!((delivery.has_unknown_offset(), ordinary.has_unknown_offset()), (true, false));
        delivery.sent();
        delivery.done(Err(TransportError::fatal("send", "too large")));
        assert_eq!(delivery.last_offset(), Some(Offset(7)));
    }
}
