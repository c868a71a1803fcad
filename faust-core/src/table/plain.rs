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

/// State by key, limited to the keys of this agent's partition.
///
/// An agent takes it as an argument, `counts: Table<String, u64>`; the table is named after the argument. All agents of
/// a partition that name the same table share it. Writes are committed together with the events in which they were
/// made, and are sent to the topic `<app>-<table>-changelog`, from which another worker restores the table.
///
/// All methods are synchronous. Writes are allowed only within an event, between `next()` and the following `next()`;
/// reads are allowed anywhere after the first `next()`. An error (a store that cannot be read, a value that its codec
/// rejects) fails the agent, as an error returned by the agent would.
///
/// A key is passed by reference, in any borrowed form of its type: `"a"` for `String`, `&bytes[..]` for `Vec<u8>`.
///
/// # Examples
/// ```
/// use faust::Table;
///
/// let counts: Table<String, u64> = Table::in_memory("counts");
/// counts.update("a", |count| *count += 1);
/// counts.update("a", |count| *count += 1);
/// assert_eq!(counts.get("a"), 2);
/// assert_eq!((counts.get("b"), counts.len()), (0, 1), "reading writes nothing");
/// ```
pub struct Table<K, V> {
    handle: TableHandle<K, V>,
}

impl<K: Data, V: TableValue> Table<K, V> {
    /// Creates a table without a changelog or a store, for calling an agent's function in a unit test.
    ///
    /// # Panics
    /// Panics if a type has no codec.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let counts: Table<String, u64> = Table::in_memory("counts");
    /// counts.set("a", 3);
    /// assert_eq!(counts.get("a"), 3);
    /// ```
    pub fn in_memory(name: &str) -> Self {
        Self { handle: TableHandle::detached(&TableDecl::new(), name) }
    }

