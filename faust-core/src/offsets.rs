//! Offsets to commit: the tracker of finished events, and the metadata of a commit.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::message::Offset;
use crate::time::Timestamp;

/// The number of a commit of a task. It is never used twice, and grows from commit to commit; 0 is before the first.
///
/// Changelog records carry the number of the commit they belong to, so that a restore can skip those of a commit that
/// never took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct CommitNumber(pub(crate) u64);

impl CommitNumber {
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for CommitNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

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

/// The metadata that a cut writes with a committed offset.
///
/// The committed offset is the lowest of the stages that read the partition; after a restart, each stage resumes at its
/// own offset. The metadata is JSON, so that other tools can display it, and short, because brokers accept at most 4096
/// bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommitMetadata {
    /// Version of this format.
    pub(crate) v: u8,
    /// Number of the cut, which increases with each cut.
    pub(crate) cut: CommitNumber,
    /// Largest event time seen by any stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<Timestamp>,
    /// Largest event time seen by each stage for which it differs from `time`; `None` for a stage that has seen no
    /// event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) times: BTreeMap<String, Option<Timestamp>>,
    /// Next offset of each stage that is ahead of the committed offset.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) ahead: BTreeMap<String, Offset>,
    /// End offset of each table's changelog at this cut. A restore must never find a changelog that ends earlier.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) logs: BTreeMap<String, Offset>,
}

/// Default of the broker setting `offset.metadata.max.bytes`.
const METADATA_LIMIT: usize = 4096;

impl CommitMetadata {
    pub(crate) fn new(cut: CommitNumber) -> Self {
        Self { v: 1, cut, ..Self::default() }
    }

    /// Returns the stream time of one stage at the cut.
    pub(crate) fn stage_time(&self, stage: &str) -> Option<Timestamp> {
        self.times.get(stage).map_or(self.time, |own| *own)
    }

    /// Returns the text to commit. If it exceeds the limit because there are too many stages, fields are left out in
    /// order of increasing importance: first `logs`, which only detects damage, then `times`, then `ahead`. Without
    /// `ahead`, stages that were ahead read those events again.
    pub(crate) fn to_text(&self) -> String {
        let text = |mark: &Self| serde_json::to_string(mark).expect("numbers and strings are always JSON");
        let mut mark = self.clone();
        let steps: [fn(&mut Self); 3] =
            [|mark| mark.logs.clear(), |mark| mark.times.clear(), |mark| mark.ahead.clear()];
        for shorten in steps {
            let whole = text(&mark);
            if whole.len() <= METADATA_LIMIT {
                return whole;
            }
            shorten(&mut mark);
        }
        text(&mark)
    }

    /// Parses a committed text. Returns `None` for empty metadata and for that of other programs.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|mark: &Self| mark.v == 1)
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

        /// Law: a restart reads the metadata that a commit wrote, and the text never exceeds the broker's limit.
        #[test]
        fn a_mark_round_trips_within_the_limit(cut in any::<u64>(), time in prop::option::of(any::<i64>().prop_map(Timestamp)), ahead in prop::collection::btree_map("[a-z\"/é]{1,40}", any::<i64>().prop_map(Offset), 0..200)) {
            let mark = CommitMetadata { time, ahead: ahead.clone(), ..CommitMetadata::new(CommitNumber(cut)) };
            let text = mark.to_text();
            prop_assert!(text.len() <= METADATA_LIMIT);
            let back = CommitMetadata::from_text(&text).expect("own text");
            prop_assert_eq!((back.cut.0, back.stage_time("any")), (cut, time));
            prop_assert!(back.ahead == ahead || back.ahead.is_empty());
        }
    }

    /// Earlier releases and other tools read this text.
    #[test]
    fn the_text_of_a_mark_holds_plain_numbers() {
        let mark = CommitMetadata {
            time: Some(Timestamp(5)),
            times: BTreeMap::from([("a".to_owned(), None), ("b".to_owned(), Some(Timestamp(-1)))]),
            ahead: BTreeMap::from([("b".to_owned(), Offset(9))]),
            logs: BTreeMap::from([("t".to_owned(), Offset(70))]),
            ..CommitMetadata::new(CommitNumber(3))
        };
        let text = r#"{"v":1,"cut":3,"time":5,"times":{"a":null,"b":-1},"ahead":{"b":9},"logs":{"t":70}}"#;
        assert_eq!((mark.to_text(), CommitMetadata::from_text(text)), (text.to_owned(), Some(mark)));
    }

    #[test]
    fn metadata_of_other_programs_is_ignored() {
        for text in ["", "consumer-1", "{\"v\":2,\"cut\":1}", "{}"] {
            assert_eq!(CommitMetadata::from_text(text), None, "{text}");
        }
    }
}
