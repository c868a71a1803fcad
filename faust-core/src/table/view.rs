//! A table looked at from outside the agents.

use std::sync::Arc;

use super::cell::TableValue;
use super::handle::Handle;
use crate::codec::{Coder, Data, Role};
use crate::error::Error;
use crate::partitioner::partition_of;
use crate::plan::Plan;
use crate::recovery::Recovery;

/// A table to read from outside the agents, as far as its partitions are on this worker.
///
/// What it shows may not be committed yet. It is for pages, status and tests; an agent takes the table as an argument.
pub struct TableView<K, V> {
    name: Arc<str>,
    key: Coder<K>,
    partitions: i32,
    by_source: bool,
    recovery: Arc<Recovery>,
    values: std::marker::PhantomData<fn() -> V>,
}

impl<K: Data, V: TableValue> TableView<K, V> {
    pub(crate) fn open(name: &str, plan: &Plan, recovery: &Arc<Recovery>) -> Result<Self, Error> {
        let known = || plan.tables().map(|table| format!("`{}`", table.name())).collect::<Vec<_>>().join(", ");
        let table =
            plan.table(name).ok_or_else(|| Error::Misuse(format!("no table `{name}`; there is {}", known())))?;
        let info = table.factory.info();
        let (key_type, value_type) = (std::any::type_name::<K>(), std::any::type_name::<V>());
        if (key_type, value_type) != (info.key_type, info.value_type) {
            return Err(Error::Misuse(format!(
                "table `{name}` is `Table<{}, {}>` and not `Table<{key_type}, {value_type}>`",
                info.key_type, info.value_type
            )));
        }
        let key = Coder::resolve(Some(&info.key_codec), Role::Key).map_err(|why| Error::Misuse(why.to_string()))?;
        let changelog = plan.topics().find(|topic| topic.name() == info.changelog);
        let partitions = changelog.and_then(|topic| topic.partitions()).unwrap_or(1);
        let (name, by_source) = (Arc::clone(&info.name), info.partition_by_source);
        Ok(Self { name, key, partitions, by_source, recovery: Arc::clone(recovery), values: std::marker::PhantomData })
    }

    /// A copy of the value of a key; `None` if there is none.
    ///
    /// # Errors
    /// The key's partition is not on this worker, or not restored yet.
    pub fn find(&self, key: &K) -> Result<Option<V>, Error> {
        let mut bytes = Vec::new();
        let encoded = self.key.encode(key, &mut bytes);
        encoded.map_err(|why| Error::Encode { topic: self.name.to_string(), part: "key", why: why.to_string() })?;
        if self.by_source {
            return Ok(self.handles().find_map(|handle| handle.with(&bytes, |value| value.cloned())));
        }
        let partition = partition_of(&bytes, self.partitions);
        let cell = self.recovery.cell(&self.name, partition).and_then(Handle::<K, V>::of_cell);
        let away = || Error::Misuse(format!("partition {partition} of table `{}` is not on this worker", self.name));
        Ok(cell.ok_or_else(away)?.with(&bytes, |value| value.cloned()))
    }

    /// Writes past all agents: for tests.
    #[cfg(feature = "testing")]
    pub(crate) fn write(&self, key: &K, value: &mut Option<V>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        let encoded = self.key.encode(key, &mut bytes);
        encoded.map_err(|why| Error::Encode { topic: self.name.to_string(), part: "key", why: why.to_string() })?;
        let partition = partition_of(&bytes, self.partitions);
        let cell = self.recovery.cell(&self.name, partition).and_then(Handle::<K, V>::of_cell);
        let away = || Error::Misuse(format!("partition {partition} of table `{}` is not on this worker", self.name));
        cell.ok_or_else(away)?.set(&bytes, value.take());
        Ok(())
    }

    /// Every key and value of the partitions that are here, partition by partition.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + use<K, V> {
        let unbounded = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        let all: Vec<_> = self.handles().flat_map(|handle| handle.scan(unbounded)).collect();
        all.into_iter()
    }

    /// The partitions that are here.
    pub fn partitions(&self) -> Vec<i32> {
        self.recovery.partitions(&self.name)
    }

    fn handles(&self) -> impl Iterator<Item = Handle<K, V>> {
        self.recovery.cells(&self.name).into_iter().filter_map(Handle::of_cell)
    }
}

impl<K, V> std::fmt::Debug for TableView<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TableView({})", self.name)
    }
}
