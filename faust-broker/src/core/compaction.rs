//! Compaction of all logs: which ones need it, a step of one, and all of one at once.

use crate::core::change::Change;
use crate::core::log::Step;
use crate::core::{Broker, ErrorCode};

/// Compaction.
impl Broker {
    /// Compacts a partition up to the end of its log, however little that gains; the active segment is ended first.
    ///
    /// What `min.compaction.lag.ms` protects stays, and so does the very last record, as in Kafka, where the active
    /// segment is never empty and never compacted: a tombstone that ends the log goes when something has come behind it.
    /// The first time that a tombstone is found clean its `delete.retention.ms` begins; only a later call takes it.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, `InvalidConfig` when the topic is not compacted, `StorageError`.
    pub fn compact_now(&mut self, topic: &str, partition: i32, now_ms: i64) -> Result<(), ErrorCode> {
        let held = self.topics.get_mut(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let (log, config) = held.log_mut(partition)?;
        let compaction = config.compaction.as_ref().ok_or(ErrorCode::InvalidConfig)?;
        let memory = self.compaction_bytes;
        log.compact_all(config, compaction, memory, now_ms, self.storage.as_mut()).map_err(|error| {
            tracing::error!(topic, partition, %error, "cannot compact");
            ErrorCode::StorageError
        })?;
        let offset = log.clean();
        self.note(&Change::LogCleaned { topic: topic.to_owned(), partition, offset })
    }

    /// The logs for which [`compact_step`](Self::compact_step) has something to do. Ends active segments that are due.
    pub(crate) fn dirty_logs(&mut self, now_ms: i64) -> Vec<(String, i32)> {
        let mut dirty = Vec::new();
        for (name, topic) in &mut self.topics {
            let config = &topic.parsed;
            for (partition, log) in (0..).zip(&mut topic.logs) {
                if let Err(error) = log.roll_when_due(config, now_ms, self.storage.as_mut()) {
                    tracing::error!(topic = name, partition, %error, "cannot end a segment");
                }
                if log.is_dirty(config, now_ms) {
                    dirty.push((name.clone(), partition));
                }
            }
        }
        dirty
    }

    /// A piece of the compaction of one log, which takes about as long as reading a segment. Whether there is more to do.
    pub(crate) fn compact_step(&mut self, topic: &str, partition: i32, now_ms: i64) -> bool {
        let Some(held) = self.topics.get_mut(topic) else { return false };
        let Ok((log, config)) = held.log_mut(partition) else { return false };
        let before = log.clean();
        match log.compact_step(config, self.compaction_bytes, now_ms, self.storage.as_mut()) {
            Ok(Step::Idle) => false,
            Ok(Step::Working) => true,
            // A pass that came no further than the last one was for the sake of tombstones: another would find nothing.
            Ok(Step::Clean(offset)) if offset == before => false,
            // Without the note the next run would only look at the same records again.
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
