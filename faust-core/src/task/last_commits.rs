//! The last commits of an app, as its changelogs name them: the group's offsets expire if no worker runs for long, a week by
//! default.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::changelog::{metadata_of, without_offsets};
use super::commit_header::CommitHeader;
use crate::error::Error;
use crate::message::Offset;
use crate::offsets::{CommitMetadata, CommitVersion, LogId, NameHash};
use crate::plan::{Plan, TablePlan, TopicPlan};
use crate::transport::{
    Committed, PROGRESS_INTERVAL, PROMPT, Read, Retries, StartAt, TopicPartition, Transport, Watermarks,
};

/// The positions of an app according to its changelogs.
#[derive(Debug, Default)]
pub struct LastCommits {
    /// The offsets to commit, with their metadata: exactly those of the last commits that changed a table.
    pub commits: BTreeMap<TopicPartition, Committed>,
    /// The partitions whose position no changelog names: of topics that are read without a table, or whose tables have no
    /// commit.
    pub unknown: BTreeSet<TopicPartition>,
    /// The partitions of topics that were deleted and created again since the last commit. Their positions are moved to the
    /// beginning of the new log.
    pub replaced: BTreeSet<TopicPartition>,
}

/// The present logs of an app's topics.
#[derive(Debug, Default)]
pub struct PresentLogs {
    /// The ids of the topics. A topic without one is taken for the same as before.
    pub topic_ids: BTreeMap<String, String>,
    /// The bounds of the partitions.
    pub bounds: Watermarks,
}

impl LastCommits {
    /// Returns the part that the group's commits do not have: missing positions, and those that are of another log than the
    /// topic has now. `committed` are the group's commits of all of these partitions.
    #[must_use]
    pub fn missing(self, plan: &Plan, committed: &BTreeMap<TopicPartition, Committed>, logs: &PresentLogs) -> Self {
        let mut tasks: BTreeMap<(Option<usize>, i32), Vec<&TopicPartition>> = BTreeMap::new();
        for partition in self.commits.keys().chain(&self.unknown) {
            tasks.entry((plan.set_of(&partition.topic), partition.partition)).or_default().push(partition);
        }
        let parse =
            |(of, commit): (&TopicPartition, &Committed)| CommitMetadata::from_text(&commit.metadata, &of.topic);
        let mut missing = Self::default();
        for partitions in tasks.into_values() {
            let known =
                partitions.iter().flat_map(|of| [committed.get(*of), self.commits.get(*of)].map(|one| (*of, one)));
            let commits: Vec<_> = known.filter_map(|(of, commit)| parse((of, commit?))).collect();
            let latest = CommitMetadata::latest(&commits).cloned().unwrap_or_default();
            let mut others = BTreeMap::new();
            for of in &partitions {
                let topic = NameHash::of(&of.topic);
                // An offset that another program has committed is of the log that it has seen.
                let is_own = committed.get(*of).is_none_or(|commit| parse((*of, commit)).is_some());
                let former = latest.logs.get(&topic).copied().filter(|_| is_own);
                if let Some(now) = logs.id(of).filter(|now| LogId::differ(former, Some(*now))) {
                    others.insert(topic, (now, logs.bounds.get(*of).map(|(low, _)| *low).unwrap_or_default()));
                    missing.replaced.insert((*of).clone());
                }
            }
            let moved = (!others.is_empty()).then(|| latest.in_other_logs(&others));
            for of in partitions {
                if committed.contains_key(of) && !missing.replaced.contains(of) {
                    continue;
                }
                let moved = moved
                    .as_ref()
                    .and_then(|moved| Some(Committed { offset: lowest(moved, &of.topic)?, metadata: moved.to_text() }));
                match moved.or_else(|| self.commits.get(of).cloned()) {
                    Some(commit) => _ = missing.commits.insert(of.clone(), commit),
                    None => _ = missing.unknown.insert(of.clone()),
                }
            }
        }
        missing
    }
}

impl PresentLogs {
    fn id(&self, of: &TopicPartition) -> Option<LogId> {
        LogId::of(self.topic_ids.get(&*of.topic)?)
    }
}

