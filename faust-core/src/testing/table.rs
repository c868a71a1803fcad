//! Test access to an app's tables, across all workers of a driver.

use std::borrow::Borrow;

use super::driver::TestDriver;
use crate::codec::{Data, KeyRef};
use crate::error::Error;
use crate::table_state::TableValue;
use crate::time::Timestamp;
use crate::window::Window;
use crate::worker::{TableView, WindowedView};

impl TestDriver {
    /// Returns a table of the app, for reading and writing in a test. Writes are included in the next commit.
    ///
    /// # Errors
    /// Returns an error if the table does not exist, has keys or values of other types, or has windows.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.start_worker()?;
    /// driver.send("words", &"a".to_owned(), &"apple".to_owned())?;
    /// driver.run_until_idle();
    /// assert_eq!(driver.table::<String, u64>("counts")?.find("a"), Some(1));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn table<K: Data, V: TableValue>(&self, name: &str) -> Result<TestTable<K, V>, Error> {
        let views = self.workers.iter().flatten().map(|worker| worker.table(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(TestTable::new(views, self.now()))
    }

    /// Returns a windowed table of the app, like [`table`](Self::table).
    ///
    /// # Errors
    /// Returns an error if the table does not exist, has keys or values of other types, or has no windows.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{App, WindowSpec, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.start_worker()?;
    /// driver.send("words", &"a".to_owned(), &"apple".to_owned())?;
    /// driver.run_until_idle();
    /// let window = WindowSpec::tumbling(Duration::from_secs(60))?.current(driver.now());
    /// assert_eq!(driver.windowed_table::<String, u64>("per_minute")?.find("a", window), Some(1));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn windowed_table<K: Data, V: TableValue>(&self, name: &str) -> Result<TestWindowedTable<K, V>, Error> {
        let running = self.workers.iter().flatten();
        let views = running.map(|worker| worker.windowed_table(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(TestWindowedTable::new(views, self.now()))
    }
}

/// A table of an app under test, from [`TestDriver::table`](super::TestDriver::table).
#[derive(Debug)]
pub struct TestTable<K, V> {
    views: Vec<TableView<K, V>>,
    /// Time of writes.
    now: Timestamp,
}

impl<K: Data, V: TableValue> TestTable<K, V> {
    pub(super) fn new(views: Vec<TableView<K, V>>, now: Timestamp) -> Self {
        Self { views, now }
    }

    /// Returns a copy of the key's value, whichever worker has its partition. Returns `None` also while no worker has
    /// it.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.start_worker()?;
    /// let counts = driver.table::<String, u64>("counts")?;
    /// driver.send("words", &"a".to_owned(), &"apple".to_owned())?;
    /// driver.run_until_idle();
    /// assert_eq!((counts.find("a"), counts.find("b")), (Some(1), None));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn find<Q: KeyRef + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.views.iter().find_map(|view| view.find(key).ok().flatten())
    }

    /// Returns every key and value of all workers.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.start_worker()?;
    /// let counts = driver.table::<String, u64>("counts")?;
    /// driver.send("words", &"a".to_owned(), &"apple".to_owned())?;
    /// driver.run_until_idle();
    /// assert_eq!(counts.iter().collect::<Vec<_>>(), [("a".to_owned(), 1)]);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + use<K, V> {
        let all: Vec<_> = self.views.iter().filter_map(|view| view.iter().ok()).flatten().collect();
        all.into_iter()
    }

    /// Returns the number of keys that have a value.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.start_worker()?;
    /// let counts = driver.table::<String, u64>("counts")?;
    /// counts.set("a", 1)?;
    /// counts.set("b", 1)?;
    /// assert_eq!(counts.len(), 2);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns `true` if no key has a value.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.start_worker()?;
    /// let counts = driver.table::<String, u64>("counts")?;
    /// assert!(counts.is_empty());
    /// counts.set("a", 1)?;
    /// assert!(!counts.is_empty());
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets the key's value, as an event would.
    ///
    /// # Errors
    /// Returns an error if no worker has the key's partition.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.start_worker()?;
    /// let counts = driver.table::<String, u64>("counts")?;
    /// counts.set("a", 10)?;
    /// driver.send("words", &"a".to_owned(), &"apple".to_owned())?;
    /// driver.run_until_idle();
    /// assert_eq!(counts.find("a"), Some(11));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn set<Q: KeyRef + ?Sized>(&self, key: &Q, value: V) -> Result<(), Error>
    where
        K: Borrow<Q>,
    {
        self.write(key, &mut Some(value))
    }

