//! Positions of the stages of a group.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::input_log::InputLog;
use super::log_change::{FoundLog, ResetPolicies};
use super::partition::TaskPartition;
use crate::error::Error;
use crate::message::Offset;
use crate::offsets::{CommitMetadata, CommitVersion, LogId, NameHash, Position, StageMark};
use crate::plan::PlannedStage;
use crate::stage::input::GroupInput;
use crate::time::{Horizon, Timestamp};
use crate::transport::TopicPartition;

/// Next offset of each stage in each of its inputs, with the stages' stream times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Positions {
    pub(super) stages: Vec<Vec<Offset>>,
    /// Stream time of each stage.
    pub(super) times: Vec<Option<Timestamp>>,
    /// The logs to which the offsets belong.
    pub(super) logs: InputLogs,
}

/// The log of each input of each stage. Shared, because each seal has them.
pub(super) type InputLogs = Arc<[Vec<InputLog>]>;

/// Positions of stages in the form of a commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// The offset to commit of each partition, the lowest of its stages.
    pub(super) offsets: BTreeMap<TopicPartition, Offset>,
    pub(super) stages: BTreeMap<NameHash, StageMark>,
    /// The log of each topic; `None` if it is unknown, or if the stages have positions in several logs of the topic.
    logs: BTreeMap<NameHash, Option<LogId>>,
}

impl Marks {
    /// Adds the positions of another group.
    pub(super) fn join(&mut self, other: &Self) {
        for (partition, offset) in &other.offsets {
            self.add(partition, *offset);
        }
        self.stages.extend(other.stages.iter().map(|(stage, mark)| (*stage, mark.clone())));
        other.logs.iter().for_each(|(topic, log)| self.add_log(*topic, *log));
    }

    fn add(&mut self, partition: &TopicPartition, offset: Offset) {
        let lowest = self.offsets.entry(partition.clone()).or_insert(offset);
        *lowest = offset.min(*lowest);
    }

    fn add_log(&mut self, topic: NameHash, log: Option<LogId>) {
        let known = self.logs.entry(topic).or_insert(log);
        *known = known.filter(|known| log == Some(*known));
    }

    /// Returns the metadata of a commit at these positions, except those of the tables.
    pub(super) fn metadata(&self, version: CommitVersion, plan: u32) -> CommitMetadata {
        let time = self.stages.values().filter_map(|stage| stage.time).max();
        let logs = self.logs.iter().filter_map(|(topic, log)| Some((*topic, (*log)?))).collect();
        CommitMetadata { version, plan, time, stages: self.stages.clone(), tables: BTreeMap::new(), logs }
    }
}

impl Positions {
    /// Returns whether the stage with this index has not passed the event.
    pub(super) fn is_before(&self, (stage, at): (usize, Position)) -> bool {
        let next = self.stages.get(stage).and_then(|inputs| inputs.get(at.input as usize));
        next.is_none_or(|next| at.offset >= *next)
    }

    /// Returns whether every stage is here as far as there, or further.
    pub(super) fn has_reached(&self, there: &Self) -> bool {
        let here = self.stages.iter().flatten();
        here.zip(there.stages.iter().flatten()).all(|(here, there)| here >= there)
    }

    /// Returns the marks of these stages.
    pub(super) fn marks(&self, stages: &[PlannedStage], inputs: &[Vec<GroupInput>]) -> Marks {
        let mut marks = Marks::default();
        let positions = self.stages.iter().zip(self.logs.iter()).zip(&self.times);
        for ((stage, inputs), ((at, logs), time)) in stages.iter().zip(inputs).zip(positions) {
            let mut offsets = BTreeMap::new();
            for (input, (at, log)) in inputs.iter().zip(at.iter().zip(logs)) {
                let partition = input.reader.partition();
                let topic = NameHash::of(&partition.topic);
                offsets.insert(topic, *at);
                marks.add(partition, *at);
                marks.add_log(topic, log.id());
            }
            marks.stages.insert(NameHash::of(&stage.name), StageMark { time: *time, offsets });
        }
        marks
    }

    /// Restores positions from the last commits of a task's topics. The latest commit that contains a stage counts for all
    /// topics, also where a topic's own commit is another one. A stage that no commit contains starts at the committed
    /// offset. A stream time beyond the horizon is discarded: it was committed by a worker whose clock was ahead, whose
    /// release did not limit it, or whose limit was greater, and would make all events late.
    ///
    /// # Errors
    /// A position belongs to another log than the partition has now, and it must not be moved; see [`FoundLog::moved`].
    pub(super) fn restore(
        stages: &[PlannedStage],
        parts: &[TaskPartition],
        commits: &[CommitMetadata],
        (horizon, policies): (&Horizon, &ResetPolicies),
    ) -> Result<Self, Error> {
        let has_tables = stages.iter().any(|stage| stage.tables().next().is_some());
        let starts = |stage: &PlannedStage| {
            let of_stage = parts.iter().filter(|part| stage.reads.contains(&part.reader.partition().topic));
            of_stage.map(|part| start(stage, part, commits, has_tables, policies)).collect::<Result<Vec<_>, _>>()
        };
        let time = |planned: &PlannedStage| {
            let stage = NameHash::of(&planned.name);
            let of_stage = commits.iter().filter(|commit| commit.stages.contains_key(&stage));
            let latest = of_stage.max_by_key(|commit| commit.version).or(CommitMetadata::latest(commits));
            latest.and_then(|commit| commit.stage_time(stage)).filter(|time| {
                let is_within = horizon.reaches(*time);
                if !is_within {
                    tracing::warn!(
                        stage = %planned.name,
                        partition = parts.first().map(|part| part.reader.partition().partition),
                        "the committed stream time {time} is further ahead of the clock than `stream_time_max_ahead`: it \
                         is discarded, and stream time restarts with the next event"
                    );
                }
                is_within
            })
        };
        let starts = stages.iter().map(starts).collect::<Result<Vec<_>, _>>()?;
        let (starts, logs): (Vec<_>, Vec<_>) = starts.into_iter().map(|of_stage| of_stage.into_iter().unzip()).unzip();
        Ok(Self { stages: starts, times: stages.iter().map(time).collect(), logs: logs.into() })
    }
}

