//! Windowed tables: values by key and window.

use std::any::Any;
use std::borrow::Borrow;
use std::ops::Bound;
use std::time::Duration;

use super::entry::ValueMut;
use super::handle::TableHandle;
use crate::codec::{Data, KeyRef};
use crate::declare::{ArgSpec, RelativeTo, TableDecl, WindowDecl};
use crate::error::Error;
use crate::offsets::Position;
use crate::stage::{AgentArg, AgentCx};
use crate::stream::Event;
use crate::table_state::{AnyTablePartition, ExpireWindows, TableValue};
use crate::time::Timestamp;
use crate::window::key::{split_store_key, store_key};
use crate::window::{Window, WindowSpec};

/// Values by key and window: `#[table(window = tumbling("10s"))] sums: WindowedTable<String, i64>`.
///
/// An update applies to every window that contains the timestamp of the stream's current event; for batches,
/// [`at`](Self::at) selects the event. A window is dropped once stream time has passed its end by `expires`; later
/// events for it are counted and passed to `#[window_late]`, but change nothing.
pub struct WindowedTable<K, V> {
    handle: TableHandle<K, V>,
    spec: WindowSpec,
    relative_to: RelativeTo,
}

impl<K: Data, V: TableValue> WindowedTable<K, V> {
    /// Creates a table without a changelog or a store, for calling an agent's function in a unit test. The current time
    /// is used as the event's timestamp; [`at_time`](Self::at_time) overrides it.
    ///
    /// # Panics
    /// Panics if a type has no codec or the windows are invalid.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// assert_eq!(sums.at_time(Timestamp(19_999)).get("a").current(), 3);
    /// assert_eq!(sums.at_time(Timestamp(20_000)).get("a").current(), 0);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn in_memory(name: &str, spec: WindowSpec) -> Self {
        let decl = TableDecl { window: Some(WindowDecl::of(spec)), ..TableDecl::new() };
        Self { handle: TableHandle::detached(&decl, name), spec, relative_to: RelativeTo::Stream }
    }

    /// Sets the key's value in every window that contains the event.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, window::WindowSpec};
    /// # use std::time::Duration;
    /// # // Windows so long that the example does not cross the end of one.
    /// # let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.set("a", 3);
    /// assert_eq!(sums.get("a").current(), 3);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn set<Q: KeyRef + ?Sized>(&self, key: &Q, value: V)
    where
        K: Borrow<Q>,
    {
        self.here().set(key, value);
    }

    /// Removes the key's value from every window that contains the event.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, window::WindowSpec};
    /// # use std::time::Duration;
    /// # // Windows so long that the example does not cross the end of one.
    /// # let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.set("a", 3);
    /// sums.remove("a");
    /// assert_eq!(sums.get("a").find_current(), None);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn remove<Q: KeyRef + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.here().remove(key);
    }

    /// Returns `true` if the key has a value in the latest window that contains the event.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, window::WindowSpec};
    /// # use std::time::Duration;
    /// # // Windows so long that the example does not cross the end of one.
    /// # let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.set("a", 3);
    /// assert!(sums.contains("a"));
    /// assert!(!sums.contains("b"));
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn contains<Q: KeyRef + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.windows_of(key).find_current().is_some()
    }

    /// Returns the key's values by window, to select one from.
    ///
    /// Unlike [`get`](Self::get), the method does not require that the value type has a default.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, window::WindowSpec};
    /// # use std::time::Duration;
    /// # // Windows so long that the example does not cross the end of one.
    /// # let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.set("a", 3);
    /// assert_eq!(sums.windows_of("a").find_current(), Some(3));
    /// assert_eq!(sums.windows_of("b").find_current(), None);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn windows_of<Q: KeyRef + ?Sized>(&self, key: &Q) -> WindowSet<'_, K, V>
    where
        K: Borrow<Q>,
    {
        WindowSet { table: self, key: self.handle.encode(key), time: None, value: None }
    }

    /// Returns the table as of a given event, such as one of a batch.
    ///
    /// # Examples
    /// ```
    /// # faust_core::stream::doc_test(async {
    /// # use faust_core::{stream::Stream, table::WindowedTable, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let counts: WindowedTable<String, u64> = WindowedTable::in_memory("counts", spec);
    /// let mut batches = Stream::from_iter(["a", "b"]).take(100, Duration::from_secs(1));
    /// while let Some(batch) = batches.next_events().await {
    ///     for event in &batch {
    ///         counts.at(event).update(*event.value(), |count| *count += 1);
    ///     }
    /// }
    /// let counted = |key| counts.history(key).map(|(_, count)| count).collect::<Vec<_>>();
    /// assert_eq!((counted("a"), counted("b")), (vec![1], vec![1]));
    /// # Ok::<(), faust_core::error::Error>(())
    /// # })?;
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn at<W: 'static, E>(&self, event: &Event<W, E>) -> WindowedAt<'_, K, V> {
        let value = match self.relative_to {
            RelativeTo::Field(field) => field(event.value() as &dyn Any),
            RelativeTo::Stream | RelativeTo::Now => None,
        };
        let place = Some(event.at());
        WindowedAt { table: self, time: Some(event.timestamp()), value, place }
    }

    /// Returns the table as of a given time.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).update("a", |sum| *sum += 3);
    /// sums.at_time(Timestamp(25_000)).update("a", |sum| *sum += 4);
    /// assert_eq!(sums.at_time(Timestamp(10_000)).get("a").current(), 3);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn at_time(&self, time: Timestamp) -> WindowedAt<'_, K, V> {
        WindowedAt { table: self, time: Some(time), value: None, place: None }
    }

    /// Returns the key's windows and their values, oldest first.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// sums.at_time(Timestamp(25_000)).set("a", 4);
    /// let history: Vec<_> = sums.history("a").map(|(window, sum)| (window.start(), sum)).collect();
    /// assert_eq!(history, [(Timestamp(10_000), 3), (Timestamp(20_000), 4)]);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn history<Q: KeyRef + ?Sized>(&self, key: &Q) -> impl Iterator<Item = (Window, V)> + use<K, V, Q>
    where
        K: Borrow<Q>,
    {
        let encoded = self.handle.encode(key);
        let spec = self.spec;
        let is_its = |composite: &[u8]| split_store_key(composite).is_some_and(|(_, key)| key == encoded);
        let found = self.handle.scan_for(&is_its).into_iter();
        found.filter_map(move |(composite, value)| Some((spec.window_at(split_store_key(&composite)?.0), value)))
    }

    /// Returns all keys that have a value in the window, with their values, in the order of the encoded keys.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// sums.at_time(Timestamp(13_000)).set("b", 4);
    /// sums.at_time(Timestamp(25_000)).set("b", 5);
    /// let found: Vec<_> = sums.in_window(spec.current(Timestamp(12_000))).collect();
    /// assert_eq!(found, [("a".to_owned(), 3), ("b".to_owned(), 4)]);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn in_window(&self, window: Window) -> impl Iterator<Item = (K, V)> + use<K, V> {
        let prefix = |start: i64| {
            let mut key = Vec::with_capacity(8);
            store_key(Timestamp(start), &[], &mut key);
            key
        };
        let (low, high) = (prefix(window.start().0), prefix(window.start().0.saturating_add(1)));
        let found = self.handle.scan_bytes((Bound::Included(&low), Bound::Excluded(&high)));
        let keyed = found.into_iter().filter_map(|(composite, value)| {
            let (_, key) = split_store_key(&composite)?;
            Some((self.handle.decode_key(key)?, value))
        });
        keyed.collect::<Vec<_>>().into_iter()
    }

    /// Returns every key, window and value of this partition, oldest windows first.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(25_000)).set("a", 4);
    /// sums.at_time(Timestamp(12_000)).set("b", 3);
    /// let all: Vec<_> = sums.iter().map(|(key, window, sum)| (key, window.start().0, sum)).collect();
    /// assert_eq!(all, [("b".to_owned(), 10_000, 3), ("a".to_owned(), 20_000, 4)]);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (K, Window, V)> + use<K, V> {
        let found = self.handle.scan_bytes((Bound::Unbounded, Bound::Unbounded)).into_iter();
        let all = found.filter_map(|(composite, value)| {
            let (start, key) = split_store_key(&composite)?;
            Some((self.handle.decode_key(key)?, self.spec.window_at(start), value))
        });
        all.collect::<Vec<_>>().into_iter()
    }

    /// Returns the number of values in all windows of this partition.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// sums.at_time(Timestamp(25_000)).set("a", 4);
    /// assert_eq!(sums.len(), 2);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.handle.count()
    }

    /// Returns `true` if there are no values.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// assert!(sums.is_empty());
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// assert!(!sums.is_empty());
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the specification of the table's windows.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// assert_eq!(sums.spec().size(), Duration::from_secs(10));
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn spec(&self) -> WindowSpec {
        self.spec
    }

    /// Returns the table's name.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// assert_eq!(sums.name(), "sums");
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        self.handle.name()
    }

    fn here(&self) -> WindowedAt<'_, K, V> {
        WindowedAt { table: self, time: None, value: None, place: None }
    }

    /// Returns the time of the wall clock, or of the test driver's clock.
    fn now(&self) -> Timestamp {
        self.handle.stage().map_or_else(Timestamp::now, |stage| stage.clock.now())
    }

    /// Returns the timestamp of the current event. Fails the agent if there is none, or if there are several.
    fn event_time(&self) -> Option<Timestamp> {
        let Some(stage) = self.handle.stage() else { return Some(self.now()) };
        let time = stage.cursor.event_time();
        if time.is_none() {
            self.handle.fail(Error::Misuse(format!(
                "windowed table `{}` is used where it is not clear which event is meant; in a batch, or outside of an event, write `{0}.at(&event)` or `{0}.at_time(time)`",
                self.handle.name()
            )));
        }
        time
    }
}

