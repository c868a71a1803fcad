//! Assignments and revocations: which tasks start, are resumed, are drained, or wait for the rest of their set.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::control::Control;
use super::drain::{DrainedTasks, end_all};
use super::shared::{Key, Phase};
use super::standby::StandbyKeeper;
use super::upkeep;
use crate::message::Offset;
use crate::offsets::CommitMetadata;
use crate::plan::PlannedStage;
use crate::task::{Command, Preparation, RestoreRequest, Task, TaskHandle, TaskPartition};
use crate::transport::{Assigned, TopicPartition};

/// Interval at which partitions that wait for others are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

impl Control {
    pub(super) async fn assign(&mut self, partitions: Vec<Assigned>) {
        self.cx.stats.rebalanced();
        let mut tasks: BTreeMap<Key, Vec<TaskPartition>> = BTreeMap::new();
        let mut given: BTreeMap<Key, Vec<Assigned>> = BTreeMap::new();
        for assigned in partitions {
            if let Err(error) = upkeep::check_count(&self.plan, &assigned.partition) {
                // An error means that the worker has ended already.
                drop(self.cx.failed.send(error));
            }
            if let Some(committed) = &assigned.committed {
                let (Assigned { partition, bounds: (low, _), start, .. }, metadata) = (&assigned, &committed.metadata);
                // The positions of a commit of this app are moved to the log start, whatever the policy is.
                let is_own = CommitMetadata::from_text(metadata, &partition.topic).is_some();
                self.report_deleted(partition, committed.offset..*low, if is_own { *low } else { *start });
            }
            let Some(set) = self.plan.set_of(&assigned.partition.topic) else { continue };
            given.entry((set, assigned.partition.partition)).or_default().push(assigned);
        }
        let parked = std::mem::take(&mut self.parked);
        let given = self.resume(parked, given).await;
        for (key, assigned) in given {
            let parts = assigned.into_iter().map(|assigned| TaskPartition::new(assigned, &self.cx.settings));
            let earlier = self.incomplete.remove(&key).into_iter().flatten();
            tasks.insert(key, earlier.chain(parts).collect());
        }
        // With cooperative rebalancing, a partition may be assigned to a running task. The task is restarted with all
        // of its partitions.
        let grown: Vec<_> = tasks.keys().filter(|key| self.tasks.contains_key(key)).copied().collect();
        let deadline = Instant::now() + self.cx.settings.broker_rebalance_timeout;
        let drained = self.drain(&grown, deadline).await;
        for (key, parts) in end_all(drained.tasks).await.into_iter().chain(drained.dropped) {
            tasks.entry(key).or_default().extend(parts);
        }
        self.spawn_all(tasks);
        self.keep_standbys();
        self.assigned_once = true;
        // A worker with partitions that wait is not ready.
        self.report_incomplete();
        self.report_assignment();
        self.shared.advance(Phase::Ready);
    }

    pub(super) async fn revoke(&mut self, partitions: Vec<TopicPartition>, lost: bool, budget: Duration) {
        let gone: BTreeSet<_> = partitions.into_iter().collect();
        self.incomplete.values_mut().for_each(|parts| parts.retain(|part| !gone.contains(part.reader.partition())));
        self.incomplete.retain(|_, parts| !parts.is_empty());
        let is_hit = |task: &TaskHandle| task.parts.iter().any(|part| gone.contains(part.reader.partition()));
        let hit: Vec<_> = self.tasks.iter().filter(|(_, task)| is_hit(task)).map(|(key, _)| *key).collect();
        let DrainedTasks { tasks, dropped, .. } = if lost {
            self.give_up_commit();
            let parked = std::mem::take(&mut self.parked).into_iter();
            end_all(parked.map(|(key, task)| (key, task, false)).collect()).await;
            // Another worker may own the partitions already: a commit would be rejected, and unfinished events are
            // processed there.
            let tasks = hit.iter().filter_map(|key| Some((*key, self.tasks.remove(key)?, false))).collect();
            DrainedTasks { tasks, dropped: Vec::new(), in_time: false }
        } else {
            self.drain(&hit, Instant::now() + budget).await
        };
        let mut ended = Vec::new();
        for (key, task, can_resume) in tasks {
            if can_resume && task.parts.iter().all(|part| gone.contains(part.reader.partition())) {
                self.parked.insert(key, task);
            } else {
                ended.push((key, task, can_resume));
            }
        }
        let stay = |(key, mut parts): (Key, Vec<TaskPartition>)| {
            parts.retain(|part| !gone.contains(part.reader.partition()));
            (!parts.is_empty()).then_some((key, parts))
        };
        let rest = end_all(ended).await;
        self.spawn_all(rest.into_iter().chain(dropped).filter_map(stay));
        self.report_assignment();
    }

