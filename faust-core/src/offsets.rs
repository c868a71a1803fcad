//! Which offset may be committed: the tracker of finished events, and the text that travels with a commit.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Follows one reader of one partition: what it was given, what it has finished.
///
/// The law (promise P1): [`next`](Self::next) never passes an offset that was delivered and not acked. Offsets may have
/// gaps, as compaction and transaction markers leave them, so the tracker knows only what was delivered.
#[derive(Clone, Debug)]
pub(crate) struct OffsetTracker {
    /// One past the last delivered offset: what is next when nothing is open.
    position: i64,
    /// Delivered and not yet passed by the committed offset, in order, with whether each is acked.
    open: VecDeque<(i64, bool)>,
}

impl OffsetTracker {
    /// Starts before `start`, the first offset that may be delivered.
    pub(crate) fn new(start: i64) -> Self {
        Self { position: start, open: VecDeque::new() }
    }

    /// An event is handed out. Offsets must grow.
    pub(crate) fn deliver(&mut self, offset: i64) {
        debug_assert!(offset >= self.position, "offset {offset} was delivered before");
        self.open.push_back((offset, false));
        self.position = offset + 1;
    }

    /// An event is finished. False if it is not open: acked twice, or from before a restart.
    pub(crate) fn ack(&mut self, offset: i64) -> bool {
        // In order is the common case, and then this is a pop.
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

    /// The offset to commit: the first that is not finished.
    pub(crate) fn next(&self) -> i64 {
        self.open.front().map_or(self.position, |&(first, _)| first)
    }

    /// One past the last delivered offset.
    pub(crate) fn position(&self) -> i64 {
        self.position
    }
}

/// What a cut writes into the metadata of a committed offset.
///
/// The committed offset is the lowest of the stages that read the partition; after a restart each stage goes on at its
/// own. Kept as JSON, so that other tools can show it, and short: brokers accept 4096 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CutMark {
    /// Version of this form.
    pub(crate) v: u8,
    /// The number of the cut; grows with each.
    pub(crate) cut: u64,
    /// The largest event time seen by any stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<i64>,
    /// The largest event time seen, of each stage for which it is another; none of one that has seen no event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) times: BTreeMap<String, Option<i64>>,
    /// The next offset of each stage that is ahead of the committed one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) ahead: BTreeMap<String, i64>,
    /// Where the changelog of each table goes on after this cut: it must never be found shorter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) logs: BTreeMap<String, i64>,
}

/// The broker's default limit of `offset.metadata.max.bytes`.
const METADATA_LIMIT: usize = 4096;

impl CutMark {
    pub(crate) fn new(cut: u64) -> Self {
        Self { v: 1, cut, ..Self::default() }
    }

    /// The stream time of one stage at the cut.
    pub(crate) fn stage_time(&self, stage: &str) -> Option<Timestamp> {
        self.times.get(stage).map_or(self.time, |own| *own).map(Timestamp)
    }

    /// The text to commit. With too many stages the least needed is left out: first what only guards against damage,
    /// then the times, then the leads, and those stages read their lead again.
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

    /// Reads it back; another program's metadata, or none, is no mark.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|mark: &Self| mark.v == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Law: the committed offset never passes a delivered event that is not acked, and is the first such.
        #[test]
        fn never_commits_past_an_unacked_event(gaps in prop::collection::vec(1i64..4, 1..60), acks in prop::collection::vec(any::<prop::sample::Index>(), 0..120)) {
            let mut tracker = OffsetTracker::new(0);
            let mut delivered = Vec::new();
            let mut open = std::collections::BTreeSet::new();
            let mut offset = -1;
            let mut gaps = gaps.into_iter();
            for ack in acks {
                // Deliver and ack by turns, the latter anywhere in what was delivered.
                if let Some(gap) = gaps.next() {
                    offset += gap;
                    tracker.deliver(offset);
                    delivered.push(offset);
                    open.insert(offset);
                }
                let chosen = delivered[ack.index(delivered.len())];
                prop_assert_eq!(tracker.ack(chosen), open.remove(&chosen), "an ack counts once");
                let expected = open.first().copied().unwrap_or(offset + 1);
                prop_assert_eq!(tracker.next(), expected);
            }
        }

        /// Law: what a commit carries is what a restart reads, and it always fits the broker's limit.
        #[test]
        fn a_mark_survives_the_broker(cut in any::<u64>(), time in prop::option::of(any::<i64>()), ahead in prop::collection::btree_map("[a-z\"/é]{1,40}", any::<i64>(), 0..200)) {
            let mark = CutMark { time, ahead: ahead.clone(), ..CutMark::new(cut) };
            let text = mark.to_text();
            prop_assert!(text.len() <= METADATA_LIMIT);
            let back = CutMark::from_text(&text).expect("own text");
            prop_assert_eq!((back.cut, back.stage_time("any")), (cut, time.map(Timestamp)));
            prop_assert!(back.ahead == ahead || back.ahead.is_empty());
        }
    }

    #[test]
    fn metadata_of_others_is_no_mark() {
        for text in ["", "consumer-1", "{\"v\":2,\"cut\":1}", "{}"] {
            assert_eq!(CutMark::from_text(text), None, "{text}");
        }
    }
}
