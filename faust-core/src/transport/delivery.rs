//! Counts the messages a task has sent and the broker has not yet acknowledged.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use crate::error::TransportError;

/// The messages sent in one generation of one task, between two cuts.
///
/// A commit waits for exactly these, instead of a flush that would wait for everybody's.
#[derive(Debug, Default)]
pub struct Delivery {
    pending: AtomicU64,
    /// The highest offset among what has arrived. Few ask for it, and the others' sends should not pay for it.
    last_offset: Option<AtomicI64>,
    outcome: Mutex<Outcome>,
}

#[derive(Debug, Default)]
struct Outcome {
    failed: Option<TransportError>,
    /// A commit and a drain may wait for the same messages.
    wakers: Vec<Waker>,
}

/// In the place of an offset that is not known.
pub const NO_OFFSET: i64 = -1;

impl Delivery {
    /// Counts nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Counts nothing yet, and will know the [`last_offset`](Self::last_offset): for messages to one partition.
    pub fn with_offsets() -> Arc<Self> {
        Arc::new(Self { last_offset: Some(AtomicI64::new(NO_OFFSET)), ..Self::default() })
    }

    /// A message has entered the producer's buffer.
    pub fn sent(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// A message counted by [`sent`](Self::sent) has arrived at this offset, or has failed for good.
    ///
    /// [`NO_OFFSET`] stands for a message that did arrive but whose offset is not known, and for one taken back.
    pub fn done(&self, result: Result<i64, TransportError>) {
        match (result, &self.last_offset) {
            (Ok(offset), Some(last)) => _ = last.fetch_max(offset, Ordering::Relaxed),
            (Ok(_), None) => {}
            (Err(error), _) => _ = self.outcome().failed.get_or_insert(error),
        }
        // Release pairs with the Acquire in `pending`: whoever sees zero also sees the failure and the last offset.
        if self.pending.fetch_sub(1, Ordering::Release) == 1 {
            let wakers = std::mem::take(&mut self.outcome().wakers);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// How many are under way.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Acquire)
    }

    /// The highest offset that is known of what has arrived; final once nothing is [`pending`](Self::pending).
    ///
    /// `None` before the first, and if this was not made by [`with_offsets`](Self::with_offsets). It may be too low
    /// where the broker could not tell an offset any more, as after a retry long ago, and is never too high.
    pub fn last_offset(&self) -> Option<i64> {
        let last = self.last_offset.as_ref()?.load(Ordering::Relaxed);
        (last > NO_OFFSET).then_some(last)
    }

    /// Waits until nothing is under way.
    ///
    /// # Errors
    /// The first failure among the messages counted here.
    pub async fn all(&self) -> Result<(), TransportError> {
        std::future::poll_fn(|cx| {
            let mut outcome = self.outcome();
            if self.pending() > 0 {
                if !outcome.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    outcome.wakers.push(cx.waker().clone());
                }
                // The last report may have come between the look and the registration.
                if self.pending() > 0 {
                    return Poll::Pending;
                }
            }
            Poll::Ready(outcome.failed.clone().map_or(Ok(()), Err))
        })
        .await
    }

    /// Whether nothing is under way and nothing has failed.
    pub fn is_fulfilled(&self) -> bool {
        self.pending() == 0 && self.outcome().failed.is_none()
    }

    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn everybody_who_waits_is_woken() {
        let delivery = Delivery::new();
        delivery.sent();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let waits =
                [Arc::clone(&delivery), Arc::clone(&delivery)].map(|d| tokio::spawn(async move { d.all().await }));
            tokio::task::yield_now().await;
            delivery.done(Ok(NO_OFFSET));
            for wait in waits {
                assert!(wait.await.expect("no panic").is_ok());
            }
        });
    }

    #[test]
    fn all_waits_for_every_message_and_reports_the_first_failure() {
        let delivery = Delivery::new();
        assert!(delivery.all().now_or_never().expect("nothing is under way").is_ok());
        delivery.sent();
        delivery.sent();
        delivery.done(Err(TransportError::fatal("send", "too large")));
        assert!(delivery.all().now_or_never().is_none(), "one message is still under way");
        delivery.done(Ok(NO_OFFSET));
        let error = delivery.all().now_or_never().expect("all have reported").expect_err("one failed");
        assert_eq!(error.to_string(), "send: too large");
    }

    #[test]
    fn the_last_offset_is_the_highest_that_is_known() {
        let (delivery, ordinary) = (Delivery::with_offsets(), Delivery::new());
        assert_eq!(delivery.last_offset(), None);
        for offset in [4, 7, NO_OFFSET, 5] {
            delivery.sent();
            ordinary.sent();
            delivery.done(Ok(offset));
            ordinary.done(Ok(offset));
        }
        assert_eq!((delivery.last_offset(), ordinary.last_offset()), (Some(7), None));
        delivery.sent();
        delivery.done(Err(TransportError::fatal("send", "too large")));
        assert_eq!(delivery.last_offset(), Some(7));
    }
}
