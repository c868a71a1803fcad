//! The changes of a table between two seals. They are encoded once, sent to the changelog and written to the store.

use std::collections::{HashMap, HashSet};

use crate::time::Timestamp;

/// An immutable batch of changes: keys, times and values in one flat buffer, in the order in which they were pushed.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    bytes: Vec<u8>,
    slots: Vec<EntrySpan>,
}

/// Position of an entry in the buffer. It starts at the end of the previous entry, with the key, the time and the value.
#[derive(Clone, Copy, Debug)]
struct EntrySpan {
    end: usize,
    key_bytes: u32,
    removed: bool,
    is_new: bool,
}

/// One changed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SealedEntry<'a> {
    /// The key as encoded by the key codec, preceded by the window's start if the table is windowed.
    pub(crate) key: &'a [u8],
    /// The entry time and the value as stores hold them, see [`StoredEntry`]; `None` if the key was removed.
    pub(crate) stored: Option<&'a [u8]>,
    /// The greatest time of the events that made the value, or of the one that removed it.
    pub(crate) time: Timestamp,
    /// Set if the key did not exist at the last commit, so that undoing the change means removing the key.
    pub(crate) is_new: bool,
}

impl<'a> SealedEntry<'a> {
    /// Returns the value as encoded by the value codec; `None` if the key was removed.
    pub(crate) fn value(&self) -> Option<&'a [u8]> {
        self.stored.map(|stored| &stored[TIME_BYTES..])
    }
}

/// An entry in a store: eight bytes with the time in big-endian order, then the value as encoded by the value codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredEntry<'a> {
    /// The greatest time of the events that made the value.
    pub(crate) time: Timestamp,
    pub(crate) value: &'a [u8],
}

const TIME_BYTES: usize = size_of::<i64>();

impl<'a> StoredEntry<'a> {
    /// Reads an entry. Returns `None` if there are too few bytes.
    pub(crate) fn read(stored: &'a [u8]) -> Option<Self> {
        let (time, value) = stored.split_first_chunk()?;
        Some(Self { time: Timestamp(i64::from_be_bytes(*time)), value })
    }
}

impl Sealed {
    /// Returns the entries in the order in which they were pushed.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = SealedEntry<'_>> {
        let mut start = 0;
        self.slots.iter().map(move |slot| {
            let (key, stored) = self.bytes[start..slot.end].split_at(slot.key_bytes as usize);
            start = slot.end;
            let time = StoredEntry::read(stored).map_or(Timestamp(0), |entry| entry.time);
            SealedEntry { key, stored: (!slot.removed).then_some(stored), time, is_new: slot.is_new }
        })
    }

    /// Returns these changes after a commit whose outcome is unknown: it may have added or removed each key.
    pub(crate) fn of_unknown_outcome(&self) -> Self {
        let slots = self.slots.iter().map(|slot| EntrySpan { is_new: true, ..*slot }).collect();
        Self { bytes: self.bytes.clone(), slots }
    }

    /// Merges two seals: the later one's value of a key counts.
    pub(crate) fn merged(earlier: &Self, later: &Self) -> Self {
        let known: HashMap<&[u8], bool> = earlier.iter().map(|entry| (entry.key, entry.is_new)).collect();
        let replaced: HashSet<&[u8]> = later.iter().map(|entry| entry.key).collect();
        let kept = earlier.iter().filter(|entry| !replaced.contains(entry.key));
        let later = later.iter().map(|entry| {
            // The flag is about the last commit, which was before both.
            let is_new = known.get(entry.key).copied().unwrap_or(entry.is_new);
            SealedEntry { is_new, ..entry }
        });
        let mut merged = Self::default();
        kept.chain(later).for_each(|entry| merged.push(&entry));
        merged
    }

    fn push(&mut self, entry: &SealedEntry<'_>) {
        self.bytes.extend_from_slice(entry.key);
        self.bytes.extend_from_slice(entry.stored.unwrap_or(&entry.time.0.to_be_bytes()));
        self.slots.push(EntrySpan {
            end: self.bytes.len(),
            key_bytes: u32::try_from(entry.key.len()).expect("the key was in a seal before"),
            removed: entry.stored.is_none(),
            is_new: entry.is_new,
        });
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns whether there are no entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns the memory used, in bytes.
    pub(crate) fn size_bytes(&self) -> u64 {
        (self.bytes.capacity() + self.slots.capacity() * size_of::<EntrySpan>()) as u64
    }
}

/// A builder of [`Sealed`].
#[derive(Debug, Default)]
pub(crate) struct SealedBuilder {
    sealed: Sealed,
}

impl SealedBuilder {
    /// Creates a builder with room for this number of entries, and of bytes for all of them together.
    pub(crate) fn with_capacity(entries: usize, bytes: usize) -> Self {
        Self { sealed: Sealed { bytes: Vec::with_capacity(bytes), slots: Vec::with_capacity(entries) } }
    }