/// Returns the offset at which a stage starts in a partition, with its log.
fn start(
    stage: &PlannedStage,
    part: &TaskPartition,
    commits: &[CommitMetadata],
    has_tables: bool,
    policies: &ResetPolicies,
) -> Result<(Offset, InputLog), Error> {
    let (name, topic) = (NameHash::of(&stage.name), NameHash::of(&part.reader.partition().topic));
    let of_stage = commits.iter().filter_map(|commit| Some((commit, commit.offset(name, topic)?)));
    // The offset of a topic that other programs have committed since is theirs.
    let latest = of_stage.max_by_key(|(commit, _)| commit.version).filter(|_| !part.is_foreign());
    let next = latest.map_or_else(|| part.start(), |(_, offset)| offset);
    let of = match latest {
        Some((commit, _)) => commit.logs.get(&topic).copied(),
        None => part.mark().and_then(|commit| commit.logs.get(&topic).copied()),
    };
    let log = part.log();
    let is_truncated = latest.is_some() && part.ends_before(next);
    let start = if LogId::differ(of, log.id) || is_truncated {
        // A stage that no commit contains has read nothing of the other log.
        let has_tables = has_tables && latest.is_some();
        let partition = part.reader.partition();
        log.moved((partition, next, of), (stage.agent(), has_tables), policies.of(&partition.topic))?
    } else if latest.is_some() {
        part.clamped(next)
    } else {
        next
    };
    // The log was looked up before a former task of this worker, whose commit does not name it: it may have been replaced since.
    let is_doubtful = of.is_none() && part.used() > CommitVersion::default();
    let id = log.id.filter(|_| !is_doubtful);
    Ok((start, FoundLog { id, ..log }.input(&part.reader.partition().topic, start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OffsetReset;
    use crate::offsets::CommitNumber;
    use crate::task::partition::tests::{assigned, partition};
    use crate::transport::Committed;

    /// Law: a log that was looked up before a former task of the worker is not that of a commit which names none: the topic may
    /// have been replaced since.
    #[test]
    fn a_log_from_before_a_former_task_is_not_that_of_its_commit() {
        let part = partition(assigned(3, 5, "id"));
        let stage = PlannedStage::idle("sum", &["in"]);
        let policies = ResetPolicies::new([&stage], OffsetReset::Earliest);
        let topic = NameHash::of("in");
        let commit = |log: Option<LogId>| CommitMetadata {
            stages: BTreeMap::from([(
                NameHash::of("sum"),
                StageMark { offsets: BTreeMap::from([(topic, Offset(5))]), time: None },
            )]),
            logs: log.into_iter().map(|log| (topic, log)).collect(),
            ..CommitMetadata::default()
        };
        part.commit(Committed { offset: Offset(5), metadata: commit(None).to_text() });
        let found = |log| {
            let started = start(&stage, &part, &[commit(log)], true, &policies);
            started.map(|(offset, log)| (offset, log.id())).map_err(|error| error.to_string())
        };
        let id = LogId::of("id");
        assert_eq!((found(id), found(None)), (Ok((Offset(5), id)), Ok((Offset(5), id))));
        part.begin_commit(CommitVersion { number: CommitNumber(1), ..CommitVersion::default() });
        assert_eq!((found(id), found(None)), (Ok((Offset(5), id)), Ok((Offset(5), None))));
    }

    /// Law: a commit names the log of a topic only if all positions in it belong to that log.
    #[test]
    fn positions_in_several_logs_have_none() {
        let topic = NameHash::of("in");
        let [a, b] = ["a", "b"].map(LogId::of);
        for (logs, expected) in
            [(&[a, a][..], a), (&[a, b], None), (&[a, b, a], None), (&[a, None, a], None), (&[None, a], None)]
        {
            let mut joined = Marks::default();
            for log in logs {
                joined.join(&Marks { logs: BTreeMap::from([(topic, *log)]), ..Marks::default() });
            }
            let metadata = joined.metadata(CommitVersion::default(), 0);
            assert_eq!(metadata.logs.get(&topic).copied(), expected, "{logs:?}");
        }
    }
}
