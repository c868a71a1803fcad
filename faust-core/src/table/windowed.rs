//! Windowed tables: values by key and window.

use std::any::Any;
use std::borrow::Borrow;
use std::ops::Bound;

use super::handle::TableHandle;
use super::window_set::WindowSet;
use super::windowed_at::WindowedAt;
use super::windowed_handle::WindowedHandle;
use crate::codec::{Data, KeyRef};
use crate::declare::{ArgSpec, RelativeTo, TableDecl, WindowDecl};
use crate::error::Error;
use crate::stage::{AgentArg, AgentCx};
use crate::stream::Event;
use crate::table_state::TableValue;
use crate::time::Timestamp;
use crate::window::key::{split_store_key, store_key};
use crate::window::{Window, WindowSpec};

/// Values by key and window: `#[table(window = tumbling("10s"))] sums: WindowedTable<String, i64>`.
///
/// An update applies to every window that contains the timestamp of the stream's current event; for batches,
/// [`at`](Self::at) selects the event. A window is dropped once stream time has passed its end by `expires`; later
/// events for it are counted and passed to `#[window_late]`, but change nothing.
pub struct WindowedTable<K, V> {
    inner: WindowedHandle<K, V>,
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
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// assert_eq!(sums.at_time(Timestamp(19_999)).get("a").current(), 3);
    /// assert_eq!(sums.at_time(Timestamp(20_000)).get("a").current(), 0);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn in_memory(name: &str, spec: WindowSpec) -> Self {
        let decl = TableDecl { window: Some(WindowDecl::Of(spec)), ..TableDecl::new() };
        let handle = TableHandle::detached(&decl, name);
        Self { inner: WindowedHandle { handle, spec, relative_to: RelativeTo::Stream } }
    }

    /// Sets the key's value in every window that contains the event.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{WindowSpec, WindowedTable};
    ///
    /// // Windows so long that the example does not cross the end of one.
    /// let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.set("a", 3);
    /// assert_eq!(sums.get("a").current(), 3);
    /// # Ok::<(), faust::Error>(())
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
    /// use std::time::Duration;
    /// use faust::{WindowSpec, WindowedTable};
    ///
    /// // Windows so long that the example does not cross the end of one.
    /// let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.set("a", 3);
    /// sums.remove("a");
    /// assert_eq!(sums.get("a").find_current(), None);
    /// # Ok::<(), faust::Error>(())
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
    /// use std::time::Duration;
    /// use faust::{WindowSpec, WindowedTable};
    ///
    /// // Windows so long that the example does not cross the end of one.
    /// let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.set("a", 3);
    /// assert!(sums.contains("a"));
    /// assert!(!sums.contains("b"));
    /// # Ok::<(), faust::Error>(())
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
    /// use std::time::Duration;
    /// use faust::{WindowSpec, WindowedTable};
    ///
    /// // Windows so long that the example does not cross the end of one.
    /// let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.set("a", 3);
    /// assert_eq!(sums.windows_of("a").find_current(), Some(3));
    /// assert_eq!(sums.windows_of("b").find_current(), None);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn windows_of<Q: KeyRef + ?Sized>(&self, key: &Q) -> WindowSet<'_, K, V>
    where
        K: Borrow<Q>,
    {
        WindowSet { table: &self.inner, key: self.inner.handle.encode(key), time: None, value: None }
    }

    /// Returns the table as of a given event, such as one of a batch.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Stream, WindowSpec, WindowedTable};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> faust::Result<()> {
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let counts: WindowedTable<String, u64> = WindowedTable::in_memory("counts", spec);
    /// let mut batches = Stream::from_iter(["a", "b"]).take(100, Duration::from_secs(1));
    /// while let Some(batch) = batches.next_events().await {
    ///     for event in &batch {
    ///         counts.at(event).update(*event.value(), |count| *count += 1);
    ///     }
    /// }
    /// let counted = |key| counts.history(key).map(|(_, count)| count).collect::<Vec<_>>();
    /// assert_eq!((counted("a"), counted("b")), (vec![1], vec![1]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn at<W: 'static, E>(&self, event: &Event<W, E>) -> WindowedAt<'_, K, V> {
        let value = match self.inner.relative_to {
            RelativeTo::Field(field) => field(event.value() as &dyn Any),
            RelativeTo::Stream | RelativeTo::Now => None,
        };
        let place = Some(event.at());
        WindowedAt { table: &self.inner, time: Some(event.timestamp()), value, place }
    }

    /// Returns the table as of a given time.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).update("a", |sum| *sum += 3);
    /// sums.at_time(Timestamp(25_000)).update("a", |sum| *sum += 4);
    /// assert_eq!(sums.at_time(Timestamp(10_000)).get("a").current(), 3);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn at_time(&self, time: Timestamp) -> WindowedAt<'_, K, V> {
        WindowedAt { table: &self.inner, time: Some(time), value: None, place: None }
    }

    /// Returns the key's windows and their values, oldest first.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// sums.at_time(Timestamp(25_000)).set("a", 4);
    /// let history: Vec<_> = sums.history("a").map(|(window, sum)| (window.start(), sum)).collect();
    /// assert_eq!(history, [(Timestamp(10_000), 3), (Timestamp(20_000), 4)]);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn history<Q: KeyRef + ?Sized>(&self, key: &Q) -> impl Iterator<Item = (Window, V)> + use<K, V, Q>
    where
        K: Borrow<Q>,
    {
        let encoded = self.inner.handle.encode(key);
        let spec = self.inner.spec;
        let found = encoded.map(|encoded| {
            let is_its = |composite: &[u8]| split_store_key(composite).is_some_and(|(_, key)| key == encoded);
            self.inner.handle.scan_for(&is_its)
        });
        found
            .into_iter()
            .flatten()
            .filter_map(move |(composite, value)| Some((spec.window_at(split_store_key(&composite)?.0), value)))
    }

    /// Returns all keys that have a value in the window, with their values, in the order of the encoded keys.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// sums.at_time(Timestamp(13_000)).set("b", 4);
    /// sums.at_time(Timestamp(25_000)).set("b", 5);
    /// let found: Vec<_> = sums.in_window(spec.current(Timestamp(12_000))).collect();
    /// assert_eq!(found, [("a".to_owned(), 3), ("b".to_owned(), 4)]);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn in_window(&self, window: Window) -> impl Iterator<Item = (K, V)> + use<K, V> {
        let prefix = |start: i64| {
            let mut key = Vec::with_capacity(8);
            store_key(Timestamp(start), &[], &mut key);
            key
        };
        let (low, high) = (prefix(window.start().0), prefix(window.start().0.saturating_add(1)));
        let found = self.inner.handle.scan_bytes((Bound::Included(&low), Bound::Excluded(&high)));
        let keyed = found.into_iter().filter_map(|(composite, value)| {
            let (_, key) = split_store_key(&composite)?;
            Some((self.inner.handle.decode_key(key)?, value))
        });
        keyed.collect::<Vec<_>>().into_iter()
    }

    /// Returns every key, window and value of this partition, oldest windows first.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(25_000)).set("a", 4);
    /// sums.at_time(Timestamp(12_000)).set("b", 3);
    /// let all: Vec<_> = sums.iter().map(|(key, window, sum)| (key, window.start().0, sum)).collect();
    /// assert_eq!(all, [("b".to_owned(), 10_000, 3), ("a".to_owned(), 20_000, 4)]);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (K, Window, V)> + use<K, V> {
        let found = self.inner.handle.scan_bytes((Bound::Unbounded, Bound::Unbounded)).into_iter();
        let all = found.filter_map(|(composite, value)| {
            let (start, key) = split_store_key(&composite)?;
            Some((self.inner.handle.decode_key(key)?, self.inner.spec.window_at(start), value))
        });
        all.collect::<Vec<_>>().into_iter()
    }

    /// Returns the number of values in all windows of this partition.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// sums.at_time(Timestamp(25_000)).set("a", 4);
    /// assert_eq!(sums.len(), 2);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.inner.handle.count()
    }

    /// Returns `true` if there are no values.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// assert!(sums.is_empty());
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// assert!(!sums.is_empty());
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the specification of the table's windows.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// assert_eq!(sums.spec().size(), Duration::from_secs(10));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn spec(&self) -> WindowSpec {
        self.inner.spec
    }

    /// Returns the table's name.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// assert_eq!(sums.name(), "sums");
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        self.inner.handle.name()
    }

    fn here(&self) -> WindowedAt<'_, K, V> {
        WindowedAt { table: &self.inner, time: None, value: None, place: None }
    }
}

