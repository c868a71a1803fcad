//! Events that are skipped by hand: the positions of their agents are moved behind them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::{Plan, PlannedStage};
use crate::config::OffsetReset;
use crate::error::Error;
use crate::message::Offset;
use crate::offsets::{CommitMetadata, LogId, NameHash, StageMark};
use crate::transport::{Committed, TopicPartition};

/// An event that an agent has not finished, and the commit that passes it.
#[derive(Clone, Debug)]
pub struct EventToSkip {
    /// The agent.
    pub agent: Arc<str>,
    /// The partition of the event, with the offset and the metadata to commit. Other agents, and other topics of the agent,
    /// keep their positions.
    pub commit: BTreeMap<TopicPartition, Committed>,
}

/// Finds an event that is the next one of an agent, in order to skip it. Without `agent`, it must be the next one of only one
/// agent.
///
/// `commits` are the last commits of the partition and of those of the same number that are
/// [read together](Plan::read_together) with it. `low` is the first offset of the partition, `topic_id` the id of its topic, which
/// is empty if it is unknown, and `reset` the setting `consumer_auto_offset_reset`.
///
/// # Errors
/// The event is not the next one of an agent, or of several, or the position of the agent is unknown; the error says what to
/// do.
pub fn event_to_skip(
    plan: &Plan,
    (partition, offset): (&TopicPartition, Offset),
    agent: Option<&str>,
    commits: &BTreeMap<TopicPartition, Committed>,
    (low, topic_id, reset): (Offset, &str, OffsetReset),
) -> Result<EventToSkip, Error> {
    let readers: Vec<_> = plan.stages().iter().filter(|stage| stage.reads.contains(&partition.topic)).collect();
    let chosen: Vec<_> = readers.iter().filter(|stage| agent.is_none_or(|name| name == stage.agent())).collect();
    if chosen.is_empty() {
        let names = |stages: &[&PlannedStage]| {
            stages.iter().map(|stage| format!("`{}`", stage.agent)).collect::<Vec<_>>().join(", ")
        };
        return Err(Error::Misuse(match (agent, readers.is_empty()) {
            (Some(agent), false) => {
                format!("agent `{agent}` does not read topic `{}`; it is read by {}", partition.topic, names(&readers))
            }
            _ => format!("no agent reads topic `{}`; the command `agents` lists what they read", partition.topic),
        }));
    }
    let metadata = |(of, commit): (&TopicPartition, &Committed)| CommitMetadata::from_text(&commit.metadata, &of.topic);
    let metadata: Vec<_> = commits.iter().filter_map(metadata).collect();
    let mut latest = CommitMetadata::latest(&metadata).cloned().unwrap_or_default();
    let topic = NameHash::of(&partition.topic);
    // Positions in the log of a topic that was deleted and created again are none in the new one.
    let log = LogId::of(topic_id);
    let is_other = LogId::differ(latest.logs.get(&topic).copied(), log);
    let committed = commits.get(partition).filter(|_| !is_other).map(|commit| commit.offset);
    if committed.is_none() && reset != OffsetReset::Earliest && !plan.forwards_to(&partition.topic) {
        return Err(Error::Misuse(format!(
            "nothing of {partition} is committed, and it is not read from its beginning (`consumer_auto_offset_reset`): the next worker starts behind the event"
        )));
    }
    let next = |stage: &PlannedStage| {
        let own = latest.offset(NameHash::of(&stage.name), topic).filter(|_| !is_other);
        own.or(committed).map_or(low, |next| next.max(low))
    };
    let positions: BTreeMap<_, _> = readers.iter().map(|stage| (NameHash::of(&stage.name), next(stage))).collect();
    let mut pending = Vec::new();
    let mut others = Vec::new();
    for stage in &chosen {
        match positions.get(&NameHash::of(&stage.name)) {
            Some(next) if *next == offset => pending.push(stage),
            Some(next) => others.push(format!("agent `{}` is at offset {next} of {partition}", stage.agent)),
            None => {}
        }
    }
    let stage = match pending.as_slice() {
        [stage] => stage,
        [] => {
            return Err(Error::Misuse(format!(
                "offset {offset} is not the next event of an agent: {}. Only the next event can be skipped; if the agent has not come to it, run a worker until it fails there, and stop it with Ctrl-C",
                others.join(", ")
            )));
        }
        several => {
            let names = several.iter().map(|stage| format!("`{}`", stage.agent)).collect::<Vec<_>>().join(" and ");
            return Err(Error::Misuse(format!(
                "offset {offset} is the next event of the agents {names}; choose one with `--agent`"
            )));
        }
    };
    // A restore takes the positions in all topics from the latest commit.
    latest.version.number = latest.version.number.next();
    let time = latest.time;
    latest.logs.extend(log.filter(|_| is_other).map(|log| (topic, log)));
    for (name, position) in &positions {
        let mark = latest.stages.entry(*name).or_insert_with(|| StageMark { time, ..StageMark::default() });
        mark.offsets.insert(topic, *position);
    }
    if let Some(mark) = latest.stages.get_mut(&NameHash::of(&stage.name)) {
        mark.offsets.insert(topic, offset.next());
    }
    let of_readers = positions.keys().filter_map(|name| latest.offset(*name, topic));
    let lowest = of_readers.min().unwrap_or(offset.next());
    let commit = Committed { offset: lowest, metadata: latest.to_text() };
    Ok(EventToSkip { agent: Arc::clone(&stage.agent), commit: BTreeMap::from([(partition.clone(), commit)]) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

    use super::*;
    use crate::offsets::{CommitNumber, CommitVersion, OwnerEpoch, TableMark};
    use crate::time::Timestamp;

    /// Two agents of one topic, and one of another topic.
    fn plan() -> Plan {
        let stages = [("add", &["in"]), ("print", &["in"]), ("other", &["on"])];
        let stages = stages.map(|(agent, reads)| PlannedStage::idle(agent, reads)).into();
        let (topics, tables, sets) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Plan { group: "shop".to_owned(), stages, topics, tables, sets }
    }

    /// A commit with these positions of `add` and `print`.
    fn commit(add: i64, print: i64) -> CommitMetadata {
        let mark = |offset| StageMark {
            time: Some(Timestamp(7)),
            offsets: BTreeMap::from([(NameHash::of("in"), Offset(offset)), (NameHash::of("on"), Offset(3))]),
        };
        let table = TableMark { end: Offset(4), length: Offset(9), number: CommitNumber(5) };
        CommitMetadata {
            version: CommitVersion { epoch: OwnerEpoch(2), number: CommitNumber(6) },
            stages: BTreeMap::from([(NameHash::of("add"), mark(add)), (NameHash::of("print"), mark(print))]),
            tables: BTreeMap::from([(NameHash::of("sums"), table)]),
            ..CommitMetadata::default()
        }
    }

    fn skip(
        offset: i64,
        agent: Option<&str>,
        metadata: Option<CommitMetadata>,
        reset: OffsetReset,
    ) -> Result<(String, Offset, CommitMetadata), String> {
        skip_in("", offset, agent, metadata, reset)
    }

    fn skip_in(
        topic_id: &str,
        offset: i64,
        agent: Option<&str>,
        metadata: Option<CommitMetadata>,
        reset: OffsetReset,
    ) -> Result<(String, Offset, CommitMetadata), String> {
        let partition = TopicPartition::new("in", 0);
        let committed = metadata.map(|metadata| {
            let lowest = metadata.stages.values().filter_map(|stage| stage.offsets.get(&NameHash::of("in"))).min();
            (partition.clone(), Committed { offset: *lowest.unwrap(), metadata: metadata.to_text() })
        });
        let event = event_to_skip(
            &plan(),
            (&partition, Offset(offset)),
            agent,
            &committed.into_iter().collect(),
            (Offset(1), topic_id, reset),
        )
        .map_err(|error| error.to_string())?;
        let commit = &event.commit[&partition];
        Ok((event.agent.to_string(), commit.offset, CommitMetadata::from_text(&commit.metadata, "in").unwrap()))
    }

    /// Law: only the position of this agent in this topic is moved; the commit counts for all topics, and the tables stay as they
    /// are.
    #[test]
    fn one_position_is_moved() {
        let (agent, offset, moved) = skip(10, None, Some(commit(10, 20)), OffsetReset::Earliest).unwrap();
        let mut expected = commit(11, 20);
        expected.version.number = CommitNumber(7);
        assert_eq!((agent.as_str(), offset, moved), ("add", Offset(11), expected));
        let (agent, offset, moved) = skip(10, Some("print"), Some(commit(10, 10)), OffsetReset::Earliest).unwrap();
        assert_eq!((agent.as_str(), offset), ("print", Offset(10)), "the other agent still needs the event");
        assert_eq!(moved.offset(NameHash::of("add"), NameHash::of("in")), Some(Offset(10)));
    }

    #[test]
    fn without_a_commit_the_first_event_is_the_next_one() {
        let (_, offset, moved) = skip(1, Some("add"), None, OffsetReset::Earliest).unwrap();
        assert_eq!(offset, Offset(1));
        let positions = ["add", "print"].map(|agent| moved.offset(NameHash::of(agent), NameHash::of("in")));
        assert_eq!(positions, [Some(Offset(2)), Some(Offset(1))]);
        let error = skip(1, Some("add"), None, OffsetReset::Latest).unwrap_err();
        assert!(error.contains("it is not read from its beginning"), "{error}");
    }

    /// Law: in the log of a topic that was created again, all agents are at its beginning.
    #[test]
    fn the_first_event_of_a_new_log_is_the_next_one() {
        let [topic, other] = ["in", "on"].map(NameHash::of);
        let logs = |log: &str| [(topic, LogId::of(log).unwrap()), (other, LogId::of("x").unwrap())].into();
        let former = CommitMetadata { logs: logs("old"), ..commit(10, 20) };
        let (_, offset, moved) = skip_in("new", 1, Some("add"), Some(former.clone()), OffsetReset::Earliest).unwrap();
        let mut expected = CommitMetadata { logs: logs("new"), ..commit(2, 1) };
        expected.version.number = CommitNumber(7);
        assert_eq!((offset, moved), (Offset(1), expected));
        let error = skip_in("new", 1, Some("add"), Some(former.clone()), OffsetReset::Latest).unwrap_err();
        assert!(error.contains("it is not read from its beginning"), "{error}");
        for same in ["old", ""] {
            let (.., moved) = skip_in(same, 10, None, Some(former.clone()), OffsetReset::Earliest).unwrap();
            assert_eq!(moved.logs, former.logs);
        }
    }

    #[test]
    fn an_event_that_is_not_next_or_of_several_agents_is_refused() {
        for (offset, agent, why) in [
            (10, None, "the next event of the agents `add` and `print`; choose one with `--agent`"),
            (11, None, "agent `add` is at offset 10 of in[0], agent `print` is at offset 10 of in[0]"),
            (10, Some("other"), "agent `other` does not read topic `in`; it is read by `add`, `print`"),
        ] {
            let error = skip(offset, agent, Some(commit(10, 10)), OffsetReset::Earliest).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
