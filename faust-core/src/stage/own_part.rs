//! The part of a changelog that holds only records of its present owner.
//!
//! A record of a former owner may arrive after the restore. It does not count, and the next restore has to find it, so no
//! checkpoint of the store may pass it. An owner does not see such a record, but it knows how many records it has written itself:
//! as long as the changelog has grown by as many, there is none. Once the numbers differ, the part in between is unknown, and
//! someone has to read it: after a transaction was aborted, it is not known how many of its messages were stored.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::message::Offset;
use crate::offsets::OwnerEpoch;
use crate::transport::TopicPartition;

/// The part of a changelog's partition without records of a former owner since the restore.
#[derive(Debug)]
pub(crate) struct OwnPart {
    pub(crate) changelog: TopicPartition,
    /// Number of records that this owner has stored, with the markers of its transactions.
    stored: Arc<AtomicU64>,
    state: Mutex<OwnState>,
}

#[derive(Debug)]
struct OwnState {
    /// The epoch of the owner; `None` until the restore has ended.
    epoch: Option<OwnerEpoch>,
    /// An offset before which all is known, and the number of stored records then.
    base: (Offset, u64),
    end: Offset,
    unknown: Option<UnknownPart>,
    /// The part has ended at a record of a former owner.
    has_ended: bool,
}

/// A part of a changelog's partition that may hold records of former owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownPart {
    pub(crate) epoch: OwnerEpoch,
    /// The first offset, and the one behind the last.
    pub(crate) from: Offset,
    pub(crate) to: Offset,
    /// Number of records that the owner had stored when the part was noted.
    stored: u64,
}

impl OwnPart {
    /// Creates an empty part behind the restored one.
    pub(crate) fn new(changelog: TopicPartition, restored_end: Offset) -> Arc<Self> {
        let state =
            OwnState { epoch: None, base: (restored_end, 0), end: restored_end, unknown: None, has_ended: false };
        Arc::new(Self { changelog, stored: Arc::default(), state: Mutex::new(state) })
    }

    /// Returns the counter of stored records.
    pub(crate) fn stored(&self) -> &Arc<AtomicU64> {
        &self.stored
    }

    /// Records the epoch of the owner's records.
    pub(crate) fn set_epoch(&self, epoch: OwnerEpoch) {
        self.state().epoch = Some(epoch);
    }

    /// Records that a transaction with records of this owner has ended, which has written a marker to the changelog.
    pub(crate) fn note_marker(&self) {
        self.stored.fetch_add(1, Ordering::Relaxed);
    }

    /// Records the changelog's end, behind the last record of this owner. All of its records before it are counted.
    pub(crate) fn note_end(&self, end: Offset) {
        let stored = self.stored.load(Ordering::Relaxed);
        let mut state = self.state();
        if state.has_ended {
            return;
        }
        let (base, counted) = state.base;
        if end.since(base) == stored - counted {
            (state.end, state.unknown) = (end, None);
        } else {
            state.unknown = state.epoch.map(|epoch| UnknownPart { epoch, from: state.end, to: end, stored });
        }
    }

    /// Returns the end of the part.
    pub(crate) fn end(&self) -> Offset {
        self.state().end
    }

    /// Returns the part behind it that someone has to read.
    pub(crate) fn unknown(&self) -> Option<UnknownPart> {
        self.state().unknown
    }

    /// Records that the unknown part was read, and that this is the first record of a former owner in it.
    pub(crate) fn note_read(&self, part: UnknownPart, foreign: Option<Offset>) {
        let mut state = self.state();
        if state.end != part.from {
            return;
        }
        state.end = foreign.unwrap_or(part.to);
        state.unknown = None;
        match foreign {
            Some(_) => state.has_ended = true,
            None => state.base = (part.to, part.stored),
        }
    }

    fn state(&self) -> MutexGuard<'_, OwnState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> Arc<OwnPart> {
        let part = OwnPart::new(TopicPartition::new("log", 0), Offset(100));
        part.set_epoch(OwnerEpoch(7));
        part
    }

    fn store(part: &OwnPart, records: u64) {
        part.stored().fetch_add(records, Ordering::Relaxed);
    }

    #[test]
    fn the_part_grows_as_long_as_all_records_are_counted() {
        let part = part();
        store(&part, 3);
        part.note_end(Offset(103));
        part.note_marker();
        store(&part, 2);
        part.note_end(Offset(106));
        assert_eq!((part.end(), part.unknown()), (Offset(106), None));
        // Another record has arrived in between.
        store(&part, 1);
        part.note_end(Offset(108));
        let unknown = UnknownPart { epoch: OwnerEpoch(7), from: Offset(106), to: Offset(108), stored: 7 };
        assert_eq!((part.end(), part.unknown()), (Offset(106), Some(unknown)));
    }

    #[test]
    fn a_part_without_foreign_records_is_continued() {
        let part = part();
        store(&part, 2);
        part.note_end(Offset(105));
        let unknown = part.unknown().expect("three records are not counted");
        // More is stored while it is read.
        store(&part, 4);
        part.note_end(Offset(109));
        part.note_read(unknown, None);
        assert_eq!((part.end(), part.unknown()), (Offset(105), None));
        store(&part, 1);
        part.note_end(Offset(110));
        assert_eq!((part.end(), part.unknown()), (Offset(110), None));
    }

    #[test]
    fn the_part_ends_at_a_foreign_record() {
        let part = part();
        store(&part, 4);
        part.note_end(Offset(105));
        part.note_read(part.unknown().expect("a record is not counted"), Some(Offset(102)));
        store(&part, 1);
        part.note_end(Offset(106));
        assert_eq!((part.end(), part.unknown()), (Offset(102), None));
        // Also if the numbers agree by chance.
        store(&part, 1);
        part.note_end(Offset(106));
        assert_eq!(part.end(), Offset(102));
    }
}
