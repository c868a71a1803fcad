//! One partition's messages, shared by the stages of a task that read it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::error::{TransportError, TransportErrorKind};
use crate::message::{Offset, OwnedMessage, RawMessage};
use crate::transport::{PartitionQueue, TopicPartition};

/// The queue of one partition, with a subscriber for each stage that reads it.
///
/// With one subscriber, the queue is read directly into the stage's own buffer. With several, the first one to poll
/// reads for all: the others receive copies in their backlogs. A backlog is bounded. A subscriber whose backlog is full
/// falls behind, and holds up no other: once it has taken its backlog, the queue is moved back for it, until its backlog is
/// full again or it has caught up.
pub(crate) struct StageReader {
    partition: TopicPartition,
    inner: Mutex<Inner>,
    wakers: Arc<SubscriberWakers>,
    /// Maximum number of messages in a backlog.
    max_backlog: usize,
}

struct Inner {
    queue: Box<dyn PartitionQueue>,
    /// Next offset to be read from the queue.
    position: Offset,
    /// The last read failed permanently, and messages behind the error may have been dropped.
    has_gap: bool,
    subscribers: Vec<Subscriber>,
    /// Epoch of the last start of a subscriber.
    epoch: u64,
}

struct Subscriber {
    /// Polls with another epoch receive nothing. 0 if the subscriber reads nothing.
    epoch: u64,
    /// First offset that is neither passed to the subscriber nor in its backlog. If it is before the reader's position, the
    /// subscriber is behind.
    next: Offset,
    backlog: VecDeque<Arc<OwnedMessage>>,
    /// Size of the backlog.
    bytes: usize,
    /// A permanent error that another subscriber met when it read for this one.
    failed: Option<TransportError>,
}

/// Maximum size of a subscriber's backlog in bytes, exceeded by at most one message.
const BACKLOG_BYTES: usize = 1 << 20;

impl Subscriber {
    const IDLE: Self = Self { epoch: 0, next: Offset(0), backlog: VecDeque::new(), bytes: 0, failed: None };

    fn has_room(&self, max_backlog: usize) -> bool {
        let is_reading = self.epoch != 0 && self.failed.is_none();
        is_reading && self.backlog.len() < max_backlog && self.bytes < BACKLOG_BYTES
    }

    fn push(&mut self, message: &Arc<OwnedMessage>) {
        self.bytes += size_of_message(message);
        self.backlog.push_back(Arc::clone(message));
    }

