//! Test access to an app's tables, across all workers of a driver.

use std::borrow::Borrow;

use crate::codec::{Data, KeyRef};
use crate::error::Error;
use crate::table_state::TableValue;
use crate::window::Window;
use crate::worker::{TableView, WindowedView};

/// A table of an app under test, from [`TestDriver::table`](super::TestDriver::table).
#[derive(Debug)]
pub struct TestTable<K, V> {
    views: Vec<TableView<K, V>>,
}

impl<K: Data, V: TableValue> TestTable<K, V> {
    pub(super) fn new(views: Vec<TableView<K, V>>) -> Self {
        Self { views }
    }

    /// Returns the value of a key, whichever worker has its partition; also `None` while no worker has it.
    pub fn find<Q: KeyRef + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.views.iter().find_map(|view| view.find(key).ok().flatten())
    }

    /// Returns an iterator over the keys and values of all workers.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + use<K, V> {
        let all: Vec<_> = self.views.iter().filter_map(|view| view.iter().ok()).flatten().collect();
        all.into_iter()
    }

    /// Returns the number of keys that have a value.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns whether no key has a value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets the value of a key, as an agent would.
    ///
    /// # Errors
    /// No worker has the key's partition.
    pub fn set<Q: KeyRef + ?Sized>(&self, key: &Q, value: V) -> Result<(), Error>
    where
        K: Borrow<Q>,
    {
        self.write(key, &mut Some(value))
    }

    /// Removes the value of a key, as an agent would.
    ///
    /// # Errors
    /// No worker has the key's partition.
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
        first(
            self.views.iter().map(|view| view.source.part(key)?.set(&view.source.encode(key)?, value.take()).map(drop)),
        )
    }
}

/// A windowed table of an app under test, from [`TestDriver::windowed_table`](super::TestDriver::windowed_table).
#[derive(Debug)]
pub struct TestWindowedTable<K, V> {
    views: Vec<WindowedView<K, V>>,
}

impl<K: Data, V: TableValue> TestWindowedTable<K, V> {
    pub(super) fn new(views: Vec<WindowedView<K, V>>) -> Self {
        Self { views }
    }

    /// Returns the value of a key in a window, whichever worker has its partition; also `None` while no worker has it.
    pub fn find<Q: KeyRef + ?Sized>(&self, key: &Q, window: Window) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.views.iter().find_map(|view| view.find(key, window).ok().flatten())
    }

    /// Returns an iterator over the keys, windows and values of all workers.
    pub fn iter(&self) -> impl Iterator<Item = (K, Window, V)> + use<K, V> {
        let all: Vec<_> = self.views.iter().filter_map(|view| view.iter().ok()).flatten().collect();
        all.into_iter()
    }

    /// Sets the value of a key in a window, as an agent would; `None` removes it.
    ///
    /// # Errors
    /// No worker has the key's partition.
    pub fn set<Q: KeyRef + ?Sized>(&self, key: &Q, window: Window, value: impl Into<Option<V>>) -> Result<(), Error>
    where
        K: Borrow<Q>,
    {
        let mut value = value.into();
        first(
            self.views
                .iter()
                .map(|view| view.source.part(key)?.set(&view.composite(key, window)?, value.take()).map(drop)),
        )
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