impl<K: Data, V: TableValue + Default> WindowedTable<K, V> {
    /// Returns the key's values by window, to select one from: `sums.get(&key).current()`.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, window::WindowSpec};
    /// # use std::time::Duration;
    /// # // Windows so long that the example does not cross the end of one.
    /// # let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.set("a", 3);
    /// assert_eq!(sums.get("a").current(), 3);
    /// assert_eq!(sums.get("b").current(), 0);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn get<Q: KeyRef + ?Sized>(&self, key: &Q) -> WindowSet<'_, K, V>
    where
        K: Borrow<Q>,
    {
        self.windows_of(key)
    }

    /// Changes the key's value in place in every window that contains the event, starting from the default.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, window::WindowSpec};
    /// # use std::time::Duration;
    /// # // Windows so long that the example does not cross the end of one.
    /// # let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.update("a", |sum| *sum += 3);
    /// sums.update("a", |sum| *sum += 4);
    /// assert_eq!(sums.get("a").current(), 7);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn update<Q: KeyRef + ?Sized>(&self, key: &Q, change: impl FnMut(&mut V))
    where
        K: Borrow<Q>,
    {
        self.here().update(key, change);
    }
}

/// A windowed table as of a given time, from [`WindowedTable::at`].
pub struct WindowedAt<'a, K, V> {
    table: &'a WindowedTable<K, V>,
    /// `None` means the timestamp of the current event.
    time: Option<Timestamp>,
    /// Timestamp in the field that the table is relative to.
    value: Option<Timestamp>,
    place: Option<Position>,
}