    /// Removes the key's value, as an event would.
    ///
    /// # Errors
    /// Same as [`set`](Self::set).
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.start_worker()?;
    /// let counts = driver.table::<String, u64>("counts")?;
    /// counts.set("a", 10)?;
    /// counts.remove("a")?;
    /// assert_eq!(counts.find("a"), None);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn remove<Q: KeyRef + ?Sized>(&self, key: &Q) -> Result<(), Error>
    where
        K: Borrow<Q>,
    {
        self.write(key, &mut None)
    }

    fn write<Q: KeyRef + ?Sized>(&self, key: &Q, value: &mut Option<V>) -> Result<(), Error>
    where
        K: Borrow<Q>,
    {
        let write =
            |view: &TableView<K, V>| view.source.part(key)?.set(&view.source.encode(key)?, value.take(), self.now);
        first(self.views.iter().map(write))
    }
}

/// A windowed table of an app under test, from [`TestDriver::windowed_table`](super::TestDriver::windowed_table).
#[derive(Debug)]
pub struct TestWindowedTable<K, V> {
    views: Vec<WindowedView<K, V>>,
    /// Time of writes.
    now: Timestamp,
}

impl<K: Data, V: TableValue> TestWindowedTable<K, V> {
    pub(super) fn new(views: Vec<WindowedView<K, V>>, now: Timestamp) -> Self {
        Self { views, now }
    }

    /// Returns a copy of the key's value in a window, whichever worker has its partition. Returns `None` also while no
    /// worker has it.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{App, WindowSpec, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.start_worker()?;
    /// let window = WindowSpec::tumbling(Duration::from_secs(60))?.current(driver.now());
    /// let per_minute = driver.windowed_table::<String, u64>("per_minute")?;
    /// driver.send("words", &"a".to_owned(), &"apple".to_owned())?;
    /// driver.run_until_idle();
    /// assert_eq!((per_minute.find("a", window), per_minute.find("b", window)), (Some(1), None));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn find<Q: KeyRef + ?Sized>(&self, key: &Q, window: Window) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.views.iter().find_map(|view| view.find(key, window).ok().flatten())
    }

    /// Returns every key, window and value of all workers.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{App, WindowSpec, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.start_worker()?;
    /// let window = WindowSpec::tumbling(Duration::from_secs(60))?.current(driver.now());
    /// let per_minute = driver.windowed_table::<String, u64>("per_minute")?;
    /// per_minute.set("a", window, 10)?;
    /// assert_eq!(per_minute.iter().collect::<Vec<_>>(), [("a".to_owned(), window, 10)]);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (K, Window, V)> + use<K, V> {
        let all: Vec<_> = self.views.iter().filter_map(|view| view.iter().ok()).flatten().collect();
        all.into_iter()
    }

    /// Sets the key's value in a window, as an event would; `None` removes it.
    ///
    /// # Errors
    /// Returns an error if no worker has the key's partition.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::{App, WindowSpec, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.start_worker()?;
    /// let window = WindowSpec::tumbling(Duration::from_secs(60))?.current(driver.now());
    /// let per_minute = driver.windowed_table::<String, u64>("per_minute")?;
    /// per_minute.set("a", window, 10)?;
    /// assert_eq!(per_minute.find("a", window), Some(10));
    /// per_minute.set("a", window, None)?;
    /// assert_eq!(per_minute.find("a", window), None);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn set<Q: KeyRef + ?Sized>(&self, key: &Q, window: Window, value: impl Into<Option<V>>) -> Result<(), Error>
    where
        K: Borrow<Q>,
    {
        let mut value = value.into();
        let write = |view: &WindowedView<K, V>| {
            view.source.part(key)?.set(&view.composite(key, window)?, value.take(), self.now)
        };
        first(self.views.iter().map(write))
    }
}

/// Returns success if any worker accepts the write, or the last error.
fn first(tried: impl Iterator<Item = Result<(), Error>>) -> Result<(), Error> {
    let mut refused = Error::Misuse("no worker is running".to_owned());
    for outcome in tried {
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}
