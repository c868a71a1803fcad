//! Reads and updates of a windowed table as of a given time.

use std::borrow::Borrow;

use super::entry::ValueMut;
use super::handle::TableHandle;
use super::window_set::WindowSet;
use super::windowed_handle::WindowedHandle;
use crate::codec::{Data, KeyRef};
use crate::offsets::Position;
use crate::table_state::{AnyTablePartition, ExpireWindows, TableValue};
use crate::time::Timestamp;
use crate::window::Window;
use crate::window::key::store_key;

/// A windowed table as of a given time, from [`WindowedTable::at`](crate::table::WindowedTable::at).
pub struct WindowedAt<'a, K, V> {
    pub(super) table: &'a WindowedHandle<K, V>,
    /// `None` means the timestamp of the current event.
    pub(super) time: Option<Timestamp>,
    /// Timestamp in the field that the table is relative to.
    pub(super) value: Option<Timestamp>,
    pub(super) place: Option<Position>,
}

impl<'a, K: Data, V: TableValue> WindowedAt<'a, K, V> {
    /// Sets the key's value in every window that contains the time.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// let starts: Vec<_> = sums.history("a").map(|(window, sum)| (window.start().0, sum)).collect();
    /// assert_eq!(starts, [(5_000, 3), (10_000, 3)]);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn set<Q: KeyRef + ?Sized>(&self, key: &Q, value: V)
    where
        K: Borrow<Q>,
    {
        self.each_window(key, |handle, composite| handle.set(composite, Some(value.clone())));
    }

    /// Removes the key's value from every window that contains the time.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// sums.at_time(Timestamp(17_000)).remove("a");
    /// let starts: Vec<_> = sums.history("a").map(|(window, _)| window.start().0).collect();
    /// assert_eq!(starts, [5_000]);
    /// # Ok::<(), faust::Error>(())
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
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// assert_eq!(sums.at_time(Timestamp(14_000)).get("a").current(), 3);
    /// assert_eq!(sums.at_time(Timestamp(24_000)).get("a").find_current(), None);
    /// # Ok::<(), faust::Error>(())
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
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).update("a", |sum| *sum += 3);
    /// sums.at_time(Timestamp(17_000)).update("a", |sum| *sum += 4);
    /// let found: Vec<_> = sums.history("a").map(|(window, sum)| (window.start().0, sum)).collect();
    /// assert_eq!(found, [(5_000, 3), (10_000, 7), (15_000, 4)]);
    /// # Ok::<(), faust::Error>(())
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
        let WindowedHandle { handle, spec, .. } = self.table;
        let Some(time) = self.time.or_else(|| self.table.event_time()) else { return };
        let stream_time = handle.stage().and_then(|stage| stage.cursor.clock.stream_time());
        let closed_to = handle.partition().and_then(|partition| partition.closed_to());
        handle.keyed(key, |bytes| {
            let Some(bytes) = bytes else { return };
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
                if let (Some(stage), Some(partition)) = (handle.stage(), handle.partition()) {
                    stage.observe_window(&partition.info().name, (bytes, window), self.place, false);
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

impl<K, V> std::fmt::Debug for WindowedAt<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WindowedAt({}, {:?})", self.table.handle.name(), self.time)
    }
}
