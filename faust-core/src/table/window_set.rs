//! Reads of one key of a windowed table, by window.

use std::fmt;
use std::time::Duration;

use super::windowed_handle::WindowedHandle;
use crate::codec::Data;
use crate::declare::RelativeTo;
use crate::error::Error;
use crate::table_state::TableValue;
use crate::time::Timestamp;
use crate::window::Window;
use crate::window::key::store_key;

/// A key's values by window, from [`WindowedTable::get`](crate::table::WindowedTable::get).
///
/// Each read also exists as `find_..`, which returns `None` if there is no value, regardless of the default.
pub struct WindowSet<'a, K, V> {
    pub(super) table: &'a WindowedHandle<K, V>,
    /// `None` for a key that is refused: it has no values.
    pub(super) key: Option<Vec<u8>>,
    /// `None` means the timestamp of the current event.
    pub(super) time: Option<Timestamp>,
    pub(super) value: Option<Timestamp>,
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
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// let event = sums.at_time(Timestamp(14_000));
    /// assert_eq!((event.get("a").current(), event.get("a").find_current()), (3, Some(3)));
    /// assert_eq!((event.get("b").current(), event.get("b").find_current()), (0, None));
    /// # Ok::<(), faust::Error>(())
    /// ```
    find_current, current() => |set| Some(set.table.spec.current(set.event_time()?));
    /// Returns the value in the oldest window that contains the event: with windows of one minute, the last minute so
    /// far.
    ///
    /// `find_earliest` returns `None` if there is no value, `earliest` the default.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(8_000)).set("a", 3);
    /// sums.at_time(Timestamp(12_000)).update("a", |sum| *sum += 4);
    /// let event = sums.at_time(Timestamp(12_000));
    /// assert_eq!((event.get("a").earliest(), event.get("a").current()), (7, 4));
    /// assert_eq!(event.get("b").find_earliest(), None);
    /// # Ok::<(), faust::Error>(())
    /// ```
    find_earliest, earliest() => |set| Some(set.table.spec.earliest(set.event_time()?));
    /// Returns the value in the latest window that contains the current time of the wall clock.
    ///
    /// `find_now` returns `None` if there is no value, `now` the default.
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
    /// assert_eq!((sums.get("a").now(), sums.get("b").now()), (3, 0));
    /// assert_eq!(sums.get("b").find_now(), None);
    /// # Ok::<(), faust::Error>(())
    /// ```
    find_now, now() => |set| Some(set.table.spec.current(set.table.now()));
    /// Returns the value in the latest window that contains the event's timestamp minus `before`.
    ///
    /// `find_delta` returns `None` if there is no value, `delta` the default.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// let event = sums.at_time(Timestamp(75_000));
    /// assert_eq!(event.get("a").delta(Duration::from_secs(60)), 3);
    /// assert_eq!(event.get("a").find_delta(Duration::from_secs(30)), None);
    /// # Ok::<(), faust::Error>(())
    /// ```
    find_delta, delta(before: Duration) => |set| Some(set.table.spec.delta(set.event_time()?, before));
    /// Returns the value in the latest window that contains the time the table is relative to: the event's, the wall
    /// clock's, or that of a field.
    ///
    /// `find_value` returns `None` if there is no value, `value` the default.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// let event = sums.at_time(Timestamp(14_000));
    /// assert_eq!((event.get("a").value(), event.get("b").value()), (3, 0));
    /// assert_eq!(event.get("b").find_value(), None);
    /// # Ok::<(), faust::Error>(())
    /// ```
    find_value, value() => |set| Some(set.table.spec.current(set.relative_time()?));
    /// Returns the value in a given window.
    ///
    /// `find_window` returns `None` if there is no value, `window` the default.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{Timestamp, WindowSpec, WindowedTable};
    ///
    /// let spec = WindowSpec::tumbling(Duration::from_secs(10))?;
    /// let sums: WindowedTable<String, i64> = WindowedTable::in_memory("sums", spec);
    /// sums.at_time(Timestamp(12_000)).set("a", 3);
    /// let (first, second) = (spec.current(Timestamp(12_000)), spec.current(Timestamp(22_000)));
    /// assert_eq!(sums.windows_of("a").find_window(first), Some(3));
    /// assert_eq!((sums.get("a").window(second), sums.get("a").find_window(second)), (0, None));
    /// # Ok::<(), faust::Error>(())
    /// ```
    find_window, window(window: Window) => |_set| Some(window);
}

impl<K: Data, V: TableValue> WindowSet<'_, K, V> {
    fn find_in(&self, window: Window) -> Option<V> {
        self.table.handle.find(&self.composite(window)?)
    }

    /// Returns the key of the value in a window, in the form of the store.
    fn composite(&self, window: Window) -> Option<Vec<u8>> {
        let key = self.key.as_ref()?;
        let mut composite = Vec::with_capacity(key.len() + 8);
        store_key(window.start(), key, &mut composite);
        Some(composite)
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
                        "windowed table `{}` is relative to a field that the current event does not have, or that holds no time; use `value()` where the stream yields that record, or after `at(&event)`",
                        self.table.handle.name()
                    )));
                }
                time
            }
        }
    }
}

/// Shows the value in the current window, which [`current`](WindowSet::current) returns.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use faust::{Timestamp, WindowSpec, WindowedTable};
///
/// let sums: WindowedTable<String, i64> =
///     WindowedTable::in_memory("sums", WindowSpec::tumbling(Duration::from_secs(10))?);
/// sums.at_time(Timestamp(12_000)).set("a", 3);
/// let shown = format!("{:?}", sums.at_time(Timestamp(14_000)).get("a"));
/// assert_eq!(shown, r#"WindowSet { table: "sums", window: [1970-01-01T00:00:10.000Z, +10s), current: Some(3) }"#);
/// # Ok::<(), faust::Error>(())
/// ```
impl<K: Data, V: TableValue + fmt::Debug> fmt::Debug for WindowSet<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("WindowSet");
        shown.field("table", &self.table.handle.name());
        // Without an event there is no current window. Showing that must not fail the agent, as reading would.
        match self.time.or_else(|| self.table.event_time_if_known()) {
            Some(time) => {
                let window = self.table.spec.current(time);
                let current = self.composite(window).and_then(|key| self.table.handle.peek(&key));
                shown.field("window", &format_args!("{window}")).field("current", &current)
            }
            None => shown.field("current", &format_args!("unknown, because several events are open, or none")),
        };
        shown.finish()
    }
}
