//! Positions that are not in the log of their partition: retention has deleted the messages, or the topic was truncated, or
//! deleted and created again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::input_log::InputLog;
use crate::config::OffsetReset;
use crate::error::{Error, TransportError};
use crate::message::Offset;
use crate::offsets::LogId;
use crate::plan::PlannedStage;
use crate::transport::{Admin, Retries, TopicPartition, Watermarks};

/// The log of a partition, as it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundLog {
    /// `None` if it is unknown, or if the log may have been another one when the bounds were looked up.
    pub(super) id: Option<LogId>,
    /// Log start offset and high watermark.
    pub(super) bounds: (Offset, Offset),
}

/// The logs of partitions.
#[derive(Debug)]
pub(crate) struct FoundLogs {
    bounds: Watermarks,
    ids: BTreeMap<String, LogId>,
}

impl FoundLogs {
    /// Looks up logs. An id counts only if it is the same before and after the look-up of the bounds.
    pub(super) async fn look_up(
        admin: &dyn Admin,
        partitions: Vec<TopicPartition>,
        retries: &mut Retries,
    ) -> Result<Self, TransportError> {
        let before = ids(admin, &partitions).await;
        let bounds = retries.run("the broker to look up a log", || admin.watermarks(partitions.clone())).await?;
        let mut ids = ids(admin, &partitions).await;
        ids.retain(|topic, id| before.get(topic) == Some(id));
        Ok(Self { bounds, ids })
    }

    /// Returns the log of a partition, if it exists.
    pub(super) fn get(&self, partition: &TopicPartition) -> Option<FoundLog> {
        let bounds = *self.bounds.get(partition)?;
        Some(FoundLog { id: self.ids.get(&*partition.topic).copied(), bounds })
    }
}

/// The policies of a task's topics for positions that are not in the log.
#[derive(Debug)]
pub(super) struct ResetPolicies {
    setting: OffsetReset,
    /// The topics that the app itself forwards to. They are always read from the beginning of their log.
    forwarded: BTreeSet<Arc<str>>,
}

impl ResetPolicies {
    /// Creates the policies of the task that runs these stages. `setting` is `consumer_auto_offset_reset`.
    pub(super) fn new<'a>(stages: impl IntoIterator<Item = &'a PlannedStage>, setting: OffsetReset) -> Self {
        let behind_hops = stages.into_iter().filter(|stage| stage.depth > 0);
        Self { setting, forwarded: behind_hops.flat_map(|stage| &stage.reads).cloned().collect() }
    }

    pub(super) fn of(&self, topic: &str) -> OffsetReset {
        if self.forwarded.contains(topic) { OffsetReset::Earliest } else { self.setting }
    }
}

/// Looks up the ids of topics. Returns none if that fails.
async fn ids(admin: &dyn Admin, partitions: &[TopicPartition]) -> BTreeMap<String, LogId> {
    let topics: BTreeSet<_> = partitions.iter().map(|of| of.topic.to_string()).collect();
    let found = admin.topic_ids(topics.into_iter().collect()).await.unwrap_or_else(|error| {
        tracing::debug!("{error}; the logs' ids are unknown");
        BTreeMap::new()
    });
    found.into_iter().filter_map(|(topic, id)| Some((topic, LogId::of(&id)?))).collect()
}

impl FoundLog {
    /// Returns the log of a stage that starts at this offset.
    pub(super) fn input(&self, topic: &Arc<str>, next: Offset) -> InputLog {
        InputLog::new(topic, self.id, next == Offset(0) && self.bounds.1 == Offset(0))
    }

