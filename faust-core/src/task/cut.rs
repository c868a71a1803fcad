//! A cut: the positions of every stage of a task at one moment between events, in the form that a commit takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::changelog::ChangelogWriter;
use super::tables::{SealedTable, TaskTables};
use crate::error::Error;
use crate::offsets::CommitMetadata;
use crate::transport::{Committed, Delivery, TopicPartition};

/// What to commit, and what must have arrived before.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(super) offsets: BTreeMap<TopicPartition, (i64, CommitMetadata)>,
    pub(crate) deliveries: Vec<Arc<Delivery>>,
    pub(super) sealed: Vec<SealedTable>,
    pub(super) tables: Arc<TaskTables>,
    /// Goes on sending what was sealed, should the task end before.
    pub(super) _changelog: Option<Arc<ChangelogWriter>>,
}

impl Cut {
    /// What a commit has to carry, once everything has arrived.
    ///
    /// # Errors
    /// A changelog is not what it was.
    pub(crate) fn to_commit(&self) -> Result<BTreeMap<TopicPartition, Committed>, Error> {
        self.sealed.iter().try_for_each(SealedTable::arrived)?;
        let logs = self.tables.logs();
        let committed = |(partition, (offset, mark)): (&TopicPartition, &(i64, CommitMetadata))| {
            let metadata = CommitMetadata { logs: logs.clone(), ..mark.clone() }.to_text();
            (partition.clone(), Committed { offset: *offset, metadata })
        };
        Ok(self.offsets.iter().map(committed).collect())
    }

    /// The broker has it: the stores may have what was sealed.
    pub(crate) fn committed(self) {
        self.sealed.into_iter().for_each(SealedTable::committed);
    }
}
