//! One partition's messages, shared by the stages of a task that read it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::error::TransportError;
use crate::message::{Offset, OwnedMessage, RawMessage};
use crate::transport::{PartitionQueue, TopicPartition};

/// The queue of one partition, with a subscriber for each stage that reads it.
///
/// With one subscriber, the queue is read directly into the stage's own buffer. With several, the first one to poll
/// reads for all: the others receive copies in their backlogs, and no subscriber gets more than `lead` messages ahead
/// of another.
pub(crate) struct StageReader {
    partition: TopicPartition,
    inner: Mutex<Inner>,
    wakers: Arc<SubscriberWakers>,
    lead: usize,
}

struct Inner {
    queue: Box<dyn PartitionQueue>,
    /// Next offset to be read from the queue.
    position: Offset,
    /// The last read failed permanently, and messages behind the error may have been dropped.
    has_gap: bool,
    subscribers: Vec<Subscriber>,
    /// Incremented by every restart: polls with an earlier epoch receive nothing.
    epoch: u64,
}

#[derive(Default)]
struct Subscriber {
    /// Messages before this offset were finished before a restart, but the other subscribers still need them.
    start: Offset,
    backlog: VecDeque<Arc<OwnedMessage>>,
}

/// The wakers of all waiting stages, since the queue holds only one waker.
#[derive(Default)]
struct SubscriberWakers(Mutex<Vec<Option<Waker>>>);

impl SubscriberWakers {
    fn register(&self, subscriber: usize, waker: &Waker) {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wakers.len() <= subscriber {
            wakers.resize_with(subscriber + 1, || None);
        }
        if let Some(slot) = wakers.get_mut(subscriber) {
            *slot = Some(waker.clone());
        }
    }
}

impl Wake for SubscriberWakers {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl StageReader {
    /// Creates a reader without subscribers; `start` is the first offset that the queue yields.
    pub(crate) fn new(partition: TopicPartition, queue: Box<dyn PartitionQueue>, start: Offset, lead: usize) -> Self {
        Self {
            partition,
            inner: Mutex::new(Inner { queue, position: start, has_gap: false, subscribers: Vec::new(), epoch: 0 }),
            wakers: Arc::default(),
            lead,
        }
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Moves the reader back to `starts`, with one subscriber each, and discards all backlogs. Returns the epoch to
    /// poll with.
    pub(crate) fn restart(&self, starts: &[Offset]) -> Result<u64, TransportError> {
        let mut inner = self.inner();
        inner.epoch += 1;
        inner.subscribers = starts.iter().map(|&start| Subscriber { start, backlog: VecDeque::new() }).collect();
        let lowest = starts.iter().copied().min().unwrap_or(inner.position);
        if lowest != inner.position || inner.has_gap {
            inner.queue.seek(lowest)?;
            inner.position = lowest;
            inner.has_gap = false;
        }
        Ok(inner.epoch)
    }

    /// Passes up to `max` messages of this subscriber to `each`.
    pub(crate) fn poll_batch(
        &self,
        (epoch, subscriber): (u64, usize),
        cx: &mut Context<'_>,
        max: usize,
        each: &mut dyn FnMut(RawMessage<'_>),
    ) -> Poll<Result<usize, TransportError>> {
        let mut guard = self.inner();
        let inner = &mut *guard;
        if inner.epoch != epoch {
            return Poll::Pending;
        }
        if inner.subscribers.len() == 1 {
            let polled = inner.queue.poll_batch(cx, max, &mut |message| {
                inner.position = message.offset.next();
                each(message);
            });
            inner.note_gap(&polled);
            return polled;
        }
        let backlog = inner.subscribers.get_mut(subscriber).map(|subscriber| &mut subscriber.backlog);
        if let Some(backlog) = backlog.filter(|backlog| !backlog.is_empty()) {
            let count = backlog.len().min(max);
            backlog.drain(..count).for_each(|message| each(message.as_raw()));
            // Other subscribers may be waiting for this one to catch up.
            drop(guard);
            Arc::clone(&self.wakers).wake();
            return Poll::Ready(Ok(count));
        }
        self.wakers.register(subscriber, cx.waker());
        if inner.subscribers.iter().any(|subscriber| subscriber.backlog.len() >= self.lead) {
            return Poll::Pending;
        }
        let mut mine = 0;
        let polled = inner.read_for_all(subscriber, &Waker::from(Arc::clone(&self.wakers)), max, &mut |message| {
            mine += 1;
            each(message);
        });
        inner.note_gap(&polled);
        drop(guard);
        match polled {
            Poll::Ready(Ok(_)) => {
                Arc::clone(&self.wakers).wake();
                Poll::Ready(Ok(mine))
            }
            other => other,
        }
    }

    /// Returns the position if the partition has been read to its end and every subscriber has taken its messages.
    pub(crate) fn idle_at(&self) -> Option<Offset> {
        let inner = self.inner();
        let empty = inner.subscribers.iter().all(|subscriber| subscriber.backlog.is_empty());
        (empty && inner.queue.at_end()).then_some(inner.position)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn note_gap(&mut self, polled: &Poll<Result<usize, TransportError>>) {
        if let Poll::Ready(Err(error)) = polled {
            self.has_gap |= !error.is_retriable();
        }
    }

    /// Reads from the queue: messages go directly to the polling subscriber, and as copies to every other that still
    /// needs them.
    fn read_for_all(
        &mut self,
        reader: usize,
        waker: &Waker,
        max: usize,
        each: &mut dyn FnMut(RawMessage<'_>),
    ) -> Poll<Result<usize, TransportError>> {
        let Self { queue, position, subscribers, .. } = self;
        queue.poll_batch(&mut Context::from_waker(waker), max, &mut |message| {
            *position = message.offset.next();
            let mut copy = None;
            for (_, subscriber) in
                subscribers.iter_mut().enumerate().filter(|(i, s)| *i != reader && message.offset >= s.start)
            {
                let copy = copy.get_or_insert_with(|| Arc::new(message.to_owned()));
                subscriber.backlog.push_back(Arc::clone(copy));
            }
            if subscribers.get(reader).is_some_and(|subscriber| message.offset >= subscriber.start) {
                each(message);
            }
        })
    }
}

impl std::fmt::Debug for StageReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StageReader").field("partition", &self.partition).finish_non_exhaustive()
    }
}
