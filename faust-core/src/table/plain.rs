//! Tables without windows: values by key.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use super::entry::{Entry, ValueMut};
use super::handle::TableHandle;
use crate::codec::{Data, KeyRef};
use crate::declare::{ArgSpec, TableDecl};
use crate::error::Error;
use crate::stage::{AgentArg, AgentCx};
use crate::table_state::TableValue;

/// Values by key, as far as they belong to this agent's partition.
///
/// An agent takes it as an argument: `counts: Table<String, u64>`, named after the argument. All agents of a partition
/// that name the same table share it. Writes are committed together with the events they were made in, and go to the
/// topic `<app>-<table>-changelog`, from which another worker restores the table.
///
/// Every method is synchronous. Writes are for inside an event, between `next()` and the next `next()`; reads for anywhere
/// behind the first. What
/// goes wrong (a store that cannot be read, a value that its codec refuses) fails the agent, as an error would.
///
/// ```
/// # use faust_core::table::Table;
/// let counts: Table<String, u64> = Table::in_memory("counts");
/// counts.update(&"a".to_owned(), |count| *count += 1);
/// counts.update(&"a".to_owned(), |count| *count += 1);
/// assert_eq!(counts.get(&"a".to_owned()), 2);
/// assert_eq!((counts.get(&"b".to_owned()), counts.len()), (0, 1), "reading writes nothing");
/// ```
pub struct Table<K, V> {
    handle: TableHandle<K, V>,
}

impl<K: Data, V: TableValue> Table<K, V> {
    /// A table without a changelog or a store, for calling an agent's function in a unit test.
    ///
    /// # Panics
    /// The types have no codec.
    pub fn in_memory(name: &str) -> Self {
        Self { handle: TableHandle::detached(&TableDecl::new(), name) }
    }

    /// A copy of the value of a key; `None` if there is none, whatever the default.
    pub fn find<Q: KeyRef + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.handle.keyed(key, |bytes| self.handle.find(bytes))
    }

    /// Looks at the value of a key without copying it. The closure may use the table, but for this key.
    pub fn with<Q: KeyRef + ?Sized, R>(&self, key: &Q, look: impl FnOnce(Option<&V>) -> R) -> R
    where
        K: Borrow<Q>,
    {
        self.handle.keyed(key, |bytes| self.handle.with(bytes, look))
    }

    /// Whether the key has a value.
    pub fn contains<Q: KeyRef + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.handle.keyed(key, |bytes| self.handle.contains(bytes))
    }

    /// Gives the key this value.
    pub fn set<Q: KeyRef + ?Sized>(&self, key: &Q, value: V)
    where
        K: Borrow<Q>,
    {
        self.insert(key, value);
    }

    /// Gives the key this value; what it had before comes back.
    pub fn insert<Q: KeyRef + ?Sized>(&self, key: &Q, value: V) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.handle.keyed(key, |bytes| self.handle.set(bytes, Some(value)))
    }

    /// Takes the key's value away; it comes back.
    pub fn remove<Q: KeyRef + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if !self.contains(key) {
            return None;
        }
        self.handle.keyed(key, |bytes| self.handle.set(bytes, None))
    }

    /// The place of a key, to be changed in steps. It cannot be kept over an `await`, where others may need the table.
    ///
    /// ```
    /// # use faust_core::table::Table;
    /// let seen: Table<String, Vec<u32>> = Table::in_memory("seen");
    /// seen.entry(&"a".to_owned()).or_default().push(1);
    /// seen.entry(&"a".to_owned()).or_default().push(2);
    /// assert_eq!(seen.get(&"a".to_owned()), [1, 2]);
    /// ```
    pub fn entry<Q: KeyRef + ?Sized>(&self, key: &Q) -> Entry<'_, K, V>
    where
        K: Borrow<Q>,
    {
        Entry::new(&self.handle, self.handle.encode(key))
    }

    /// Every key and value of this partition, in the order of the encoded keys, as of now.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + use<K, V> {
        self.handle.scan((Bound::Unbounded, Bound::Unbounded))
    }

    /// The keys of this partition, as [`iter`](Self::iter).
    pub fn keys(&self) -> impl Iterator<Item = K> + use<K, V> {
        self.iter().map(|(key, _)| key)
    }

    /// The values of this partition, as [`iter`](Self::iter).
    pub fn values(&self) -> impl Iterator<Item = V> + use<K, V> {
        self.iter().map(|(_, value)| value)
    }

    /// How many keys have a value in this partition. Where the store holds more than memory does, this counts them all.
    pub fn len(&self) -> usize {
        self.handle.count()
    }

    /// Whether no key has a value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes every value of this partition away.
    pub fn clear(&self) {
        for (key, _) in self.iter() {
            self.remove(&key);
        }
    }

    /// Takes away what `keep` is false for.
    pub fn retain(&self, keep: impl Fn(&K, &V) -> bool) {
        for (key, value) in self.iter() {
            if !keep(&key, &value) {
                self.remove(&key);
            }
        }
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        self.handle.name()
    }
}