    /// Resumes the parked tasks whose partitions come back in the generation after the one in which they were revoked, so that
    /// no other member can have owned them in between. Ends the others. Returns the partitions of new tasks.
    async fn resume(
        &mut self,
        parked: BTreeMap<Key, TaskHandle>,
        mut given: BTreeMap<Key, Vec<Assigned>>,
    ) -> BTreeMap<Key, Vec<Assigned>> {
        let mut ended = Vec::new();
        for (key, task) in parked {
            match given.remove(&key) {
                Some(assigned) if task.can_continue(&assigned) => {
                    task.continue_in(assigned);
                    self.cx.stats.task_resumed();
                    drop(task.commands.send(Command::Resume));
                    self.tasks.insert(key, task);
                }
                assigned => {
                    given.extend(assigned.map(|assigned| (key, assigned)));
                    ended.push((key, task, false));
                }
            }
        }
        // Their stores are closed before others open them.
        end_all(ended).await;
        given
    }

    /// Starts tasks. Tasks with tables restore them first, and share one reader of the changelogs.
    fn spawn_all(&mut self, tasks: impl IntoIterator<Item = (Key, Vec<TaskPartition>)>) {
        let mut wanted = Vec::new();
        for (key, parts) in tasks {
            if !self.plan.missing(key, parts.iter().map(|part| &*part.reader.partition().topic)).is_empty() {
                self.incomplete.insert(key, parts);
                self.incomplete_report = None;
                continue;
            }
            let stages = self.plan.sets().get(key.0).map_or_else(Vec::new, |set| set.stages.clone());
            let reads =
                |stage: &&PlannedStage| parts.iter().any(|part| stage.reads.contains(&part.reader.partition().topic));
            let stages: Vec<_> =
                stages.into_iter().filter_map(|index| self.plan.stages().get(index)).filter(reads).cloned().collect();
            let preparation = self.want(key, &stages, &parts).map(|(want, preparation)| {
                wanted.push(want);
                preparation
            });
            self.tasks.insert(key, Task::spawn(Arc::clone(&self.cx), stages, parts, preparation));
        }
        if !wanted.is_empty() {
            while self.preparing.try_join_next().is_some() {}
            self.preparing.spawn(Arc::clone(&self.cx.recovery).prepare(wanted));
        }
    }

    /// Ends the transactions of dead workers, for whose end the assignment of these partitions waits.
    pub(super) fn fence(&mut self, partitions: &[TopicPartition]) {
        let (recovery, transport) = (Arc::clone(&self.cx.recovery), Arc::clone(&self.cx.transport));
        let (group, partitions) = (self.plan.group.clone(), partitions.to_vec());
        while self.preparing.try_join_next().is_some() {}
        self.preparing.spawn(async move {
            // The broker answers if it need not wait for a transaction: otherwise, something else is the cause.
            let Ok(admin) = transport.admin() else { return };
            if admin.committed_now(&group, partitions.clone()).await.is_err() {
                return;
            }
            let suspects = recovery.predecessors.fence(&partitions.iter().map(|one| one.partition).collect()).await;
            tracing::info!("the assignment waits for the end of an open transaction {suspects}");
        });
    }

