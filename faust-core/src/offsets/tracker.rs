//! The tracker of delivered and finished events.

use std::collections::VecDeque;

use crate::message::Offset;

/// The position of an event in its stage: one of the stage's inputs, and the offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// Index of the input.
    pub(crate) input: u32,
    pub(crate) offset: Offset,
}

/// A tracker of the delivered and the finished events of one reader of one partition.
///
/// Invariant (promise P1): [`next`](Self::next) never passes an offset that was delivered and not acked. Compaction and
/// transaction markers leave gaps between offsets, so the tracker considers delivered offsets only.
#[derive(Clone, Debug)]
pub(crate) struct OffsetTracker {
    /// One past the last delivered or skipped offset: the offset to commit if no event is open.
    position: Offset,
    /// Delivered offsets from the first unacked one on, in order, each with a flag that is true once it is acked.
    open: VecDeque<(Offset, bool)>,
}

impl OffsetTracker {
    /// Creates a tracker. `start` is the first offset that may be delivered.
    pub(crate) fn new(start: Offset) -> Self {
        Self { position: start, open: VecDeque::new() }
    }

    /// Records that an event is delivered. Offsets must increase.
    pub(crate) fn deliver(&mut self, offset: Offset) {
        debug_assert!(offset >= self.position, "offset {offset} was delivered before");
        self.open.push_back((offset, false));
        self.position = offset.next();
    }

    /// Records that the offsets before `end` that were not delivered have no messages: they belong to transaction
    /// markers, or to messages that were aborted, compacted or deleted.
    pub(crate) fn skip_to(&mut self, end: Offset) {
        self.position = self.position.max(end);
    }

    /// Records that an event is finished. Returns `false` if it is not open because it was acked before or was
    /// delivered before a restart.
    pub(crate) fn ack(&mut self, offset: Offset) -> bool {
        // Fast path: acks usually arrive in order.
        if self.open.front().is_some_and(|&(first, _)| first == offset) {
            self.open.pop_front();
            while self.open.front().is_some_and(|&(_, acked)| acked) {
                self.open.pop_front();
            }
            return true;
        }
        let Ok(index) = self.open.binary_search_by_key(&offset, |&(open, _)| open) else { return false };
        self.open.get_mut(index).is_some_and(|entry| !std::mem::replace(&mut entry.1, true))
    }

    /// Returns the offset to commit: the first unfinished one.
    pub(crate) fn next(&self) -> Offset {
        self.open.front().map_or(self.position, |&(first, _)| first)
    }

    /// Returns one past the last delivered or skipped offset.
    pub(crate) fn position(&self) -> Offset {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Law: the offset to commit is that of the first delivered event that is not acked, and never passes it; if
        /// there is none, it is the end.
        #[test]
        fn never_commits_past_an_unacked_event(gaps in prop::collection::vec(1i64..4, 1..60), acks in prop::collection::vec(any::<prop::sample::Index>(), 0..120)) {
            let mut tracker = OffsetTracker::new(Offset(0));
            let mut delivered = Vec::new();
            let mut open = std::collections::BTreeSet::new();
            let mut offset = -1;
            let mut gaps = gaps.into_iter();
            for ack in acks {
                // Alternate between delivering an event and acking any delivered one.
                if let Some(gap) = gaps.next() {
                    offset += gap;
                    tracker.deliver(Offset(offset));
                    delivered.push(Offset(offset));
                    open.insert(Offset(offset));
                    // The end of the partition is reached behind some offsets without messages.
                    if gap == 3 {
                        offset += 2;
                        tracker.skip_to(Offset(offset).next());
                    }
                }
                let chosen = delivered[ack.index(delivered.len())];
                prop_assert_eq!(tracker.ack(chosen), open.remove(&chosen), "an ack counts once");
                let expected = open.first().copied().unwrap_or(Offset(offset).next());
                prop_assert_eq!(tracker.next(), expected);
            }
        }
    }
}