    /// Returns a copy of the key's value, or `None` if there is none, regardless of the default.
    ///
    /// This is what std's maps call `get`. The name is the one deliberate departure from them: here, [`get`](Self::get)
    /// returns the default for a missing key, as Faust's `table[key]` does.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let prices: Table<String, u64> = Table::in_memory("prices");
    /// prices.set("tea", 0);
    /// assert_eq!(prices.find("tea"), Some(0));
    /// assert_eq!(prices.find("milk"), None);
    /// assert_eq!(prices.get("milk"), 0);
    /// ```
    pub fn find<Q: KeyRef + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.handle.keyed(key, |bytes| self.handle.find(bytes?))
    }

    /// Passes a reference to the key's value to `look`, without copying the value. The closure may use the table,
    /// except for this key.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let names: Table<u64, String> = Table::in_memory("names");
    /// names.set(&7, "Ada".to_owned());
    /// let length = names.with(&7, |name| name.map_or(0, String::len));
    /// assert_eq!(length, 3);
    /// ```
    pub fn with<Q: KeyRef + ?Sized, R>(&self, key: &Q, look: impl FnOnce(Option<&V>) -> R) -> R
    where
        K: Borrow<Q>,
    {
        self.handle.keyed(key, |bytes| self.handle.with(bytes, look))
    }

    /// Returns `true` if the key has a value.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let seen: Table<Vec<u8>, bool> = Table::in_memory("seen");
    /// let packet = [1, 2, 3, 4];
    /// seen.set(&packet[..2], true);
    /// assert!(seen.contains(&packet[..2]));
    /// assert!(!seen.contains(&packet[2..]));
    /// ```
    pub fn contains<Q: KeyRef + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.handle.keyed(key, |bytes| bytes.is_some_and(|bytes| self.handle.contains(bytes)))
    }

    /// Sets the key's value.
    ///
    /// A value that could not be read back from the store fails the agent's event, as in every other change: a NaN in
    /// JSON, for example.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let prices: Table<String, u64> = Table::in_memory("prices");
    /// prices.set("tea", 3);
    /// prices.set("tea", 4);
    /// assert_eq!(prices.find("tea"), Some(4));
    /// ```
    pub fn set<Q: KeyRef + ?Sized>(&self, key: &Q, value: V)
    where
        K: Borrow<Q>,
    {
        self.handle.keyed(key, |bytes| bytes.map(|bytes| self.handle.set(bytes, Some(value))));
    }

    /// Sets the key's value and returns the previous one. A previous value that cannot be decoded is replaced all the
    /// same, which is logged, and `None` is returned.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let prices: Table<String, u64> = Table::in_memory("prices");
    /// assert_eq!(prices.insert("tea", 3), None);
    /// assert_eq!(prices.insert("tea", 4), Some(3));
    /// ```
    pub fn insert<Q: KeyRef + ?Sized>(&self, key: &Q, value: V) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.handle.keyed(key, |bytes| self.handle.swap(bytes?, Some(value)))
    }

    /// Removes the key's value and returns it. A value that cannot be decoded is removed all the same, which is logged,
    /// and `None` is returned.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let prices: Table<String, u64> = Table::in_memory("prices");
    /// prices.set("tea", 3);
    /// assert_eq!(prices.remove("tea"), Some(3));
    /// assert_eq!(prices.remove("tea"), None);
    /// ```
    pub fn remove<Q: KeyRef + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if !self.contains(key) {
            return None;
        }
        self.handle.keyed(key, |bytes| self.handle.swap(bytes?, None))
    }

    /// Returns the entry of a key, for changes in several steps. It cannot be held across an `await`, during which
    /// others may need the table.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let seen: Table<String, Vec<u32>> = Table::in_memory("seen");
    /// seen.entry("a").or_default().push(1);
    /// seen.entry("a").and_modify(|list| list.push(2)).or_default();
    /// assert_eq!(seen.get("a"), [1, 2]);
    /// ```
    pub fn entry<Q: KeyRef + ?Sized>(&self, key: &Q) -> Entry<'_, K, V>
    where
        K: Borrow<Q>,
    {
        Entry::new(&self.handle, self.handle.encode(key))
    }

    /// Returns every key and value of this partition at the time of the call, in the order of the encoded keys.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let prices: Table<String, u64> = Table::in_memory("prices");
    /// prices.set("tea", 3);
    /// prices.set("milk", 2);
    /// let all: Vec<_> = prices.iter().collect();
    /// assert_eq!(all, [("milk".to_owned(), 2), ("tea".to_owned(), 3)]);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + use<K, V> {
        self.handle.scan((Bound::Unbounded, Bound::Unbounded))
    }

    /// Returns the keys of this partition, like [`iter`](Self::iter).
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let prices: Table<String, u64> = Table::in_memory("prices");
    /// prices.set("tea", 3);
    /// prices.set("milk", 2);
    /// assert_eq!(prices.keys().collect::<Vec<_>>(), ["milk", "tea"]);
    /// ```
    pub fn keys(&self) -> impl Iterator<Item = K> + use<K, V> {
        let keys = self.handle.encoded_keys();
        let decoded: Vec<_> = keys.iter().filter_map(|key| self.handle.decode_key(key)).collect();
        decoded.into_iter()
    }

    /// Returns the values of this partition, like [`iter`](Self::iter).
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let prices: Table<String, u64> = Table::in_memory("prices");
    /// prices.set("tea", 3);
    /// prices.set("milk", 2);
    /// assert_eq!(prices.values().sum::<u64>(), 5);
    /// ```
    pub fn values(&self) -> impl Iterator<Item = V> + use<K, V> {
        self.iter().map(|(_, value)| value)
    }

    /// Returns the number of keys that have a value in this partition. If the store holds more entries than memory
    /// does, all of them are counted one by one.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let prices: Table<String, u64> = Table::in_memory("prices");
    /// prices.set("tea", 3);
    /// prices.set("milk", 2);
    /// assert_eq!(prices.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.handle.count()
    }

    /// Returns `true` if no key has a value.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let prices: Table<String, u64> = Table::in_memory("prices");
    /// assert!(prices.is_empty());
    /// prices.set("tea", 3);
    /// assert!(!prices.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all values of this partition.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let prices: Table<String, u64> = Table::in_memory("prices");
    /// prices.set("tea", 3);
    /// prices.clear();
    /// assert_eq!((prices.find("tea"), prices.len()), (None, 0));
    /// ```
    pub fn clear(&self) {
        for key in self.handle.encoded_keys() {
            self.handle.set(&key, None);
        }
    }

    /// Removes the values for which `keep` returns `false`.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let prices: Table<String, u64> = Table::in_memory("prices");
    /// prices.set("tea", 3);
    /// prices.set("milk", 2);
    /// prices.retain(|_, price| *price > 2);
    /// assert_eq!(prices.keys().collect::<Vec<_>>(), ["tea"]);
    /// ```
    pub fn retain(&self, keep: impl Fn(&K, &V) -> bool) {
        for (key, value) in self.iter() {
            if !keep(&key, &value) {
                self.remove(&key);
            }
        }
    }

    /// Returns the table's name.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let prices: Table<String, u64> = Table::in_memory("prices");
    /// assert_eq!(prices.name(), "prices");
    /// ```
    pub fn name(&self) -> &str {
        self.handle.name()
    }
}