impl<K: Data, V: TableValue + Default> WindowedTable<K, V> {
    /// Returns the key's values by window, to select one from: `sums.get(&key).current()`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{WindowSpec, WindowedTable};
    ///
    /// // Windows so long that the example does not cross the end of one.
    /// let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.set("a", 3);
    /// assert_eq!(sums.get("a").current(), 3);
    /// assert_eq!(sums.get("b").current(), 0);
    /// # Ok::<(), faust::Error>(())
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
    /// use std::time::Duration;
    /// use faust::{WindowSpec, WindowedTable};
    ///
    /// // Windows so long that the example does not cross the end of one.
    /// let century = WindowSpec::tumbling(Duration::from_secs(100 * 365 * 24 * 3600))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", century);
    /// sums.update("a", |sum| *sum += 3);
    /// sums.update("a", |sum| *sum += 4);
    /// assert_eq!(sums.get("a").current(), 7);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn update<Q: KeyRef + ?Sized>(&self, key: &Q, change: impl FnMut(&mut V))
    where
        K: Borrow<Q>,
    {
        self.here().update(key, change);
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
        let handle = TableHandle::arg(cx, spec)?;
        Ok(Self { inner: WindowedHandle { handle, spec: windows, relative_to: decl.relative_to } })
    }
}

impl<K, V> Clone for WindowedTable<K, V> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<K, V> std::fmt::Debug for WindowedTable<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WindowedTable({})", self.inner.handle.name())
    }
}