impl<'a, K: Data, V: TableValue> WindowedAt<'a, K, V> {
    /// Sets the key's value in every window that contains the time.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// let starts: Vec<_> = sums.history("a").map(|(window, sum)| (window.start().0, sum)).collect();
    /// assert_eq!(starts, [(5_000, 3), (10_000, 3)]);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn set<Q: KeyRef + ?Sized>(&self, key: &Q, value: V)
    where
        K: Borrow<Q>,
    {
        self.each_window(key, |handle, composite| drop(handle.set(composite, Some(value.clone()))));
    }

    /// Removes the key's value from every window that contains the time.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// sums.at_time(Timestamp(17_000)).remove("a");
    /// let starts: Vec<_> = sums.history("a").map(|(window, _)| window.start().0).collect();
    /// assert_eq!(starts, [5_000]);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn remove<Q: KeyRef + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.each_window(key, |handle, composite| {
            if handle.contains(composite) {
                handle.set(composite, None);
            }
        });
    }

    /// Returns the key's values by window, to select one from.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// assert_eq!(sums.at_time(Timestamp(14_000)).get("a").current(), 3);
    /// assert_eq!(sums.at_time(Timestamp(24_000)).get("a").find_current(), None);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn get<Q: KeyRef + ?Sized>(&self, key: &Q) -> WindowSet<'a, K, V>
    where
        K: Borrow<Q>,
    {
        WindowSet { table: self.table, key: self.table.handle.encode(key), time: self.time, value: self.value }
    }

    /// Changes the key's value in place in every window that contains the time, starting from the default.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).update("a", |sum| *sum += 3);
    /// sums.at_time(Timestamp(17_000)).update("a", |sum| *sum += 4);
    /// let found: Vec<_> = sums.history("a").map(|(window, sum)| (window.start().0, sum)).collect();
    /// assert_eq!(found, [(5_000, 3), (10_000, 7), (15_000, 4)]);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    pub fn update<Q: KeyRef + ?Sized>(&self, key: &Q, mut change: impl FnMut(&mut V))
    where
        K: Borrow<Q>,
        V: Default,
    {
        self.each_window(key, |handle, composite| {
            change(&mut ValueMut::new(handle, handle.take_out(composite), || handle.default()));
        });
    }

    fn each_window<Q: KeyRef + ?Sized>(&self, key: &Q, mut each: impl FnMut(&TableHandle<K, V>, &[u8]))
    where
        K: Borrow<Q>,
    {
        let WindowedTable { handle, spec, .. } = self.table;
        let Some(time) = self.time.or_else(|| self.table.event_time()) else { return };
        let stream_time = handle.stage().and_then(|stage| stage.cursor.clock.stream_time());
        let closed_to = handle.partition().and_then(|partition| partition.closed_to());
        handle.keyed(key, |bytes| {
            let mut composite = Vec::with_capacity(bytes.len() + 8);
            for window in spec.containing(time) {
                // The window has expired by the time of this stage's stream, or a stage of another agent that is
                // further ahead has closed it.
                let is_late = |now: &Timestamp| {
                    spec.is_expired(window, *now) || closed_to.is_some_and(|closed_to| window.start() < closed_to)
                };
                if let Some(stream_time) = stream_time.filter(is_late) {
                    self.late(bytes, window, time, stream_time);
                    continue;
                }
                composite.clear();
                store_key(window.start(), bytes, &mut composite);
                each(handle, &composite);
            }
        });
    }

    fn late(&self, key: &[u8], window: Window, time: Timestamp, stream_time: Timestamp) {
        let handle = &self.table.handle;
        if let (Some(stage), Some(partition)) = (handle.stage(), handle.partition()) {
            stage.late(&partition.info().name, key, window, (time, stream_time), self.place);
        }
    }
}