impl<K: Data, V: TableValue + Default> Table<K, V> {
    /// A copy of the value of a key, or the default: `V::default()`, or what `#[table(default = ..)]` says.
    pub fn get<Q: KeyRef + ?Sized>(&self, key: &Q) -> V
    where
        K: Borrow<Q>,
    {
        self.find(key).unwrap_or_else(|| self.handle.default())
    }

    /// Changes the value of a key in place, beginning with the default; gives back what the closure does.
    pub fn update<Q: KeyRef + ?Sized, R>(&self, key: &Q, change: impl FnOnce(&mut V) -> R) -> R
    where
        K: Borrow<Q>,
    {
        let taken = self.handle.keyed(key, |bytes| self.handle.take_out(bytes));
        change(&mut ValueMut::new(&self.handle, taken, || self.handle.default()))
    }
}

impl<K: OrderedKey, V: TableValue> Table<K, V> {
    /// The entries whose keys lie in a range, in order of the keys.
    ///
    /// Of text and bytes, only that range is read from the store; of other keys, all of the partition.
    ///
    /// ```
    /// # use faust_core::table::Table;
    /// let stock: Table<i64, u32> = Table::in_memory("stock");
    /// for n in [5, 20, 100] { stock.set(&n, 1) }
    /// let found: Vec<_> = stock.range(6..=100).map(|(key, _)| key).collect();
    /// assert_eq!(found, [20, 100]);
    /// ```
    pub fn range<R: RangeBounds<K>>(&self, range: R) -> impl Iterator<Item = (K, V)> + use<K, V, R> {
        let encode = |bound: Bound<&K>| match bound {
            Bound::Included(key) => Bound::Included(self.handle.encode(key)),
            Bound::Excluded(key) => Bound::Excluded(self.handle.encode(key)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let bounds = if K::is_ordered_as_bytes() && self.handle.keys_are_raw() {
            (encode(range.start_bound()), encode(range.end_bound()))
        } else {
            (Bound::Unbounded, Bound::Unbounded)
        };
        let found = self.handle.scan((bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice)));
        let found: BTreeMap<K, V> = found.filter(|(key, _)| range.contains(key)).collect();
        found.into_iter()
    }
}

/// A key whose order is meaningful: text, bytes, integers, and tuples and records of these.
pub trait OrderedKey: Data + Ord {
    /// Whether its plain bytes have the same order.
    #[doc(hidden)]
    fn is_ordered_as_bytes() -> bool {
        use std::any::TypeId;
        let own = TypeId::of::<Self>();
        own == TypeId::of::<String>() || own == TypeId::of::<Vec<u8>>() || own == TypeId::of::<bytes::Bytes>()
    }
}

impl<K: Data + Ord> OrderedKey for K {}

impl<K: Data, V: TableValue> AgentArg for Table<K, V> {
    fn arg(cx: &mut AgentCx<'_>, spec: &'static ArgSpec) -> Result<Self, Error> {
        TableHandle::arg(cx, spec).map(|handle| Self { handle })
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone() }
    }
}

impl<K, V> std::fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({})", self.handle.name())
    }
}