/// The commits of one task that its changelogs name.
#[derive(Default)]
struct NamedCommits {
    /// Changelogs in which the last record of the commit was found.
    found: BTreeMap<CommitVersion, BTreeSet<Arc<str>>>,
    /// The last commit of which all records are there.
    last: Option<CommitMetadata>,
}

impl NamedCommits {
    fn add(&mut self, changelog: &Arc<str>, tables: usize, metadata: CommitMetadata) {
        let version = metadata.version;
        if self.last.as_ref().is_some_and(|last| last.version >= version) {
            return;
        }
        let found = self.found.entry(version).or_default();
        found.insert(Arc::clone(changelog));
        if found.len() >= tables {
            self.last = Some(metadata);
            // Earlier ones do not matter any more.
            self.found = self.found.split_off(&version);
        }
    }
}

/// Reads the changelogs of an app's tables. `report` receives the number of records read, every ten seconds. Waits for brokers
/// that are unavailable.
///
/// # Errors
/// Fails if the broker permanently rejects a request.
pub async fn last_commits(
    plan: &Plan,
    transport: &dyn Transport,
    mut report: impl FnMut(u64),
) -> Result<LastCommits, Error> {
    let mut retries = Retries::default().of(transport.outage());
    let admin = transport.admin()?;
    let names: Vec<_> = plan.topics().map(|topic| topic.name().to_owned()).collect();
    let counts = retries.run("the broker to look topics up", || admin.topics(Some(names.clone()))).await?;
    let count = |topic: &str| counts.get(topic).copied().unwrap_or(0);
    let changelogs = changelogs(plan, count);
    let commits = read(plan, transport, &changelogs, &mut retries, &mut report).await?;
    let mut found = LastCommits::default();
    for (set, of_set) in plan.sets().iter().enumerate() {
        for topic in &of_set.topics {
            for number in 0..count(topic) {
                let partition = TopicPartition::new(Arc::clone(topic), number);
                let last = commits.get(&(set, number)).and_then(|commits| commits.last.as_ref());
                match last.and_then(|last| Some((lowest(last, topic)?, last.to_text()))) {
                    Some((offset, metadata)) => _ = found.commits.insert(partition, Committed { offset, metadata }),
                    None => _ = found.unknown.insert(partition),
                }
            }
        }
    }
    Ok(found)
}

/// Checks that the group has a commit for each table that has a changelog, before a worker joins it: without its offsets, it
/// would forward messages again before the restore of a table finds that out. Waits for brokers that are unavailable.
///
/// # Errors
/// The offsets were deleted, or have expired.
pub(crate) async fn ensure_commits(plan: &Plan, transport: &dyn Transport) -> Result<(), Error> {
    let mut retries = Retries::default().of(transport.outage());
    let admin = transport.admin()?;
    let counts = |topic: &str| plan.topics().find(|known| known.name() == topic).and_then(TopicPlan::partitions);
    let count = |topic: &str| counts(topic).unwrap_or(0);
    let mut changelogs = changelogs(plan, count);
    let topics = |set: usize| plan.sets().get(set).into_iter().flat_map(|set| &set.topics).cloned();
    let sources = |(set, number): (usize, i32)| topics(set).map(move |topic| TopicPartition::new(topic, number));
    // A topic may have fewer partitions than others.
    let exists = |partition: &TopicPartition| partition.partition < count(&partition.topic);
    let all: BTreeSet<_> = changelogs.values().flat_map(|task| sources(*task)).filter(exists).collect();
    if all.is_empty() {
        return Ok(());
    }
    let look_up = || admin.committed(&plan.group, all.iter().cloned().collect());
    let committed = retries.run("the broker to look up committed offsets", look_up).await?;
    changelogs.retain(|_, task| !sources(*task).any(|partition| committed.contains_key(&partition)));
    if changelogs.is_empty() {
        return Ok(());
    }
    let look_up = || admin.watermarks(changelogs.keys().cloned().collect());
    let bounds = retries.run("the broker to look up changelogs", look_up).await?;
    for (changelog, _) in bounds.into_iter().filter(|(_, (low, high))| low < high) {
        if let Some(version) = first_version(transport, &changelog, &mut retries).await? {
            // A worker that runs may have made the first commit since the look-up: it does so before it writes a record.
            let all = changelogs.get(&changelog).into_iter().flat_map(|task| sources(*task)).filter(exists);
            let all: Vec<_> = all.collect();
            let look_up = || admin.committed(&plan.group, all.clone());
            if !retries.run("the broker to look up committed offsets", look_up).await?.is_empty() {
                continue;
            }
            let table = plan.tables().find(|table| *table.changelog() == *changelog.topic).map_or("", TablePlan::name);
            return Err(without_offsets(table, &changelog, version.number));
        }
    }
    Ok(())
}