    /// Appends an entry of this time. `key` and `value` append their bytes to the given buffer.
    ///
    /// # Errors
    /// Returns the error of the closure that failed, and appends no entry.
    pub(crate) fn push<E>(
        &mut self,
        is_new: bool,
        time: Timestamp,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.append((is_new, false), time, key, value)
    }

    /// Appends the removal of a key by an event of this time.
    ///
    /// # Errors
    /// Returns the closure's error, and appends no entry.
    pub(crate) fn remove<E>(
        &mut self,
        is_new: bool,
        time: Timestamp,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.append((is_new, true), time, key, |_| Ok(()))
    }

    /// Returns the number of entries so far.
    pub(crate) fn len(&self) -> usize {
        self.sealed.len()
    }

    /// Returns the number of bytes of keys, times and values so far.
    pub(crate) fn size_bytes(&self) -> usize {
        self.sealed.bytes.len()
    }

    /// Returns the finished batch.
    pub(crate) fn finish(self) -> Sealed {
        self.sealed
    }

    fn append<E>(
        &mut self,
        (is_new, removed): (bool, bool),
        time: Timestamp,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Sealed { bytes, slots } = &mut self.sealed;
        let start = bytes.len();
        let middle = key(bytes).map(|()| bytes.len());
        bytes.extend_from_slice(&time.0.to_be_bytes());
        match middle.and_then(|middle| value(bytes).map(|()| middle)) {
            Ok(middle) => {
                // Brokers reject such keys anyway.
                let key_bytes = u32::try_from(middle - start).expect("a key is shorter than 4 GiB");
                slots.push(EntrySpan { end: bytes.len(), key_bytes, removed, is_new });
                Ok(())
            }
            Err(error) => {
                bytes.truncate(start);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> impl FnOnce(&mut Vec<u8>) -> Result<(), &'static str> {
        move |out| {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }

    #[test]
    fn entries_come_back_as_they_were_pushed() {
        let mut builder = SealedBuilder::with_capacity(4, 16);
        builder.push(true, Timestamp(7), text("a"), text("1")).expect("neither fails");
        builder.push(false, Timestamp(-1), text(""), text("")).expect("neither fails");
        builder.remove(false, Timestamp(i64::MIN), text("b")).expect("it does not fail");
        let sealed = builder.finish();
        let entries: Vec<_> = sealed
            .iter()
            .map(|entry| {
                let [key, value] = [Some(entry.key), entry.value()].map(|bytes| bytes.map(String::from_utf8_lossy));
                format!("{key:?} {value:?} {} {}", entry.time.0, entry.is_new)
            })
            .collect();
        let removed = format!(r#"Some("b") None {} false"#, i64::MIN);
        assert_eq!(entries, [r#"Some("a") Some("1") 7 true"#, r#"Some("") Some("") -1 false"#, &removed]);
        let stored: Vec<_> = sealed.iter().map(|entry| entry.stored).collect();
        assert_eq!(stored, [Some(&b"\0\0\0\0\0\0\0\x071"[..]), Some(&[255; 8]), None]);
        let read = stored[0].and_then(StoredEntry::read);
        assert_eq!(read, Some(StoredEntry { time: Timestamp(7), value: b"1" }));
        assert_eq!(StoredEntry::read(b"1234567"), None, "no entry is shorter than its time");
        assert_eq!((sealed.len(), sealed.is_empty()), (3, false));
        assert!(sealed.size_bytes() > 3);
    }

    #[test]
    fn the_later_value_of_a_key_counts_in_merged_seals() {
        let seal = |entries: &[(&'static str, Option<&'static str>, bool)]| {
            let mut builder = SealedBuilder::default();
            for &(key, value, is_new) in entries {
                match value {
                    Some(value) => builder.push(is_new, Timestamp(1), text(key), text(value)),
                    None => builder.remove(is_new, Timestamp(2), text(key)),
                }
                .expect("neither fails");
            }
            builder.finish()
        };
        let earlier =
            seal(&[("a", Some("1"), true), ("b", Some("2"), false), ("c", None, false), ("d", Some("4"), true)]);
        let later = seal(&[("d", None, false), ("a", Some("5"), false), ("e", Some("6"), true)]);
        let expected = seal(&[
            ("b", Some("2"), false),
            ("c", None, false),
            ("d", None, true),
            ("a", Some("5"), true),
            ("e", Some("6"), true),
        ]);
        let merged = Sealed::merged(&earlier, &later);
        assert_eq!(merged.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    }

    #[test]
    fn an_entry_that_cannot_be_encoded_leaves_no_trace() {
        let mut builder = SealedBuilder::default();
        let half = |out: &mut Vec<u8>| {
            out.extend_from_slice(b"half");
            Err("no")
        };
        assert_eq!(builder.push(true, Timestamp(1), text("key"), half), Err("no"));
        assert_eq!(builder.push(true, Timestamp(1), half, text("value")), Err("no"));
        builder.push(true, Timestamp(1), text("a"), text("1")).expect("neither fails");
        let sealed = builder.finish();
        let entries: Vec<_> = sealed.iter().map(|entry| (entry.key, entry.value())).collect();
        assert_eq!(entries, [(&b"a"[..], Some(&b"1"[..]))]);
    }
}
