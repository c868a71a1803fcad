//! Views of tables for reading from outside the agents.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;

use crate::codec::{Data, EntryCoder, KeyRef, Role};
use crate::error::Error;
use crate::partitioner::partition_of;
use crate::plan::Plan;
use crate::table_state::{TablePartition, TableValue};
use crate::task::published::PublishedTables;
use crate::window::key::{split_store_key, store_key};
use crate::window::{Window, WindowSpec};

/// A view of a table from outside the agents. It covers the partitions that are on this worker.
///
/// It includes changes that are not committed yet. It is meant for pages, status and tests; an agent takes the table as
/// an argument.
pub struct TableView<K, V> {
    pub(crate) source: ViewSource<K, V>,
}

/// A view of a windowed table from outside the agents, like [`TableView`].
pub struct WindowedView<K, V> {
    pub(crate) source: ViewSource<K, V>,
    spec: WindowSpec,
}

/// The partitions of a table on this worker, with the codec of its keys.
pub(crate) struct ViewSource<K, V> {
    name: Arc<str>,
    key: EntryCoder<K>,
    partitions: i32,
    by_source: bool,
    tables: Arc<PublishedTables>,
    values: PhantomData<fn() -> V>,
}

impl<K: Data, V: TableValue> TableView<K, V> {
    pub(crate) fn open(name: &str, plan: &Plan, tables: &Arc<PublishedTables>) -> Result<Self, Error> {
        let (source, window) = ViewSource::open(name, plan, tables)?;
        match window {
            Some(_) => Err(Error::UnknownTable(format!("table `{name}` has windows; use `windowed_table`"))),
            None => Ok(Self { source }),
        }
    }

    /// Returns a copy of the value of a key; `None` if the key has no value.
    ///
    /// # Errors
    /// Fails if the key's partition is not on this worker, or not restored yet.
    pub fn find<Q: KeyRef + ?Sized>(&self, key: &Q) -> Result<Option<V>, Error>
    where
        K: Borrow<Q>,
    {
        self.source.find(key, &self.source.encode(key)?)
    }

    /// Returns every key and value of the partitions on this worker, partition by partition.
    ///
    /// # Errors
    /// Fails if a store cannot be read, or contains bytes that do not decode as a key or value of the table.
    pub fn iter(&self) -> Result<impl Iterator<Item = (K, V)> + use<K, V>, Error> {
        let decoded = self.source.scan()?.into_iter().map(|(key, value)| Ok((self.source.decode(&key)?, value)));
        Ok(decoded.collect::<Result<Vec<_>, Error>>()?.into_iter())
    }

    /// Returns the numbers of the partitions on this worker.
    pub fn partitions(&self) -> Vec<i32> {
        self.source.tables.numbers(&self.source.name)
    }
}

impl<K: Data, V: TableValue> WindowedView<K, V> {
    pub(crate) fn open(name: &str, plan: &Plan, tables: &Arc<PublishedTables>) -> Result<Self, Error> {
        let (source, window) = ViewSource::open(name, plan, tables)?;
        let none = || Error::UnknownTable(format!("table `{name}` has no windows; use `table`"));
        Ok(Self { source, spec: window.ok_or_else(none)? })
    }

    /// Returns a copy of the value of a key in a window; `None` if the key has no value there.
    ///
    /// # Errors
    /// Fails in the same cases as [`TableView::find`].
    pub fn find<Q: KeyRef + ?Sized>(&self, key: &Q, window: Window) -> Result<Option<V>, Error>
    where
        K: Borrow<Q>,
    {
        self.source.find(key, &self.composite(key, window)?)
    }

    /// Returns every key, window and value of the partitions on this worker, partition by partition, oldest windows
    /// first.
    ///
    /// # Errors
    /// Fails in the same cases as [`TableView::iter`].
    pub fn iter(&self) -> Result<impl Iterator<Item = (K, Window, V)> + use<K, V>, Error> {
        let decoded = self.source.scan()?.into_iter().filter_map(|(composite, value)| {
            let (start, key) = split_store_key(&composite)?;
            Some(self.source.decode(key).map(|key| (key, self.spec.window_at(start), value)))
        });
        Ok(decoded.collect::<Result<Vec<_>, Error>>()?.into_iter())
    }