/// Returns the partitions of all changelogs, each with the set and the number of its task. `count` returns the number of partitions
/// of a topic.
fn changelogs(plan: &Plan, count: impl Fn(&str) -> i32) -> BTreeMap<TopicPartition, (usize, i32)> {
    let of_sets = plan.sets().iter().enumerate();
    let logs = of_sets.flat_map(|(set, of_set)| of_set.tables.iter().map(move |table| (set, table)));
    let logs = logs.filter_map(|(set, table)| Some((set, plan.table(table)?.changelog())));
    logs.flat_map(|(set, log)| (0..count(log)).map(move |number| (TopicPartition::new(log, number), (set, number))))
        .collect()
}

/// Returns the version of the first record of a changelog. Returns `None` if another program has written it, or if it cannot be
/// read now.
async fn first_version(
    transport: &dyn Transport,
    log: &TopicPartition,
    retries: &mut Retries,
) -> Result<Option<CommitVersion>, Error> {
    let mut reader = transport.read(vec![(log.clone(), StartAt::Earliest)], PROMPT)?;
    loop {
        match reader.next(PROGRESS_INTERVAL).await {
            Ok(Some(Read::Message(_, message))) => {
                let version = CommitHeader::of(&message.headers).version;
                return Ok((version > CommitVersion::default()).then_some(version));
            }
            Ok(Some(Read::End(_)) | None) => return Ok(None),
            Err(error) => retries.after("the broker to read a changelog", error).await?,
        }
    }
}

async fn read(
    plan: &Plan,
    transport: &dyn Transport,
    changelogs: &BTreeMap<TopicPartition, (usize, i32)>,
    retries: &mut Retries,
    report: &mut impl FnMut(u64),
) -> Result<BTreeMap<(usize, i32), NamedCommits>, Error> {
    let mut commits: BTreeMap<(usize, i32), NamedCommits> = BTreeMap::new();
    if changelogs.is_empty() {
        return Ok(commits);
    }
    let mut reader = transport.read(changelogs.keys().map(|of| (of.clone(), StartAt::Earliest)).collect(), PROMPT)?;
    let mut unread: BTreeSet<_> = changelogs.keys().cloned().collect();
    let (mut records, mut reported) = (0, tokio::time::Instant::now());
    while !unread.is_empty() {
        let next = match reader.next(Duration::from_secs(1)).await {
            Ok(next) => next,
            Err(error) => {
                retries.after("the broker to read the changelogs", error).await?;
                continue;
            }
        };
        match next {
            Some(Read::Message(partition, message)) => {
                records += 1;
                let Some(task) = changelogs.get(&partition) else { continue };
                // All topics of the task have the same metadata.
                let topic = plan.sets().get(task.0).and_then(|set| set.topics.first());
                if let Some((tables, metadata)) = topic.and_then(|topic| metadata_of(&message.headers, topic)) {
                    commits.entry(*task).or_default().add(&partition.topic, tables, metadata);
                }
            }
            Some(Read::End(partition)) => _ = unread.remove(&partition),
            None => {}
        }
        if reported.elapsed() >= PROGRESS_INTERVAL {
            reported = tokio::time::Instant::now();
            report(records);
        }
    }
    Ok(commits)
}