    /// Returns a position that is in this log for one in the log `of`.
    ///
    /// # Errors
    /// The position is behind the end or in another log, and a table still has the events of the former log; or the policy is
    /// to stop.
    pub(super) fn moved(
        &self,
        (partition, next, of): (&TopicPartition, Offset, Option<LogId>),
        (agent, has_tables): (&str, bool),
        reset: OffsetReset,
    ) -> Result<Offset, Error> {
        let (low, high) = self.bounds;
        // Nothing of the other log was read at its beginning.
        let is_other = LogId::differ(of, self.id) && next > Offset(0);
        if (low..=high).contains(&next) && !is_other {
            return Ok(next);
        }
        let what = if is_other && next <= high {
            format!(
                "agent `{agent}` has read {partition} up to offset {next} in another log: the topic was deleted and created again"
            )
        } else if next < low {
            format!(
                "the messages of {partition} from offset {next} to {low} were deleted before agent `{agent}` read them"
            )
        } else {
            format!(
                "{partition} ends at offset {high}, and agent `{agent}` has read it up to offset {next}: the topic was truncated, or deleted and created again"
            )
        };
        if reset == OffsetReset::None {
            return Err(Error::Misuse(format!("{what}; `consumer_auto_offset_reset` is `none`")));
        }
        if (is_other || next > high) && has_tables {
            return Err(Error::Misuse(format!(
                "{what}. Its tables still contain the events of the former log. To keep them and to read the new log from its beginning, run `recover`, and start the worker again; to start over, run `reset --topics`"
            )));
        }
        let to = if reset == OffsetReset::Latest { high } else { low };
        tracing::error!("{what}; it continues at offset {to}");
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_moved_into_the_log_or_the_worker_stops() {
        let partition = TopicPartition::new("in", 0);
        let [new, old] = ["new", "old"].map(LogId::of);
        let log = |id| FoundLog { id, bounds: (Offset(10), Offset(20)) };
        let at = |(next, of): (i64, Option<LogId>), has_tables: bool, reset: OffsetReset| {
            let position = (&partition, Offset(next), of);
            log(new).moved(position, ("sum", has_tables), reset).map_err(|error| error.to_string())
        };
        use OffsetReset::{Earliest, Latest, None};
        for (next, of, tables, reset, expected) in [
            (10, new, true, None, 10),
            (20, new, true, Earliest, 20),
            (15, LogId::of(""), true, None, 15),
            (5, new, false, Earliest, 10),
            (5, new, true, Earliest, 10),
            (5, new, false, Latest, 20),
            (25, new, false, Earliest, 10),
            (15, old, false, Earliest, 10),
            (15, old, false, Latest, 20),
            // Nothing was read of the other log.
            (0, old, true, Earliest, 10),
        ] {
            assert_eq!(at((next, of), tables, reset), Ok(Offset(expected)), "{next} {of:?}");
        }
        for (next, of, tables, reset, why) in [
            (
                5,
                new,
                false,
                None,
                "the messages of in[0] from offset 5 to 10 were deleted before agent `sum` read them",
            ),
            (25, new, false, None, "`consumer_auto_offset_reset` is `none`"),
            (25, new, true, Earliest, "run `reset --topics`"),
            (25, new, true, Latest, "To keep them and to read the new log"),
            (25, old, true, Earliest, "in[0] ends at offset 20, and agent `sum` has read it up to offset 25"),
            (15, old, false, None, "agent `sum` has read in[0] up to offset 15 in another log"),
            (15, old, true, Earliest, "run `recover`"),
            (5, old, true, Latest, "Its tables still contain the events of the former log"),
        ] {
            let error = at((next, of), tables, reset).expect_err("it stops");
            assert!(error.contains(why), "{error}");
        }
        let unknown = log(LogId::of("")).moved((&partition, Offset(15), old), ("sum", true), None);
        assert_eq!(unknown.ok(), Some(Offset(15)), "an unknown log is taken for the same one");
    }

    #[test]
    fn an_empty_log_has_no_id_yet() {
        let log = |high| FoundLog { id: LogId::of("a"), bounds: (Offset(0), Offset(high)) };
        let id = |high, next| log(high).input(&"in".into(), Offset(next)).id();
        assert_eq!((id(0, 0), id(1, 0), id(5, 5)), (None, LogId::of("a"), LogId::of("a")));
    }
}
