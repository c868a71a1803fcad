//! Consumer groups of the in-memory cluster: the range assignor, eager rebalances, and members that leave or crash.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use faust_broker::core::OffsetSpec;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

use super::cluster::{Commits, MemoryCluster, State};
use super::member::Member;
use crate::error::{TransportError, TransportErrorKind};
use crate::transport::port::{Assigned, Committed, Group, GroupListener, Subscription, TopicPartition};

pub(super) struct Membership {
    cluster: MemoryCluster,
    group: String,
    id: u64,
    abandoned: AtomicBool,
}

impl Membership {
    pub(super) fn join(
        cluster: &MemoryCluster,
        subscription: Subscription,
        listener: Arc<dyn GroupListener>,
    ) -> Arc<Self> {
        let mut state = cluster.state();
        let id = state.next_member;
        state.next_member += 1;
        state.active();
        let group = subscription.group.clone();
        state.members.insert(id, Member { subscription, listener, assigned: Vec::new(), crashed: false });
        drop(state);
        tokio::spawn(rebalance(cluster.clone(), group.clone()));
        Arc::new(Self { cluster: cluster.clone(), group, id, abandoned: AtomicBool::new(false) })
    }

    fn commit_now(&self, offsets: BTreeMap<TopicPartition, Committed>) -> Result<(), TransportError> {
        let now = self.cluster.time();
        let mut state = self.cluster.state();
        state.active();
        match offsets.keys().find(|partition| !self.owns(&state, partition)) {
            Some(partition) => Err(TransportError {
                what: format!("commit of group `{}`", self.group),
                why: format!("{partition} is not assigned to this member"),
                kind: TransportErrorKind::Rebalanced,
            }),
            None => state.commit(&self.group, offsets, now),
        }
    }

    fn owns(&self, state: &State, partition: &TopicPartition) -> bool {
        state.members.get(&self.id).is_some_and(|member| !member.crashed && member.assigned.contains(partition))
    }
}

impl crate::transport::port::Sealed for Membership {}

impl Group for Membership {
    fn commit(&self, offsets: BTreeMap<TopicPartition, Committed>) -> BoxFuture<'_, Result<(), TransportError>> {
        let mut commits = self.cluster.inner.commits.subscribe();
        let now = *commits.borrow_and_update();
        self.cluster.state().active();
        // A request takes effect even if the future is dropped, unless the request is held.
        let arrived = match now {
            Commits::Held => Err(offsets),
            Commits::Answered | Commits::Unanswered => Ok(self.commit_now(offsets)),
        };
        async move {
            if now != Commits::Answered {
                // An error means that the cluster has been dropped, which needs no handling.
                drop(commits.wait_for(|commits| *commits == Commits::Answered).await);
            }
            arrived.unwrap_or_else(|offsets| self.commit_now(offsets))
        }
        .boxed()
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        async move {
            let turn = self.cluster.inner.rebalancing.lock().await;
            revoke(&self.cluster, &[self.id]).await;
            self.cluster.state().members.remove(&self.id);
            drop(turn);
            if !self.abandoned.swap(true, Ordering::AcqRel) {
                tokio::spawn(rebalance(self.cluster.clone(), self.group.clone()));
            }
        }
        .boxed()
    }

    fn abandon(&self) {
        if self.abandoned.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.cluster.state();
        state.active();
        if let Some(member) = state.members.get_mut(&self.id) {
            member.crashed = true;
        }
        drop(state);
        let (cluster, group, id) = (self.cluster.clone(), self.group.clone(), self.id);
        tokio::spawn(async move {
            tokio::time::sleep(cluster.inner.session_timeout).await;
            cluster.state().members.remove(&id);
            rebalance(cluster, group).await;
        });
    }
}

/// Revokes all partitions of these members and waits until they have released them.
async fn revoke(cluster: &MemoryCluster, members: &[u64]) {
    let waits: Vec<_> = {
        let mut state = cluster.state();
        state.active();
        let held = members.iter().filter_map(|id| state.members.get(id));
        let held = held.filter(|member| !member.crashed && !member.assigned.is_empty());
        held.map(|member| member.listener.revoked(member.assigned.clone(), false)).collect()
    };
    join_all(waits).await;
    let mut state = cluster.state();
    for id in members {
        if let Some(member) = state.members.get_mut(id) {
            member.assigned.clear();
        }
    }
    state.active();
}

/// Revokes all partitions of the group and assigns them again.
async fn rebalance(cluster: MemoryCluster, group: String) {
    let _turn = cluster.inner.rebalancing.lock().await;
    let of_group = |state: &State| -> Vec<u64> {
        state.members.iter().filter(|(_, member)| member.group() == group).map(|(id, _)| *id).collect()
    };
    let members = of_group(&cluster.state());
    revoke(&cluster, &members).await;
    let mut state = cluster.state();
    // A member that has crashed in the meantime still counts: its session has not timed out.
    let members = of_group(&state);
    let assignments = range(&state, &members);
    let mut calls = Vec::new();
    for (id, partitions) in assignments {
        let given: Vec<_> =
            partitions.iter().filter_map(|partition| give(&cluster, &state, &group, partition)).collect();
        let Some(member) = state.members.get_mut(&id) else { continue };
        member.assigned = partitions;
        if !member.crashed {
            calls.push((Arc::clone(&member.listener), given));
        }
    }
    state.active();
    drop(state);
    calls.into_iter().for_each(|(listener, given)| listener.assigned(given));
}

/// Assigns partitions like Kafka's range assignor: each member gets a contiguous range of each topic's partitions, and
/// the first members get one partition more if the number is not divisible.
fn range(state: &State, members: &[u64]) -> BTreeMap<u64, Vec<TopicPartition>> {
    let mut assignments: BTreeMap<u64, Vec<TopicPartition>> = members.iter().map(|id| (*id, Vec::new())).collect();
    for (topic, count) in state.topics() {
        let topic: Arc<str> = topic.into();
        let subscribes =
            |id: &&u64| state.members.get(id).is_some_and(|member| member.subscription.topics.contains(&topic));
        let readers: Vec<_> = members.iter().filter(subscribes).collect();
        let mut next = 0;
        for (index, id) in readers.iter().enumerate() {
            let (readers, index) = (i32::try_from(readers.len()).unwrap_or(1), i32::try_from(index).unwrap_or(0));
            let share = count / readers + i32::from(index < count % readers);
            let run = (next..next + share).map(|partition| TopicPartition::new(Arc::clone(&topic), partition));
            assignments.entry(**id).or_default().extend(run);
            next += share;
        }
    }
    assignments
}

fn give(cluster: &MemoryCluster, state: &State, group: &str, partition: &TopicPartition) -> Option<Assigned> {
    let committed = state.committed(group, partition);
    let start = match &committed {
        Some(committed) => committed.offset,
        None => state.end(partition, OffsetSpec::Earliest).ok()?,
    };
    let queue = super::queue::MemoryQueue::new(cluster.clone(), partition.clone(), start);
    Some(Assigned { partition: partition.clone(), committed, start, queue: Box::new(queue) })
}