/// A key's values by window, from [`WindowedTable::get`].
///
/// Each read also exists as `find_..`, which returns `None` if there is no value, regardless of the default.
pub struct WindowSet<'a, K, V> {
    table: &'a WindowedTable<K, V>,
    key: Vec<u8>,
    /// `None` means the timestamp of the current event.
    time: Option<Timestamp>,
    value: Option<Timestamp>,
}

macro_rules! reads {
    ($($(#[$doc:meta])* $find:ident, $get:ident($($arg:ident: $ty:ty)?) => |$set:ident| $window:expr;)*) => {
        impl<K: Data, V: TableValue> WindowSet<'_, K, V> {
            $(
                $(#[$doc])*
                pub fn $find(&self $(, $arg: $ty)?) -> Option<V> {
                    let $set = self;
                    let window: Option<Window> = $window;
                    self.find_in(window?)
                }
            )*
        }

        impl<K: Data, V: TableValue + Default> WindowSet<'_, K, V> {
            $(
                $(#[$doc])*
                pub fn $get(&self $(, $arg: $ty)?) -> V {
                    self.$find($($arg)?).unwrap_or_else(|| self.table.handle.default())
                }
            )*
        }
    };
}

reads! {
    /// Returns the value in the latest window that contains the event.
    ///
    /// `find_current` returns `None` if there is no value, `current` the default.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// let event = sums.at_time(Timestamp(14_000));
    /// assert_eq!((event.get("a").current(), event.get("a").find_current()), (3, Some(3)));
    /// assert_eq!((event.get("b").current(), event.get("b").find_current()), (0, None));
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    find_current, current() => |set| Some(set.table.spec.current(set.event_time()?));
    /// Returns the value in the oldest window that contains the event: with windows of one minute, the last minute so
    /// far.
    ///
    /// `find_earliest` returns `None` if there is no value, `earliest` the default.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(8_000)).set("a", 3);
    /// sums.at_time(Timestamp(12_000)).update("a", |sum| *sum += 4);
    /// let event = sums.at_time(Timestamp(12_000));
    /// assert_eq!((event.get("a").earliest(), event.get("a").current()), (7, 4));
    /// assert_eq!(event.get("b").find_earliest(), None);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    find_earliest, earliest() => |set| Some(set.table.spec.earliest(set.event_time()?));
    /// Returns the value in the latest window that contains the current time of the wall clock.
    ///
    /// `find_now` returns `None` if there is no value, `now` the default.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, window::WindowSpec};
    /// # use std::time::Duration;
    /// # // Windows so long that the example does not cross the end of one.
    /// # let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.set("a", 3);
    /// assert_eq!((sums.get("a").now(), sums.get("b").now()), (3, 0));
    /// assert_eq!(sums.get("b").find_now(), None);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    find_now, now() => |set| Some(set.table.spec.current(set.table.now()));
    /// Returns the value in the latest window that contains the event's timestamp minus `before`.
    ///
    /// `find_delta` returns `None` if there is no value, `delta` the default.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// let event = sums.at_time(Timestamp(75_000));
    /// assert_eq!(event.get("a").delta(Duration::from_secs(60)), 3);
    /// assert_eq!(event.get("a").find_delta(Duration::from_secs(30)), None);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    find_delta, delta(before: Duration) => |set| Some(set.table.spec.delta(set.event_time()?, before));
    /// Returns the value in the latest window that contains the time the table is relative to: the event's, the wall
    /// clock's, or that of a field.
    ///
    /// `find_value` returns `None` if there is no value, `value` the default.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// let event = sums.at_time(Timestamp(14_000));
    /// assert_eq!((event.get("a").value(), event.get("b").value()), (3, 0));
    /// assert_eq!(event.get("b").find_value(), None);
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    find_value, value() => |set| Some(set.table.spec.current(set.relative_time()?));
    /// Returns the value in a given window.
    ///
    /// `find_window` returns `None` if there is no value, `window` the default.
    ///
    /// # Examples
    /// ```
    /// # use faust_core::{table::WindowedTable, time::Timestamp, window::WindowSpec};
    /// # use std::time::Duration;
    /// # let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// let (first, second) = (spec.current(Timestamp(12_000)), spec.current(Timestamp(22_000)));
    /// assert_eq!(sums.windows_of("a").find_window(first), Some(3));
    /// assert_eq!((sums.get("a").window(second), sums.get("a").find_window(second)), (0, None));
    /// # Ok::<(), faust_core::error::Error>(())
    /// ```
    find_window, window(window: Window) => |_set| Some(window);
}

impl<K: Data, V: TableValue> WindowSet<'_, K, V> {
    fn find_in(&self, window: Window) -> Option<V> {
        let mut composite = Vec::with_capacity(self.key.len() + 8);
        store_key(window.start(), &self.key, &mut composite);
        self.table.handle.find(&composite)
    }

    fn event_time(&self) -> Option<Timestamp> {
        self.time.or_else(|| self.table.event_time())
    }

    fn relative_time(&self) -> Option<Timestamp> {
        match self.table.relative_to {
            RelativeTo::Stream => self.event_time(),
            RelativeTo::Now => Some(self.table.now()),
            RelativeTo::Field(_) => {
                let field = || self.table.handle.stage()?.tables.field_time(self.table.handle.name());
                let time = self.value.or_else(field);
                if time.is_none() {
                    self.table.handle.fail(Error::Misuse(format!(
                        "windowed table `{}` is relative to a field that the current event does not have; use `value()` where the stream yields that record, or after `at(&event)`",
                        self.table.handle.name()
                    )));
                }
                time
            }
        }
    }
}

impl<K: Data, V: TableValue> AgentArg for WindowedTable<K, V> {
    fn arg(cx: &mut AgentCx<'_>, spec: &'static ArgSpec) -> Result<Self, Error> {
        let decl = spec.table.unwrap_or_default();
        let Some(window) = decl.window else {
            let fault = format!(
                "agent `{}`: windowed table `{}` declares no windows; write `#[table(window = tumbling(\"10s\"))] {1}: ..`",
                cx.agent, spec.name
            );
            return Err(Error::setup(vec![fault]));
        };
        let windows = window
            .spec()
            .map_err(|why| Error::setup(vec![format!("agent `{}`, table `{}`: {why}", cx.agent, spec.name)]))?;
        Ok(Self { handle: TableHandle::arg(cx, spec)?, spec: windows, relative_to: decl.relative_to })
    }
}

impl<K, V> Clone for WindowedTable<K, V> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), spec: self.spec, relative_to: self.relative_to }
    }
}

impl<K, V> std::fmt::Debug for WindowedTable<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WindowedTable({})", self.handle.name())
    }
}

impl<K, V> std::fmt::Debug for WindowedAt<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WindowedAt({}, {:?})", self.table.handle.name(), self.time)
    }
}

impl<K, V> std::fmt::Debug for WindowSet<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WindowSet({}, {:?})", self.table.handle.name(), self.time)
    }
}