    /// Starts the keeper of the standbys after the first assignment, and notifies it of each one.
    fn keep_standbys(&mut self) {
        if !self.assigned_once
            && let Some(keeper) = StandbyKeeper::new(&self.cx, &self.plan, &self.shared, &self.standbys_due)
        {
            self.standbys.spawn(keeper.run());
        }
        self.standbys_due.notify_one();
    }

    /// Returns the restore request for a task's tables, and the receiver of its result; `None` for a task without
    /// tables.
    fn want(
        &self,
        (_, partition): Key,
        stages: &[PlannedStage],
        parts: &[TaskPartition],
    ) -> Option<(RestoreRequest, Preparation)> {
        let names: BTreeSet<&str> = stages.iter().flat_map(PlannedStage::tables).collect();
        let tables: Vec<_> = names
            .into_iter()
            .filter_map(|name| {
                let table = self.plan.table(name)?;
                let partitions = self.plan.topics().find(|topic| topic.name() == table.changelog())?.partitions()?;
                Some((Arc::clone(&table.factory), partitions))
            })
            .collect();
        let (reply, preparation) = oneshot::channel();
        let commits = parts.iter().filter_map(TaskPartition::mark).collect();
        (!tables.is_empty()).then_some((RestoreRequest { partition, tables, commits, reply }, preparation))
    }

    /// Reports partitions that wait for the rest of their sets, every minute.
    pub(super) fn report_incomplete(&mut self) {
        let describe = |(key, parts): (&Key, &Vec<TaskPartition>)| {
            let names = |topics: Vec<String>| topics.join(", ");
            let own = names(parts.iter().map(|part| part.reader.partition().to_string()).collect());
            let missing = self.plan.missing(*key, parts.iter().map(|part| &*part.reader.partition().topic));
            let missing = names(missing.into_iter().map(|topic| format!("{topic}[{}]", key.1)).collect());
            format!("{own} of a set with {missing}")
        };
        let waiting: Vec<_> = self.incomplete.iter().map(describe).collect();
        if !waiting.is_empty() && self.incomplete_report.is_none_or(|at| at <= Instant::now()) {
            self.incomplete_report = Some(Instant::now() + REPORT_INTERVAL);
            tracing::warn!(
                "another version of the app, which reads other topics, is in the group: {} partitions wait, because their tables belong to topics that are assigned to different workers ({}). They run once only one version does: finish the deployment, or take it back",
                waiting.len(),
                waiting.join("; ")
            );
        }
        *self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }

    /// Counts and reports messages that were deleted before they were read, if there are any.
    pub(super) fn report_deleted(&self, partition: &TopicPartition, unread: Range<Offset>, next: Offset) {
        if unread.is_empty() {
            return;
        }
        let Range { start, end } = unread;
        self.cx.stats.deleted_unread(end.since(start));
        tracing::warn!(
            "the messages of {partition} from offset {start} to {end} were deleted before they were read, and are counted (`deleted_unread`); reading continues at offset {next}"
        );
    }

    fn report_assignment(&self) {
        let of_tasks = self.tasks.values().map(|task| &task.parts);
        let parts = of_tasks.chain(self.incomplete.values()).flatten();
        let mut all: Vec<_> = parts.map(|part| part.reader.partition().clone()).collect();
        all.sort();
        self.cx.directory.set_partitions(all.iter());
        tracing::info!("assigned: {}", if all.is_empty() { "no partitions".to_owned() } else { summary(&all) });
        *self.shared.assignment.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }
}

/// Formats partitions by topic, such as `a[0,1,2] b[0]`.
fn summary(partitions: &[TopicPartition]) -> String {
    let mut by_topic: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for partition in partitions {
        by_topic.entry(&partition.topic).or_default().push(partition.partition.to_string());
    }
    by_topic.iter().map(|(topic, numbers)| format!("{topic}[{}]", numbers.join(","))).collect::<Vec<_>>().join(" ")
}
