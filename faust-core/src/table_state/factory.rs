//! Creation of a table's partitions from its specification.

use std::sync::Arc;

use super::partition::{PartitionCx, TablePartition};
use super::roles::AnyTablePartition;
use super::spec::{TableInfo, TableSpec, TableValue};

/// A factory for the partitions of a table.
pub(crate) trait TableFactory: Send + Sync {
    fn info(&self) -> &TableInfo;

    /// Creates the table's state for one partition.
    fn make(&self, cx: PartitionCx) -> Arc<dyn AnyTablePartition>;
}

/// A table specification shared by all its partitions.
pub(crate) struct SharedSpec<V>(pub(crate) Arc<TableSpec<V>>);

impl<V: TableValue> TableFactory for SharedSpec<V> {
    fn info(&self) -> &TableInfo {
        &self.0.info
    }

    fn make(&self, cx: PartitionCx) -> Arc<dyn AnyTablePartition> {
        TablePartition::new(Arc::clone(&self.0), cx)
    }
}
