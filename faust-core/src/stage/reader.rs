//! One partition's messages, shared by the stages of a task that read it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::error::TransportError;
use crate::message::{OwnedMessage, RawMessage};
use crate::transport::{PartitionQueue, TopicPartition};

/// The queue of one partition and a seat for each stage that reads it.
///
/// With one seat the queue is read straight into the stage's own buffer. With several, whoever comes first reads for
/// all: the others find a copy in their backlog, and nobody leads by more than `lead` messages.
pub(crate) struct Feed {
    partition: TopicPartition,
    inner: Mutex<Inner>,
    wakers: Arc<SeatWakers>,
    lead: usize,
}

struct Inner {
    queue: Box<dyn PartitionQueue>,
    /// The next offset that will be read from the queue.
    position: i64,
    seats: Vec<Seat>,
    /// Grows with every restart: whoever still reads for a generation that has ended finds nothing.
    epoch: u64,
}

#[derive(Default)]
struct Seat {
    /// Messages below were finished before a restart; the other seats still need them.
    start: i64,
    backlog: VecDeque<Arc<OwnedMessage>>,
}

/// The queue knows one waker; several stages may wait for it.
#[derive(Default)]
struct SeatWakers(Mutex<Vec<Option<Waker>>>);

impl SeatWakers {
    fn register(&self, seat: usize, waker: &Waker) {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wakers.len() <= seat {
            wakers.resize_with(seat + 1, || None);
        }
        if let Some(slot) = wakers.get_mut(seat) {
            *slot = Some(waker.clone());
        }
    }
}

impl Wake for SeatWakers {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Feed {
    /// A feed without seats; `start` is the first offset the queue will yield.
    pub(crate) fn new(partition: TopicPartition, queue: Box<dyn PartitionQueue>, start: i64, lead: usize) -> Self {
        Self {
            partition,
            inner: Mutex::new(Inner { queue, position: start, seats: Vec::new(), epoch: 0 }),
            wakers: Arc::default(),
            lead,
        }
    }

    pub(crate) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Takes the feed back to `starts`, one seat each; backlogs are dropped. Returns the epoch to read with.
    pub(crate) fn restart(&self, starts: &[i64]) -> Result<u64, TransportError> {
        let mut inner = self.inner();
        inner.epoch += 1;
        inner.seats = starts.iter().map(|&start| Seat { start, backlog: VecDeque::new() }).collect();
        let lowest = starts.iter().copied().min().unwrap_or(inner.position);
        if lowest != inner.position {
            inner.queue.seek(lowest)?;
            inner.position = lowest;
        }
        Ok(inner.epoch)
    }

    /// Hands up to `max` messages of this seat to `each`.
    pub(crate) fn poll_batch(
        &self,
        (epoch, seat): (u64, usize),
        cx: &mut Context<'_>,
        max: usize,
        each: &mut dyn FnMut(RawMessage<'_>),
    ) -> Poll<Result<usize, TransportError>> {
        let mut guard = self.inner();
        let inner = &mut *guard;
        if inner.epoch != epoch {
            return Poll::Pending;
        }
        if inner.seats.len() == 1 {
            let Inner { queue, position, .. } = inner;
            return queue.poll_batch(cx, max, &mut |message| {
                *position = message.offset + 1;
                each(message);
            });
        }
        let backlog = inner.seats.get_mut(seat).map(|seat| &mut seat.backlog);
        if let Some(backlog) = backlog.filter(|backlog| !backlog.is_empty()) {
            let count = backlog.len().min(max);
            backlog.drain(..count).for_each(|message| each(message.as_raw()));
            // Others may have waited for this seat to catch up.
            drop(guard);
            Arc::clone(&self.wakers).wake();
            return Poll::Ready(Ok(count));
        }
        self.wakers.register(seat, cx.waker());
        if inner.seats.iter().any(|seat| seat.backlog.len() >= self.lead) {
            return Poll::Pending;
        }
        let mut mine = 0;
        let polled = inner.read_for_all(seat, &Waker::from(Arc::clone(&self.wakers)), max, &mut |message| {
            mine += 1;
            each(message);
        });
        drop(guard);
        match polled {
            Poll::Ready(Ok(_)) => {
                Arc::clone(&self.wakers).wake();
                Poll::Ready(Ok(mine))
            }
            other => other,
        }
    }

    /// Everything has been read up to the partition's end, and every seat has taken its part; the position then.
    pub(crate) fn idle_at(&self) -> Option<i64> {
        let inner = self.inner();
        let empty = inner.seats.iter().all(|seat| seat.backlog.is_empty());
        (empty && inner.queue.at_end()).then_some(inner.position)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Reads from the queue: straight to the reading seat, as a copy to every other that still needs it.
    fn read_for_all(
        &mut self,
        reader: usize,
        waker: &Waker,
        max: usize,
        each: &mut dyn FnMut(RawMessage<'_>),
    ) -> Poll<Result<usize, TransportError>> {
        let Self { queue, position, seats, .. } = self;
        queue.poll_batch(&mut Context::from_waker(waker), max, &mut |message| {
            *position = message.offset + 1;
            let mut copy = None;
            for (_, seat) in seats.iter_mut().enumerate().filter(|(i, s)| *i != reader && message.offset >= s.start) {
                let copy = copy.get_or_insert_with(|| Arc::new(message.to_owned()));
                seat.backlog.push_back(Arc::clone(copy));
            }
            if seats.get(reader).is_some_and(|seat| message.offset >= seat.start) {
                each(message);
            }
        })
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("partition", &self.partition).finish_non_exhaustive()
    }
}