    fn take(&mut self, max: usize, each: &mut dyn FnMut(RawMessage<'_>)) -> usize {
        let count = self.backlog.len().min(max);
        for message in self.backlog.drain(..count) {
            self.bytes -= size_of_message(&message);
            each(message.as_raw());
        }
        count
    }
}

fn size_of_message(message: &OwnedMessage) -> usize {
    let bytes = |bytes: &Option<_>| bytes.as_ref().map_or(0, |bytes: &bytes::Bytes| bytes.len());
    size_of::<OwnedMessage>() + bytes(&message.key) + bytes(&message.payload)
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
    pub(crate) fn new(
        partition: TopicPartition,
        queue: Box<dyn PartitionQueue>,
        start: Offset,
        max_backlog: usize,
    ) -> Self {
        let inner = Inner { queue, position: start, has_gap: false, subscribers: Vec::new(), epoch: 0 };
        Self { partition, inner: Mutex::new(inner), wakers: Arc::default(), max_backlog }
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Returns the next offset to read.
    pub(crate) fn position(&self) -> Offset {
        self.inner().position
    }

    /// Returns the next offset to read, and the high watermark as far as it is known.
    pub(crate) fn position_and_end(&self) -> (Offset, Option<Offset>) {
        let inner = self.inner();
        (inner.position, inner.queue.high_watermark())
    }

    /// Replaces all subscribers by this many, none of which reads.
    pub(crate) fn reset(&self, subscribers: usize) {
        self.inner().subscribers = (0..subscribers).map(|_| Subscriber::IDLE).collect();
    }

    /// Continues with another queue, which yields this offset first. No subscriber reads yet.
    pub(crate) fn continue_with(&self, queue: Box<dyn PartitionQueue>, start: Offset) {
        let mut inner = self.inner();
        let former = std::mem::replace(&mut inner.queue, queue);
        (inner.position, inner.has_gap) = (start, false);
        drop(inner);
        // Not under the lock: it closes the queue of the transport.
        drop(former);
    }

    /// Starts a subscriber at an offset, wherever the others are. Returns the epoch to poll with.
    pub(crate) fn start(&self, subscriber: usize, next: Offset) -> u64 {
        let mut inner = self.inner();
        inner.epoch += 1;
        let epoch = inner.epoch;
        if let Some(subscriber) = inner.subscribers.get_mut(subscriber) {
            *subscriber = Subscriber { epoch, next, ..Subscriber::IDLE };
        }
        epoch
    }

    /// Stops a subscriber, unless it was started again since.
    pub(crate) fn stop(&self, (epoch, subscriber): (u64, usize)) {
        let mut inner = self.inner();
        if let Some(subscriber) = inner.subscriber((epoch, subscriber)) {
            *subscriber = Subscriber::IDLE;
        }
        drop(inner);
        // Others may have been reading for it.
        Arc::clone(&self.wakers).wake();
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
        let is_alone = inner.subscribers.len() == 1;
        let Some(mine) = inner.subscriber((epoch, subscriber)) else { return Poll::Pending };
        if !mine.backlog.is_empty() {
            return Poll::Ready(Ok(mine.take(max, each)));
        }
        if let Some(error) = mine.failed.take() {
            return Poll::Ready(Err(error));
        }
        let next = mine.next;
        if is_alone {
            inner.move_to(next)?;
            let (mut position, mut jumped) = (inner.position, None);
            let polled = inner.queue.poll_batch(cx, max, &mut |message| {
                if message.offset < position {
                    jumped.get_or_insert((position, message.offset));
                    // Nothing more is passed on.
                    position = Offset(i64::MAX);
                    return;
                }
                position = message.offset.next();
                each(message);
            });
            let jumped = jumped.map(|(before, to)| {
                position = before;
                to
            });
            inner.position = position;
            inner.subscribers.iter_mut().for_each(|alone| alone.next = position);
            let polled = jumped.map_or(polled, |to| Poll::Ready(Err(self.jumped_back(position, to))));
            inner.note_gap(&polled);
            return polled;
        }
        self.wakers.register(subscriber, cx.waker());
        if next < inner.position || !inner.is_needed_by_another(subscriber, self.max_backlog) {
            inner.move_to(next)?;
        } else {
            inner.move_to(inner.position)?;
        }
        let mut count = 0;
        let waker = Waker::from(Arc::clone(&self.wakers));
        let (polled, jumped) = inner.read_for_all(subscriber, self.max_backlog, &waker, max, &mut |message| {
            count += 1;
            each(message);
        });
        if let Some(to) = jumped {
            let error = self.jumped_back(inner.position, to);
            inner.has_gap = true;
            // No subscriber may take messages of the new log for those that it has received.
            let ahead = inner.subscribers.iter_mut().filter(|other| other.epoch != 0 && other.next > to);
            ahead.for_each(|other| other.failed = Some(error.clone()));
            drop(guard);
            Arc::clone(&self.wakers).wake();
            return Poll::Ready(Ok(count));
        }
        inner.note_gap(&polled);
        let polled = match polled {
            Poll::Ready(Err(error)) if !error.is_retriable() && next > inner.position => {
                inner.fail_others(&error);
                Poll::Ready(Ok(0))
            }
            other => other,
        };
        drop(guard);
        match polled {
            Poll::Ready(Ok(_)) => {
                Arc::clone(&self.wakers).wake();
                Poll::Ready(Ok(count))
            }
            other => other,
        }
    }

    /// Fails all subscribers, each once it has taken its backlog: the topic was deleted and created again, so that the queue
    /// continues in another log.
    pub(crate) fn fail_all(&self) {
        let mut inner = self.inner();
        for subscriber in inner.subscribers.iter_mut().filter(|subscriber| subscriber.epoch != 0) {
            subscriber.failed = Some(self.out_of_range(subscriber.next, "the topic was deleted and created again"));
        }
        drop(inner);
        Arc::clone(&self.wakers).wake();
    }

    /// Returns the error of a queue that yields messages again that were read.
    fn jumped_back(&self, position: Offset, to: Offset) -> TransportError {
        let why = format!("its log continues at offset {to}: it was truncated, or deleted and created again");
        self.out_of_range(position, why)
    }

    fn out_of_range(&self, position: Offset, why: impl Into<String>) -> TransportError {
        let what = format!("reading {} at offset {position}", self.partition);
        TransportError { what, why: why.into(), kind: TransportErrorKind::OffsetOutOfRange }
    }

    /// Returns the end if the partition has been read up to there and every subscriber has taken its messages.
    pub(crate) fn idle_at(&self) -> Option<Offset> {
        let inner = self.inner();
        let is_done = inner.subscribers.iter().all(|subscriber| inner.is_done(subscriber));
        inner.queue.end().filter(|_| is_done)
    }

    /// Returns the partition's end if it has been reached and this subscriber has taken all its messages.
    pub(crate) fn end(&self, (epoch, subscriber): (u64, usize)) -> Option<Offset> {
        let inner = self.inner();
        let mine = inner.subscribers.get(subscriber).filter(|mine| mine.epoch == epoch)?;
        if inner.is_done(mine) { inner.queue.end() } else { None }
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

    /// Returns a subscriber that was not started again since this epoch.
    fn subscriber(&mut self, (epoch, subscriber): (u64, usize)) -> Option<&mut Subscriber> {
        self.subscribers.get_mut(subscriber).filter(|subscriber| subscriber.epoch == epoch && epoch != 0)
    }

    /// Returns whether a subscriber has taken everything that was read.
    fn is_done(&self, subscriber: &Subscriber) -> bool {
        subscriber.epoch != 0 && subscriber.backlog.is_empty() && subscriber.next >= self.position
    }

    /// Returns whether another subscriber waits for the next message, and has room for it.
    fn is_needed_by_another(&self, but: usize, max_backlog: usize) -> bool {
        let others = self.subscribers.iter().enumerate().filter(|(index, _)| *index != but);
        others.map(|(_, other)| other).any(|other| other.has_room(max_backlog) && other.next == self.position)
    }

    /// Moves the queue to an offset, if it is elsewhere or has dropped messages.
    fn move_to(&mut self, offset: Offset) -> Result<(), TransportError> {
        if offset != self.position || self.has_gap {
            self.queue.seek(offset)?;
            self.position = offset;
            self.has_gap = false;
        }
        Ok(())
    }

    /// Passes an error to the subscribers that wait for the next message: the one that met it has received this message before.
    fn fail_others(&mut self, error: &TransportError) {
        let waiting = self.subscribers.iter_mut().filter(|other| other.epoch != 0 && other.next == self.position);
        waiting.for_each(|other| other.failed = Some(error.clone()));
    }

    /// Reads from the queue: messages go directly to the polling subscriber, and as copies to every other that waits for
    /// them and has room. Also returns the offset to which the queue has jumped back, if it has: no subscriber receives
    /// messages from there on.
    fn read_for_all(
        &mut self,
        reader: usize,
        max_backlog: usize,
        waker: &Waker,
        max: usize,
        each: &mut dyn FnMut(RawMessage<'_>),
    ) -> (Poll<Result<usize, TransportError>>, Option<Offset>) {
        let Self { queue, position, subscribers, .. } = self;
        let mut jumped = None;
        let polled = queue.poll_batch(&mut Context::from_waker(waker), max, &mut |message| {
            if message.offset < *position || jumped.is_some() {
                jumped.get_or_insert(message.offset);
                return;
            }
            let before = std::mem::replace(position, message.offset.next());
            let mut copy = None;
            let mut is_mine = false;
            for (index, subscriber) in subscribers.iter_mut().enumerate() {
                // One that is behind must not receive a later message first, and one that is ahead has received this one.
                if subscriber.next < before || message.offset < subscriber.next {
                    continue;
                }
                if index == reader {
                    is_mine = true;
                } else if subscriber.has_room(max_backlog) {
                    subscriber.push(copy.get_or_insert_with(|| Arc::new(message.to_owned())));
                } else {
                    continue;
                }
                subscriber.next = *position;
            }
            if is_mine {
                each(message);
            }
        });
        (polled, jumped)
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

    /// A queue of some messages, and an end after two offsets without messages.
    struct Gapped {
        next: i64,
        count: i64,
        is_held: bool,
        /// The messages before this offset are deleted once a message behind them has been read.
        retained_from: i64,
        has_read_on: bool,
    }

    impl crate::transport::port::Sealed for Gapped {}

    impl PartitionQueue for Gapped {
        fn poll_batch(
            &mut self,
            _: &mut Context<'_>,
            max: usize,
            each: &mut dyn FnMut(RawMessage<'_>),
        ) -> Poll<Result<usize, TransportError>> {
            if self.next < self.retained_from && self.has_read_on {
                let error = TransportError::fatal("read", "the offset is out of range");
                return Poll::Ready(Err(error));
            }
            self.has_read_on |= self.next > self.retained_from;
            let batch = self.next..(self.next + i64::try_from(max).unwrap()).min(self.count);
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
            (self.next == self.count).then_some(Offset(self.count + 2))
        }

        fn is_held(&self) -> bool {
            self.is_held
        }
    }

    fn reader(count: i64, is_held: bool) -> StageReader {
        let queue = Box::new(Gapped { next: 0, count, is_held, retained_from: 0, has_read_on: false });
        StageReader::new(TopicPartition::new("t", 0), queue, Offset(0), 100)
    }

    impl StageReader {
        fn is_any_behind(&self) -> bool {
            let inner = self.inner();
            inner.subscribers.iter().any(|subscriber| subscriber.next < inner.position)
        }
    }

    fn started(reader: &StageReader, starts: &[i64]) -> Vec<u64> {
        reader.reset(starts.len());
        starts.iter().enumerate().map(|(subscriber, start)| reader.start(subscriber, Offset(*start))).collect()
    }

    fn poll(reader: &StageReader, of: (u64, usize)) -> Option<Vec<i64>> {
        let (mut offsets, cx) = (Vec::new(), &mut Context::from_waker(Waker::noop()));
        let polled = reader.poll_batch(of, cx, 10, &mut |message| offsets.push(message.offset.0));
        polled.is_ready().then_some(offsets)
    }

    #[test]
    fn a_subscriber_is_at_the_end_once_it_has_taken_all_its_messages() {
        let reader = reader(2, false);
        let epochs = started(&reader, &[0, 0]);
        let [first, second] = [(epochs[0], 0), (epochs[1], 1)];
        assert_eq!(poll(&reader, first), Some(vec![0, 1]));
        assert_eq!((reader.end(first), reader.end(second), reader.idle_at()), (Some(Offset(4)), None, None));
        assert_eq!(poll(&reader, second), Some(vec![0, 1]));
        assert_eq!((reader.end(second), reader.idle_at()), (Some(Offset(4)), Some(Offset(4))));
        let stopped = (epochs[1] - 1, 1);
        assert_eq!((reader.end(stopped), reader.end((epochs[1], 2)), reader.held_at()), (None, None, None));
        started(&reader, &[0]);
        assert_eq!(reader.idle_at(), None);
    }

    #[test]
    fn an_open_transaction_at_the_end_holds_the_reader_up() {
        let reader = reader(2, true);
        let epochs = started(&reader, &[0]);
        assert_eq!(reader.held_at(), None);
        assert!(poll(&reader, (epochs[0], 0)).is_some());
        assert_eq!(reader.held_at(), Some(Offset(4)));
    }

    /// Law: a subscriber that takes nothing holds up no other, and receives all messages when it resumes.
    #[test]
    fn a_subscriber_that_is_behind_holds_up_no_other() {
        let reader = reader(1000, false);
        let epochs = started(&reader, &[0, 0]);
        let [slow, fast] = [(epochs[0], 0), (epochs[1], 1)];
        let of_fast: Vec<_> = std::iter::from_fn(|| poll(&reader, fast)).flatten().collect();
        assert_eq!(of_fast, (0..1000).collect::<Vec<_>>());
        assert_eq!((reader.end(fast), reader.end(slow)), (Some(Offset(1002)), None));
        let of_slow: Vec<_> = std::iter::from_fn(|| poll(&reader, slow)).flatten().collect();
        assert_eq!(of_slow, of_fast);
        assert_eq!((poll(&reader, fast), reader.idle_at()), (None, Some(Offset(1002))));
    }

    /// Law: an error at a position that only one subscriber has not passed is reported to no other.
    #[test]
    fn a_subscriber_is_not_failed_by_what_it_reads_for_another() {
        let queue = Gapped { next: 0, count: 1000, is_held: false, retained_from: 500, has_read_on: false };
        let reader = StageReader::new(TopicPartition::new("t", 0), Box::new(queue), Offset(0), 100);
        let epochs = started(&reader, &[0, 0]);
        let [slow, fast] = [(epochs[0], 0), (epochs[1], 1)];
        let of_fast: Vec<_> = std::iter::from_fn(|| poll(&reader, fast)).flatten().collect();
        assert_eq!(of_fast.len(), 1000);
        // Its backlog.
        let kept: Vec<_> = (0..10).filter_map(|_| poll(&reader, slow)).flatten().collect();
        assert_eq!(kept, (0..100).collect::<Vec<_>>());
        // Its next poll moves the queue back. The fast one meets the error once, and goes on to its own position.
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(matches!(reader.poll_batch(slow, cx, 10, &mut |_| ()), Poll::Ready(Err(_))));
        assert_eq!((poll(&reader, fast), poll(&reader, fast)), (Some(Vec::new()), None));
        assert_eq!(reader.end(fast), Some(Offset(1002)));
        assert!(matches!(reader.poll_batch(slow, cx, 10, &mut |_| ()), Poll::Ready(Err(_))));
    }

    /// Law: in any order of polls and restarts, each subscriber receives every message from its start, in order.
    #[test]
    fn subscribers_receive_everything_in_any_order_of_polls() {
        let mut seed = 1_u64;
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut behind = 0;
        for _ in 0..200 {
            let reader = reader(500, false);
            let mut epochs = started(&reader, &[0, 50, 200]);
            let mut next = [0, 50, 200];
            for _ in 0..300 {
                let at = usize::try_from(draw(3)).unwrap();
                if draw(40) == 0 {
                    next[at] = i64::try_from(draw(500)).unwrap();
                    epochs[at] = reader.start(at, Offset(next[at]));
                }
                for offset in poll(&reader, (epochs[at], at)).unwrap_or_default() {
                    assert_eq!(offset, next[at]);
                    next[at] += 1;
                }
                behind += usize::from(reader.is_any_behind());
            }
            for (at, &epoch) in epochs.iter().enumerate() {
                while let Some(offsets) = poll(&reader, (epoch, at)) {
                    next[at] += i64::try_from(offsets.len()).unwrap();
                }
            }
            assert_eq!(next, [500; 3]);
        }
        assert!(behind > 1000, "a subscriber was behind {behind} times");
    }
}