    /// Returns the table's windows.
    pub fn spec(&self) -> WindowSpec {
        self.spec
    }

    pub(crate) fn composite<Q: KeyRef + ?Sized>(&self, key: &Q, window: Window) -> Result<Vec<u8>, Error>
    where
        K: Borrow<Q>,
    {
        let mut composite = Vec::new();
        store_key(window.start(), &self.source.encode(key)?, &mut composite);
        Ok(composite)
    }
}

impl<K: Data, V: TableValue> ViewSource<K, V> {
    fn open(name: &str, plan: &Plan, tables: &Arc<PublishedTables>) -> Result<(Self, Option<WindowSpec>), Error> {
        let known = || plan.tables().map(|table| format!("`{}`", table.name())).collect::<Vec<_>>().join(", ");
        let table = plan
            .table(name)
            .ok_or_else(|| Error::UnknownTable(format!("no table `{name}`; known tables: {}", known())))?;
        let info = table.factory.info();
        let (key_type, value_type) = (std::any::type_name::<K>(), std::any::type_name::<V>());
        if (key_type, value_type) != (info.key_type, info.value_type) {
            return Err(Error::UnknownTable(format!(
                "table `{name}` has keys `{}` and values `{}`, not `{key_type}` and `{value_type}`",
                info.key_type, info.value_type
            )));
        }
        let key =
            EntryCoder::resolve(Some(&info.key_codec), Role::Key).map_err(|why| Error::Misuse(why.to_string()))?;
        let changelog = plan.topics().find(|topic| topic.name() == info.changelog);
        let source = Self {
            name: Arc::clone(&info.name),
            key,
            partitions: changelog.and_then(|topic| topic.partitions()).unwrap_or(1),
            by_source: info.partition_by_source,
            tables: Arc::clone(tables),
            values: PhantomData,
        };
        Ok((source, info.window))
    }

    pub(crate) fn encode<Q: KeyRef + ?Sized>(&self, key: &Q) -> Result<Vec<u8>, Error>
    where
        K: Borrow<Q>,
    {
        let mut bytes = Vec::new();
        let encoded = self.key.encode_key(key, &mut bytes);
        encoded.map_err(|why| Error::encode(&*self.name, "key", why))?;
        Ok(bytes)
    }

    fn decode(&self, bytes: &[u8]) -> Result<K, Error> {
        let decoded = self.key.decode(bytes);
        decoded.map_err(|why| Error::Misuse(format!("table `{}`, key {bytes:?}: {why}", self.name)))
    }

    /// Returns the value of a key. `stored` is the key in the form of the store: for windowed tables, with its window.
    fn find<Q: KeyRef + ?Sized>(&self, key: &Q, stored: &[u8]) -> Result<Option<V>, Error>
    where
        K: Borrow<Q>,
    {
        if !self.by_source {
            return self.part(key)?.find_from_outside(stored);
        }
        for part in self.parts() {
            if let Some(found) = part.find_from_outside(stored)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns the partition that the key maps to.
    pub(crate) fn part<Q: KeyRef + ?Sized>(&self, key: &Q) -> Result<Arc<TablePartition<V>>, Error>
    where
        K: Borrow<Q>,
    {
        let partition = partition_of(&self.encode(key)?, self.partitions);
        let part = self.tables.partition(&self.name, partition).and_then(|part| part.as_any().downcast().ok());
        let away = || Error::Misuse(format!("partition {partition} of table `{}` is not on this worker", self.name));
        part.ok_or_else(away)
    }

    fn parts(&self) -> impl Iterator<Item = Arc<TablePartition<V>>> {
        self.tables.partitions(&self.name).into_iter().filter_map(|part| part.as_any().downcast().ok())
    }

    /// Returns every entry of the partitions on this worker, with the key in the form of the store.
    fn scan(&self) -> Result<Vec<(Vec<u8>, V)>, Error> {
        let mut all = Vec::new();
        for part in self.parts() {
            all.extend(part.scan_from_outside((Bound::Unbounded, Bound::Unbounded))?);
        }
        Ok(all)
    }
}

impl<K, V> std::fmt::Debug for TableView<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TableView({})", self.source.name)
    }
}

impl<K, V> std::fmt::Debug for WindowedView<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WindowedView({}, {})", self.source.name, self.spec)
    }
}
