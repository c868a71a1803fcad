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

    /// Returns the end if the partition has been read up to there and every subscriber has taken its messages.
    pub(crate) fn idle_at(&self) -> Option<Offset> {
        let inner = self.inner();
        let empty = inner.subscribers.iter().all(|subscriber| subscriber.backlog.is_empty());
        inner.queue.end().filter(|_| empty)
    }

    /// Returns the partition's end if it has been reached and this subscriber has taken all its messages.
    pub(crate) fn end(&self, (epoch, subscriber): (u64, usize)) -> Option<Offset> {
        let inner = self.inner();
        let is_done = inner.subscribers.get(subscriber).is_some_and(|subscriber| subscriber.backlog.is_empty());
        if inner.epoch == epoch && is_done { inner.queue.end() } else { None }
    }

    /// Returns the end before which an open transaction holds the reader up, if there is one.
    pub(crate) fn held_at(&self) -> Option<Offset> {
        let inner = self.inner();
        inner.queue.end().filter(|_| inner.queue.is_held())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use crate::message::Headers;
    use crate::time::Timestamp;

    /// A queue of two messages, and an end after two offsets without messages.
    struct Gapped {
        next: i64,
        is_held: bool,
    }

    const END: Offset = Offset(4);

    impl crate::transport::port::Sealed for Gapped {}

    impl PartitionQueue for Gapped {
        fn poll_batch(
            &mut self,
            _: &mut Context<'_>,
            max: usize,
            each: &mut dyn FnMut(RawMessage<'_>),
        ) -> Poll<Result<usize, TransportError>> {
            let batch = self.next..(self.next + i64::try_from(max).unwrap()).min(2);
            let count = batch.clone().count();
            self.next += i64::try_from(count).unwrap();
            batch.for_each(|offset| {
                let (offset, timestamp, headers) = (Offset(offset), Timestamp(0), Headers::new());
                each(RawMessage { offset, timestamp, key: None, payload: None, headers });
            });
            if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
        }

        fn seek(&mut self, offset: Offset) -> Result<(), TransportError> {
            self.next = offset.0;
            Ok(())
        }

        fn end(&self) -> Option<Offset> {
            (self.next == 2).then_some(END)
        }

        fn is_held(&self) -> bool {
            self.is_held
        }
    }

    fn reader(is_held: bool) -> StageReader {
        let queue = Box::new(Gapped { next: 0, is_held });
        StageReader::new(TopicPartition::new("t", 0), queue, Offset(0), 100)
    }

    #[test]
    fn a_subscriber_is_at_the_end_once_it_has_taken_all_its_messages() {
        let reader = reader(false);
        let epoch = reader.restart(&[Offset(0), Offset(0)]).unwrap();
        let poll = |subscriber| {
            let cx = &mut Context::from_waker(Waker::noop());
            reader.poll_batch((epoch, subscriber), cx, 10, &mut |_| ()).map(Result::unwrap)
        };
        assert_eq!((poll(0), reader.end((epoch, 0)), reader.end((epoch, 1))), (Poll::Ready(2), Some(END), None));
        assert_eq!(reader.idle_at(), None);
        assert_eq!((poll(1), reader.end((epoch, 1)), reader.idle_at()), (Poll::Ready(2), Some(END), Some(END)));
        assert_eq!((reader.end((epoch - 1, 0)), reader.end((epoch, 2)), reader.held_at()), (None, None, None));
        reader.restart(&[Offset(0)]).unwrap();
        assert_eq!(reader.idle_at(), None);
    }

    #[test]
    fn an_open_transaction_at_the_end_holds_the_reader_up() {
        let reader = reader(true);
        let epoch = reader.restart(&[Offset(0)]).unwrap();
        assert_eq!(reader.held_at(), None);
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(reader.poll_batch((epoch, 0), cx, 10, &mut |_| ()).is_ready());
        assert_eq!(reader.held_at(), Some(END));
    }
}