/// Returns the lowest position of the stages that read a topic.
fn lowest(metadata: &CommitMetadata, topic: &str) -> Option<Offset> {
    let topic = NameHash::of(topic);
    metadata.stages.values().filter_map(|stage| stage.offsets.get(&topic)).min().copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

    use super::*;
    use crate::agent::{AgentDef, AgentEntry};
    use crate::offsets::{CommitNumber, OwnerEpoch, StageMark, TableMark};
    use crate::stage::recorder::Declared;

    fn commit(epoch: u64, number: u64) -> CommitMetadata {
        let version = CommitVersion { epoch: OwnerEpoch(epoch), number: CommitNumber(number) };
        CommitMetadata { version, ..CommitMetadata::default() }
    }

    /// Law: a commit counts only if the last records of all tables that it changes are there.
    #[test]
    fn the_last_complete_commit_is_found_in_any_order() {
        let [a, b]: [Arc<str>; 2] = ["a".into(), "b".into()];
        let records = [
            (&a, 2, commit(1, 1)),
            (&a, 1, commit(1, 2)),
            (&b, 2, commit(1, 1)),
            // A table's last record of the commit 2.4 is missing.
            (&a, 2, commit(2, 3)),
            (&a, 2, commit(2, 4)),
            (&b, 2, commit(2, 3)),
            // A former owner.
            (&b, 1, commit(1, 9)),
        ];
        for start in 0..records.len() {
            let mut commits = NamedCommits::default();
            for (changelog, tables, metadata) in records.iter().cycle().skip(start).take(records.len()) {
                commits.add(changelog, *tables, metadata.clone());
            }
            assert_eq!(commits.last.map(|last| last.version), Some(commit(2, 3).version), "from {start}");
        }
    }

    /// Law: a position of another log is moved to the start of the new one, and no other; the tables stay as they are.
    #[test]
    fn what_the_group_lacks_is_in_the_present_logs() {
        let topics = ["in", "on"];
        let sum = AgentDef::new("sum", &["in", "on"], |_| Ok(Box::pin(async { Ok(()) })));
        let plan = Plan::build("shop", vec![(AgentEntry::new(sum), Declared::default())], Vec::new()).unwrap();
        let partitions = topics.map(|topic| TopicPartition::new(topic, 0));
        let metadata = CommitMetadata {
            stages: BTreeMap::from([(
                NameHash::of("sum"),
                StageMark { offsets: topics.map(|topic| (NameHash::of(topic), Offset(5))).into(), time: None },
            )]),
            tables: BTreeMap::from([(NameHash::of("sums"), TableMark::default())]),
            logs: topics.iter().filter_map(|topic| Some((NameHash::of(topic), LogId::of(topic)?))).collect(),
            ..commit(2, 7)
        };
        let named = Committed { offset: Offset(5), metadata: metadata.to_text() };
        let all = BTreeMap::from(partitions.clone().map(|of| (of, named.clone())));
        let missing = |committed: &BTreeMap<TopicPartition, Committed>, id: &str| {
            let last = LastCommits { commits: all.clone(), ..LastCommits::default() };
            let topic_ids = [("in", id), ("on", "on")].map(|(topic, id)| (topic.to_owned(), id.to_owned())).into();
            let bounds = partitions.clone().map(|of| (of, (Offset(3), Offset(9)))).into();
            last.missing(&plan, committed, &PresentLogs { topic_ids, bounds })
        };
        assert_eq!(missing(&all, "in").commits, BTreeMap::new());
        assert_eq!(missing(&BTreeMap::new(), "in").commits, all);
        assert_eq!(missing(&BTreeMap::new(), "").commits, all, "an unknown log is taken for the same one");
        // Its commit was deleted with the topic, or names the former log.
        let [in_, on] = &partitions;
        for committed in [all.clone(), BTreeMap::from([(on.clone(), named.clone())]), BTreeMap::new()] {
            let missing = missing(&committed, "new");
            assert_eq!(missing.replaced, BTreeSet::from([in_.clone()]));
            assert_eq!(missing.commits.contains_key(on), committed.is_empty());
            let commit = &missing.commits[in_];
            let moved = CommitMetadata::from_text(&commit.metadata, "in").unwrap();
            let mut expected = metadata.clone();
            expected.version.number = CommitNumber(8);
            expected.stages.get_mut(&NameHash::of("sum")).unwrap().offsets.insert(NameHash::of("in"), Offset(3));
            expected.logs.insert(NameHash::of("in"), LogId::of("new").unwrap());
            assert_eq!((commit.offset, moved), (Offset(3), expected));
        }
        // The user has chosen a position already.
        let chosen = BTreeMap::from([(in_.clone(), Committed::at(Offset(4))), (on.clone(), named.clone())]);
        assert_eq!(missing(&chosen, "new").commits, BTreeMap::new());
    }
}
