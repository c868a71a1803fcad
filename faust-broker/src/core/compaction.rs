//! Compaction of the broker's logs, in steps or a whole log at once.

use crate::core::change::Change;
use crate::core::log::Step;
use crate::core::{BrokerCore, ErrorCode};

/// Compaction.
impl BrokerCore {
    /// Compacts a partition up to the end of its log, whatever its dirty ratio. The active segment is rolled first.
    ///
    /// Records younger than `min.compaction.lag.ms` are kept. The last record of the log is kept too, as in Kafka,
    /// where the active segment is never empty and never compacted: a tombstone at the end of the log can be removed
    /// only after another record has been appended. The first compaction of a tombstone starts its
    /// `delete.retention.ms`; only a later call removes it.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, `InvalidConfig` if the topic is not compacted, `StorageError`.
    pub fn compact_now(&mut self, topic: &str, partition: i32, now_ms: i64) -> Result<(), ErrorCode> {
        let held = self.topics.get_mut(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let (log, config) = held.log_mut(partition)?;
        let compaction = config.compaction.as_ref().ok_or(ErrorCode::InvalidConfig)?;
        log.compact_all(config, compaction, self.compaction, now_ms, self.storage.as_mut()).map_err(|error| {
            tracing::error!(topic, partition, %error, "cannot compact");
            ErrorCode::StorageError
        })?;
        let offset = log.clean();
        self.note(&Change::LogCleaned { topic: topic.to_owned(), partition, offset })
    }

    /// Returns the logs that need compaction with [`compact_step`](Self::compact_step). Rolls active segments that are
    /// due.
    pub(crate) fn dirty_logs(&mut self, now_ms: i64) -> Vec<(String, i32)> {
        let mut dirty = Vec::new();
        for (name, topic) in &mut self.topics {
            let config = &topic.parsed;
            for (partition, log) in (0..).zip(&mut topic.logs) {
                if let Err(error) = log.roll_when_due(config, now_ms, self.storage.as_mut()) {
                    tracing::error!(topic = name, partition, %error, "cannot roll a segment");
                }
                if log.is_dirty(config, now_ms) {
                    dirty.push((name.clone(), partition));
                }
            }
        }
        dirty
    }

    /// Runs one step of a log's compaction, which reads a limited number of bytes. Returns true if more steps are
    /// needed.
    pub(crate) fn compact_step(&mut self, topic: &str, partition: i32, now_ms: i64) -> bool {
        let Some(held) = self.topics.get_mut(topic) else { return false };
        let Ok((log, config)) = held.log_mut(partition) else { return false };
        let before = log.clean();
        match log.compact_step(config, self.compaction, now_ms, self.storage.as_mut()) {
            Ok(Step::Idle) => false,
            Ok(Step::Working) => true,
            // The pass ended at the same offset as the last one, so it was due for tombstones only: another one would
            // find nothing.
            Ok(Step::Clean(offset)) if offset == before => false,
            // If this entry is lost, the next run only compacts the same records again.
            Ok(Step::Clean(offset)) => {
                self.note(&Change::LogCleaned { topic: topic.to_owned(), partition, offset }).is_ok()
            }
            Err(error) => {
                tracing::error!(topic, partition, %error, "cannot compact");
                false
            }
        }
    }
}
