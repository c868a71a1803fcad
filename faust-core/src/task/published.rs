//! The restored tables of a worker, for reading from outside their tasks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::stage::tables::TaskTable;
use crate::table_state::AnyTablePartition;

type Published = BTreeMap<(Arc<str>, i32), Weak<dyn AnyTablePartition>>;

/// The restored tables of a worker, by name and partition.
#[derive(Default)]
pub(crate) struct PublishedTables {
    tables: Mutex<Published>,
}

impl PublishedTables {
    /// Makes a restored table readable from outside its task, for as long as the task lives.
    pub(super) fn publish(&self, table: &TaskTable) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.retain(|_, table| table.strong_count() > 0);
        let name = Arc::clone(&table.state.info().name);
        tables.insert((name, table.partition), Arc::downgrade(&table.state));
    }

    /// Returns one partition of a table, if it is on this worker.
    pub(crate) fn partition(&self, table: &str, partition: i32) -> Option<Arc<dyn AnyTablePartition>> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.get(&(Arc::from(table), partition)).and_then(Weak::upgrade)
    }

    /// Returns the partitions of a table that are on this worker.
    pub(crate) fn partitions(&self, table: &str) -> Vec<Arc<dyn AnyTablePartition>> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.iter().filter(|((name, _), _)| **name == *table).filter_map(|(_, table)| table.upgrade()).collect()
    }

    /// Returns the numbers of the partitions of a table that are on this worker.
    pub(crate) fn numbers(&self, table: &str) -> Vec<i32> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let on_this_worker = tables.iter().filter(|((name, _), part)| **name == *table && part.strong_count() > 0);
        on_this_worker.map(|((_, number), _)| *number).collect()
    }
}
