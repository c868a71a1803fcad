//! The reading of parts of changelogs of which it is not known whether they hold records of former owners: see [`OwnPart`].

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::commit_header::CommitHeader;
use crate::error::TransportError;
use crate::message::Offset;
use crate::offsets::OwnerEpoch;
use crate::stage::own_part::{OwnPart, UnknownPart};
use crate::transport::{PartitionQueue, StartAt, TailPace, Transport};

/// Maximum time for the reading of one part.
const WITHIN: Duration = Duration::from_secs(10);
/// Number of records per poll.
const READ: usize = 512;

/// The own parts of a worker's changelogs.
#[derive(Default)]
pub(crate) struct OwnParts {
    all: Mutex<Vec<Weak<OwnPart>>>,
}

impl OwnParts {
    /// Adds a part, for as long as its task lives.
    pub(super) fn add(&self, part: &Arc<OwnPart>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|part| part.strong_count() > 0);
        all.push(Arc::downgrade(part));
    }

    /// Reads the unknown parts, so that the checkpoints of their stores move on. Only committed records are read: those of an aborted
    /// transaction count for no owner. A changelog that cannot be read, or whose reading waits for an open transaction, delays no
    /// other one; the next look repeats it.
    ///
    /// # Errors
    /// Returns the first fault.
    pub(crate) async fn look(&self, transport: &dyn Transport) -> Result<(), TransportError> {
        let parts: Vec<_> = {
            let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter_map(Weak::upgrade).filter_map(|part| Some((part.unknown()?, part))).collect()
        };
        if parts.is_empty() {
            return Ok(());
        }
        let from = parts.iter().map(|(unknown, part)| (part.changelog.clone(), StartAt::Offset(unknown.from)));
        let queues = transport.tail(from.collect(), TailPace::Steady).await?;
        let reads = parts.into_iter().zip(queues).map(async |((unknown, part), mut queue)| {
            let what = || format!("reading {} up to offset {}", part.changelog, unknown.to);
            let late = |_| TransportError::retriable(what(), format!("it was not done within {WITHIN:?}"));
            let foreign = timeout(WITHIN, first_foreign(&mut *queue, unknown)).await.map_err(late)??;
            part.note_read(unknown, foreign);
            Ok(())
        });
        join_all(reads).await.into_iter().collect()
    }
}

/// Returns the offset of the first record of a former owner.
async fn first_foreign(queue: &mut dyn PartitionQueue, part: UnknownPart) -> Result<Option<Offset>, TransportError> {
    let (mut next, mut foreign) = (part.from, None);
    loop {
        let is_complete = std::future::poll_fn(|cx| {
            let polled = queue.poll_batch(cx, READ, &mut |message| {
                next = message.offset.next();
                let epoch: OwnerEpoch = CommitHeader::of(&message.headers).version.epoch;
                if message.offset < part.to && epoch != part.epoch {
                    foreign.get_or_insert(message.offset);
                }
            });
            match polled {
                Poll::Ready(read) => Poll::Ready(read.map(|_| false)),
                // Before an open transaction of someone else, the end is a lower one.
                Poll::Pending if queue.end().is_some_and(|end| end >= part.to) => Poll::Ready(Ok(true)),
                Poll::Pending => Poll::Pending,
            }
        });
        if is_complete.await? || next >= part.to || foreign.is_some() {
            return Ok(foreign);
        }
        tokio::task::yield_now().await;
    }
}
