//! A cut: the positions of every stage of a task at one moment between events, in the form that a commit takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::changelog::ChangelogWriter;
use super::tables::{SealedTable, TaskTables};
use crate::error::Error;
use crate::message::Offset;
use crate::offsets::CommitMetadata;
use crate::transport::{Committed, Delivery, TopicPartition};

/// Offsets to commit, and the deliveries that must be acknowledged before.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(super) offsets: BTreeMap<TopicPartition, Offset>,
    /// The metadata, except those of the tables.
    pub(super) metadata: CommitMetadata,
    pub(crate) deliveries: Vec<Arc<Delivery>>,
    pub(super) sealed: Vec<SealedTable>,
    pub(super) tables: Arc<TaskTables>,
    /// Keeps the writer alive, so that it sends the sealed tables even if the task ends first.
    pub(super) _changelog: Option<Arc<ChangelogWriter>>,
}

impl Cut {
    /// Returns the offsets with their metadata, once everything is acknowledged.
    ///
    /// # Errors
    /// Fails if a changelog was deleted and created again, or if the metadata are too long for the broker.
    pub(crate) fn to_commit(&self) -> Result<BTreeMap<TopicPartition, Committed>, Error> {
        self.sealed.iter().try_for_each(SealedTable::arrived)?;
        let tables = self.tables.marks(|_| self.metadata.version.number);
        let metadata = CommitMetadata { tables, ..self.metadata.clone() }.to_text();
        if metadata.len() > CommitMetadata::LIMIT {
            let topics = self.offsets.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::Misuse(format!(
                "the positions of the agents of {topics} take {} bytes, and a broker stores {} with an offset: event times that are centuries apart take more; split the agents into several apps",
                metadata.len(),
                CommitMetadata::LIMIT
            )));
        }
        let committed = |(partition, offset): (&TopicPartition, &Offset)| {
            (partition.clone(), Committed { offset: *offset, metadata: metadata.clone() })
        };
        Ok(self.offsets.iter().map(committed).collect())
    }

    /// Returns whether one of the cut's offsets was committed, which confirms all of it: its metadata hold the positions in
    /// all topics.
    pub(crate) fn is_confirmed_by(&self, committed: &BTreeMap<TopicPartition, Committed>) -> bool {
        self.offsets.keys().any(|partition| committed.contains_key(partition))
    }

    /// Passes the sealed tables to their stores, after the broker has accepted the commit.
    pub(crate) fn committed(self) {
        self.sealed.into_iter().for_each(SealedTable::committed);
    }
}