impl<K: Data, V: TableValue + Default> Table<K, V> {
    /// Returns a copy of the key's value, or the default: `V::default()`, or the value of `#[table(default = ..)]`.
    ///
    /// A missing key reads as the default, as Faust's `table[key]` does; reading does not insert it. This is the one
    /// deliberate departure from std's maps, whose `get` returns an `Option`: here, [`find`](Self::find) does.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let counts: Table<String, u64> = Table::in_memory("counts");
    /// counts.set("a", 3);
    /// assert_eq!(counts.get("a"), 3);
    /// assert_eq!(counts.get("b"), 0);
    /// assert_eq!(counts.find("b"), None);
    /// ```
    pub fn get<Q: KeyRef + ?Sized>(&self, key: &Q) -> V
    where
        K: Borrow<Q>,
    {
        self.find(key).unwrap_or_else(|| self.handle.default())
    }

    /// Changes the key's value in place, starting from the default if there is none, and returns the closure's result.
    ///
    /// The closure stores by assignment, `|count| *count += 1`: a value that it returns, as in `|count| *count + 1`, is only
    /// passed on. In an agent or a hook, a statement with such a closure does not compile.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let counts: Table<String, u64> = Table::in_memory("counts");
    /// counts.update("a", |count| *count += 2);
    /// let count = counts.update("a", |count| {
    ///     *count += 1;
    ///     *count
    /// });
    /// assert_eq!((count, counts.get("a")), (3, 3));
    /// ```
    pub fn update<Q: KeyRef + ?Sized, R>(&self, key: &Q, change: impl FnOnce(&mut V) -> R) -> R
    where
        K: Borrow<Q>,
    {
        let taken = self.handle.keyed(key, |bytes| self.handle.take_out(bytes?));
        change(&mut ValueMut::new(&self.handle, taken, || self.handle.default()))
    }
}

impl<K: OrderedKey, V: TableValue> Table<K, V> {
    /// Returns the entries whose keys lie in `range`, in the order of the keys.
    ///
    /// For text and bytes, only that range is read from the store; for other keys, the whole partition.
    ///
    /// # Examples
    /// ```
    /// use faust::Table;
    ///
    /// let stock: Table<i64, u32> = Table::in_memory("stock");
    /// for n in [5, 20, 100] { stock.set(&n, 1) }
    /// let found: Vec<_> = stock.range(6..=100).map(|(key, _)| key).collect();
    /// assert_eq!(found, [20, 100]);
    /// ```
    pub fn range<R: RangeBounds<K>>(&self, range: R) -> impl Iterator<Item = (K, V)> + use<K, V, R> {
        // `None` is a bound that is refused.
        let encode = |bound: Bound<&K>| match bound {
            Bound::Included(key) => self.handle.encode(key).map(Bound::Included),
            Bound::Excluded(key) => self.handle.encode(key).map(Bound::Excluded),
            Bound::Unbounded => Some(Bound::Unbounded),
        };
        let bounds = if K::is_ordered_as_bytes() && self.handle.keys_are_raw() {
            encode(range.start_bound()).zip(encode(range.end_bound()))
        } else {
            Some((Bound::Unbounded, Bound::Unbounded))
        };
        let found = bounds
            .map(|(from, to)| self.handle.scan((from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice))));
        let found = found.into_iter().flatten();
        let found: BTreeMap<K, V> = found.filter(|(key, _)| range.contains(key)).collect();
        found.into_iter()
    }
}

/// A key with a meaningful order: text, bytes, integers, and tuples and records of these.
pub trait OrderedKey: Data + Ord {
    /// Returns `true` if the plain bytes of the key have the same order.
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
