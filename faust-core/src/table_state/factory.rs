//! Makes the partitions of a table from its specification.

use std::sync::Arc;

use super::partition::{PartitionCx, TablePartition};
use super::roles::AnyTablePartition;
use super::spec::{TableInfo, TableSpec, TableValue};

/// Makes a table for a partition.
pub(crate) trait TableFactory: Send + Sync {
    fn info(&self) -> &TableInfo;
    fn make(&self, cx: PartitionCx) -> Arc<dyn AnyTablePartition>;
}

/// A specification that every partition shares.
pub(crate) struct SharedSpec<V>(pub(crate) Arc<TableSpec<V>>);

impl<V: TableValue> TableFactory for SharedSpec<V> {
    fn info(&self) -> &TableInfo {
        &self.0.info
    }

    fn make(&self, cx: PartitionCx) -> Arc<dyn AnyTablePartition> {
        TablePartition::new(Arc::clone(&self.0), cx)
    }
}
