//! Consumer groups of the in-memory cluster: the range assignor, eager and incremental rebalances, members that leave, crash or
//! are expelled, and static members, which return without a rebalance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faust_broker::core::OffsetSpec;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, ready};

use super::cluster::{Commits, MemoryCluster, State};
use super::faults::ClusterFault;
use super::member::{Member, member_id};
use super::transaction::MemberIdentity;
use crate::config::OffsetReset;
use crate::error::{TransportError, TransportErrorKind};
use crate::transport::port::{
    Assigned, Committed, Group, GroupListener, RefusedOffsets, Subscription, TopicPartition, topic_id_text,
};
use crate::transport::start;
use crate::transport::transaction::GroupMembership;

#[derive(Clone)]
pub(super) struct Membership {
    cluster: MemoryCluster,
    group: String,
    id: u64,
    abandoned: Arc<AtomicBool>,
    /// Locked while a late commit is on its way.
    order: Arc<tokio::sync::Mutex<()>>,
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
        let mut member = Member {
            client: Arc::clone(&cluster.client),
            instance: cluster.instance.clone(),
            place: id,
            subscription,
            listener,
            assigned: Vec::new(),
            generation: 0,
            crashed: false,
            expelled: false,
        };
        let former = state.static_member(&member);
        let returns = former.and_then(|former| state.members.remove(&former)).is_some_and(|former| {
            (member.place, member.generation, member.assigned) = (former.place, former.generation, former.assigned);
            if !former.crashed {
                let what = format!("membership in group `{group}`");
                former.listener.failed(TransportError::fatal(what, "another member has its instance id"));
            }
            former.subscription.topics.keys().eq(member.subscription.topics.keys())
        });
        state.members.insert(id, member);
        drop(state);
        if returns {
            tokio::spawn(give_back(cluster.clone(), id));
        } else {
            tokio::spawn(rebalance(cluster.clone(), group.clone()));
        }
        Arc::new(Self { cluster: cluster.clone(), group, id, abandoned: Arc::default(), order: Arc::default() })
    }

    /// Carries a commit out after a delay, even if the member does not wait for it. The commits of a member take effect in
    /// the order in which they were sent, and a broker refuses one of an earlier generation.
    fn commit_late(
        &self,
        offsets: BTreeMap<TopicPartition, Committed>,
        delay: Duration,
    ) -> BoxFuture<'static, Result<RefusedOffsets, TransportError>> {
        let late = self.clone();
        let sent_in = self.generation(&self.cluster.state());
        let committed = tokio::spawn(async move {
            let _turn = Arc::clone(&late.order).lock_owned().await;
            tokio::time::sleep(delay).await;
            let is_outdated = {
                let mut state = late.cluster.state();
                late.generation(&state) != sent_in && !state.faults.occurs(ClusterFault::CommitByFormerOwner)
            };
            if is_outdated {
                Err(late.refused("it was sent in an earlier generation"))
            } else {
                late.commit_now(offsets)
            }
        });
        async { committed.await.unwrap_or_else(|why| Err(TransportError::retriable("commit", why.to_string()))) }
            .boxed()
    }

    fn refused(&self, why: &str) -> TransportError {
        TransportError {
            what: format!("commit of group `{}`", self.group),
            why: why.to_owned(),
            kind: TransportErrorKind::Rebalanced,
        }
    }

    fn generation(&self, state: &State) -> Option<u64> {
        state.members.get(&self.id).map(|member| member.generation)
    }

    fn commit_now(&self, offsets: BTreeMap<TopicPartition, Committed>) -> Result<RefusedOffsets, TransportError> {
        let now = self.cluster.time();
        let mut state = self.cluster.state();
        state.active();
        if let Some(partition) = offsets.keys().find(|partition| !self.owns(&state, partition))
            && !(self.is_current(&state) && state.faults.occurs(ClusterFault::CommitByFormerOwner))
        {
            return Err(self.refused(&format!("{partition} is not assigned to this member")));
        }
        let requested: BTreeMap<_, _> =
            offsets.iter().map(|(partition, committed)| (partition.clone(), committed.offset)).collect();
        let committed = state.commit(&self.group, offsets, now);
        drop(state);
        self.cluster.report(|observer, now| match &committed {
            Ok(refused) => {
                let set = requested.into_iter().filter(|(partition, _)| !refused.contains_key(partition)).collect();
                observer.committed(&self.cluster.client, set, now);
            }
            Err(error) => observer.commit_failed(&self.cluster.client, error.to_string(), now),
        });
        committed
    }

    fn owns(&self, state: &State, partition: &TopicPartition) -> bool {
        state.members.get(&self.id).is_some_and(|member| !member.crashed && member.assigned.contains(partition))
    }

    /// Returns whether the member belongs to the current generation of its group.
    fn is_current(&self, state: &State) -> bool {
        let current = state.generations.get(&self.group);
        state.members.get(&self.id).is_some_and(|member| !member.crashed && Some(&member.generation) == current)
    }
}

impl crate::transport::port::Sealed for Membership {}

impl Group for Membership {
    fn commit(
        &self,
        offsets: BTreeMap<TopicPartition, Committed>,
    ) -> BoxFuture<'_, Result<RefusedOffsets, TransportError>> {
        let mut state = self.cluster.state();
        state.active();
        let now = state.commits;
        let rebalance = self.cluster.inner.timeouts.rebalance;
        let is_late = state.faults.occurs(ClusterFault::LateCommit);
        let mut delay = state.commit_delay.or_else(|| is_late.then(|| state.faults.short_time(rebalance)));
        if self.order.try_lock().is_err() {
            delay.get_or_insert(Duration::ZERO);
        }
        drop(state);
        if let Some(delay) = delay {
            return self.commit_late(offsets, delay);
        }
        // A request takes effect even if the future is dropped, unless the request is held.
        let arrived = match now {
            Commits::Held => Err(offsets),
            Commits::Answered | Commits::Unanswered => Ok(self.commit_now(offsets)),
        };
        async move {
            if now != Commits::Answered {
                self.cluster.commits_released().await;
            }
            arrived.unwrap_or_else(|offsets| self.commit_now(offsets))
        }
        .boxed()
    }

    fn membership(&self) -> Option<GroupMembership> {
        let state = self.cluster.state();
        // A member that has not joined yet has no generation.
        let joined = |member: &&Member| !member.expelled && member.generation > 0;
        let member = state.members.get(&self.id).filter(joined)?;
        let (group, generation) = (self.group.clone(), member.generation);
        Some(GroupMembership::new(MemberIdentity { group, id: self.id, generation }))
    }

    fn member_id(&self) -> BoxFuture<'_, Option<String>> {
        let state = self.cluster.state();
        let member = state.members.get(&self.id).filter(|member| !member.expelled);
        ready(member.map(|_| member_id(self.id))).boxed()
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        async move {
            let turn = self.cluster.inner.rebalancing.lock().await;
            let mut own = owned(&self.cluster.state(), &self.group);
            own.retain(|id, _| *id == self.id);
            if self.cluster.instance.is_some() {
                drop(turn);
                self.close(own).await;
                return;
            }
            revoke(&self.cluster, own).await;
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
            tokio::time::sleep(cluster.inner.timeouts.session).await;
            // A static member may have returned under another id.
            let is_gone = cluster.state().members.remove(&id).is_some();
            if is_gone {
                rebalance(cluster, group).await;
            }
        });
    }
}

impl Membership {
    /// Ends a static member: it releases its partitions, and the group keeps them for it until its session times out.
    async fn close(&self, own: Assignments) {
        let released = {
            let state = self.cluster.state();
            let member = state.members.get(&self.id).filter(|member| !member.crashed);
            member.map(|member| member.listener.revoked(own.into_values().flatten().collect(), false))
        };
        if let Some(released) = released {
            released.await;
        }
        self.abandon();
    }
}

impl State {
    /// Returns the member whose place a static member takes: it has the same instance id.
    fn static_member(&self, new: &Member) -> Option<u64> {
        let instance = new.instance.as_ref()?;
        let is_former = |member: &Member| member.instance.as_ref() == Some(instance) && member.group() == new.group();
        self.members.iter().find(|(_, member)| is_former(member)).map(|(id, _)| *id)
    }
}

impl MemoryCluster {
    /// Expels a member, the `index`-th of those that are alive, as if its heartbeats had not arrived: the others take its
    /// partitions over at once. It learns of it after `delay`, loses its partitions, and joins again. Returns whether
    /// there is such a member. Must be called within the runtime.
    pub(crate) fn expel(&self, index: usize, delay: Duration) -> bool {
        let mut state = self.state();
        state.active();
        let mut alive = state.members.iter_mut().filter(|(_, member)| !member.crashed);
        let Some((&id, member)) = alive.nth(index).filter(|(_, member)| !member.expelled) else { return false };
        member.expelled = true;
        member.generation = 0;
        let (lost, listener) = (std::mem::take(&mut member.assigned), Arc::clone(&member.listener));
        let group = member.group().to_owned();
        let client = Arc::clone(&member.client);
        report_revoked(self, &client, lost.clone());
        state.faults.caused(ClusterFault::ExpelledMember);
        drop(state);
        tokio::spawn(rebalance(self.clone(), group.clone()));
        let cluster = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            listener.revoked(lost, true).await;
            if let Some(member) = cluster.state().members.get_mut(&id) {
                member.expelled = false;
            }
            rebalance(cluster, group).await;
        });
        true
    }
}

/// Partitions by the member that owns them, or is to own them.
type Assignments = BTreeMap<u64, Vec<TopicPartition>>;

/// Revokes these partitions, and waits until the members have released them, unless the cluster is impatient. The
/// partitions are taken from the members in any case.
async fn revoke(cluster: &MemoryCluster, revoked: Assignments) {
    let (waits, patience): (Vec<_>, _) = {
        let mut state = cluster.state();
        state.active();
        let held = revoked.iter().filter_map(|(id, partitions)| Some((state.members.get(id)?, partitions)));
        let held = held.filter(|(member, partitions)| !member.crashed && !partitions.is_empty());
        let waits = held.map(|(member, partitions)| member.listener.revoked(partitions.clone(), false)).collect();
        let patience = state
            .faults
            .draw(ClusterFault::ImpatientRebalance)
            .then(|| state.faults.short_time(cluster.inner.timeouts.rebalance));
        (waits, patience)
    };
    let released = join_all(waits);
    match patience {
        Some(patience) => {
            if tokio::time::timeout(patience, released).await.is_err() {
                cluster.state().faults.caused(ClusterFault::ImpatientRebalance);
            }
        }
        None => _ = released.await,
    }
    let mut state = cluster.state();
    for (id, partitions) in revoked {
        if let Some(member) = state.members.get_mut(&id) {
            let (lost, kept) = member.assigned.drain(..).partition(|partition| partitions.contains(partition));
            member.assigned = kept;
            report_revoked(cluster, &member.client, lost);
        }
    }
    state.active();
}

fn report_revoked(cluster: &MemoryCluster, client: &Arc<str>, lost: Vec<TopicPartition>) {
    if !lost.is_empty() {
        cluster.report(|observer, now| observer.revoked(client, lost, now));
    }
}

/// Takes the partitions of members away, and assigns all partitions of the group anew: all of them in an eager
/// rebalance, only those that move in an incremental one.
async fn rebalance(cluster: MemoryCluster, group: String) {
    let _turn = cluster.inner.rebalancing.lock().await;
    let is_incremental = {
        let mut state = cluster.state();
        let has_owners = owned(&state, &group).values().any(|partitions| !partitions.is_empty());
        has_owners && state.faults.occurs(ClusterFault::IncrementalRebalance)
    };
    if !is_incremental {
        let all = owned(&cluster.state(), &group);
        revoke(&cluster, all).await;
    }
    // Members may join or leave while others release their partitions. A member that has crashed still counts: its
    // session has not timed out.
    let target = loop {
        let target = range(&cluster.state(), &group);
        let mut moving = owned(&cluster.state(), &group);
        for (id, partitions) in &mut moving {
            partitions.retain(|partition| !target.get(id).is_some_and(|to| to.contains(partition)));
        }
        moving.retain(|_, partitions| !partitions.is_empty());
        if moving.is_empty() {
            break target;
        }
        revoke(&cluster, moving).await;
    };
    let partitions: Vec<_> = target.values().flatten().cloned().collect();
    let pending = || {
        let state = cluster.state();
        let listeners = target.iter().filter_map(|(id, of)| Some((Arc::clone(&state.members.get(id)?.listener), of)));
        let listeners: Vec<_> = listeners.collect();
        drop(state);
        listeners.into_iter().for_each(|(listener, of)| listener.offsets_pending(of));
    };
    cluster.offsets_settled(&group, &partitions, pending).await;
    assign(&cluster, &group, target);
}

/// Assigns the partitions that a static member has had to it again, in the same generation: the group does not rebalance.
async fn give_back(cluster: MemoryCluster, id: u64) {
    let turn = cluster.inner.rebalancing.lock().await;
    let assigned = {
        let state = cluster.state();
        state.members.get(&id).map(|member| (member.group().to_owned(), member.assigned.clone()))
    };
    let Some((group, partitions)) = assigned else { return };
    let of_all = range(&cluster.state(), &group);
    let is_still_its_own =
        of_all.get(&id).is_some_and(|own| own.iter().all(|partition| partitions.contains(partition)));
    if !is_still_its_own {
        // The group was about to rebalance when it returned.
        drop(turn);
        return rebalance(cluster, group).await;
    }
    // The member itself had these partitions, and has ended its transaction.
    cluster.offsets_settled(&group, &partitions, || ()).await;
    let mut state = cluster.state();
    state.active();
    let Some(member) = state.members.get(&id) else { return };
    let given: Result<Vec<_>, _> =
        member.assigned.iter().map(|partition| give(&cluster, &state, (id, member), partition)).collect();
    let (listener, client, partitions) =
        (Arc::clone(&member.listener), Arc::clone(&member.client), member.assigned.clone());
    drop(state);
    cluster.report(|observer, now| observer.assigned(&client, partitions, now));
    match given {
        Ok(given) => listener.assigned(given),
        Err(error) => listener.failed(error),
    }
    drop(turn);
}

/// Assigns to each member the partitions that it does not own yet, in a new generation of the group.
fn assign(cluster: &MemoryCluster, group: &str, target: Assignments) {
    let mut state = cluster.state();
    let generation = state.generations.entry(group.to_owned()).or_default();
    *generation += 1;
    let generation = *generation;
    let mut calls = Vec::new();
    for (id, partitions) in target {
        // A member that was expelled meanwhile gets nothing: another rebalance follows.
        let Some(member) = state.members.get(&id).filter(|member| !member.expelled) else { continue };
        let added = partitions.iter().filter(|partition| !member.assigned.contains(partition));
        let added: Vec<_> = added.cloned().collect();
        let given = added.iter().map(|partition| give(cluster, &state, (id, member), partition));
        let given: Result<Vec<_>, _> = given.collect();
        let Some(member) = state.members.get_mut(&id) else { continue };
        member.assigned = partitions;
        if !member.crashed {
            member.generation = generation;
            if !added.is_empty() {
                cluster.report(|observer, now| observer.assigned(&member.client, added, now));
            }
            calls.push((Arc::clone(&member.listener), given));
        }
    }
    state.active();
    drop(state);
    for (listener, given) in calls {
        match given {
            Ok(given) => listener.assigned(given),
            Err(error) => listener.failed(error),
        }
    }
}

/// Returns the partitions that the members of the group own.
fn owned(state: &State, group: &str) -> Assignments {
    let of_group = state.members.iter().filter(|(_, member)| member.group() == group && !member.expelled);
    of_group.map(|(id, member)| (*id, member.assigned.clone())).collect()
}

/// Assigns partitions like Kafka's range assignor: each member gets a contiguous range of each topic's partitions, and
/// the first members get one partition more if the number is not divisible.
fn range(state: &State, group: &str) -> Assignments {
    let mut members: Vec<u64> = owned(state, group).into_keys().collect();
    members.sort_by_key(|id| state.members.get(id).map(|member| member.place));
    let mut assignments: Assignments = members.iter().map(|id| (*id, Vec::new())).collect();
    for (topic, count) in state.topics() {
        let topic: Arc<str> = topic.into();
        let subscribes =
            |id: &&u64| state.members.get(id).is_some_and(|member| member.subscription.topics.contains_key(&topic));
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

fn give(
    cluster: &MemoryCluster,
    state: &State,
    (id, member): (u64, &Member),
    partition: &TopicPartition,
) -> Result<Assigned, TransportError> {
    let committed = state.committed(member.group(), partition);
    let bounds = (state.end(partition, OffsetSpec::Earliest)?, state.end(partition, OffsetSpec::Latest)?);
    // Only subscribed topics are assigned.
    let reset = member.subscription.topics.get(&partition.topic).copied().unwrap_or(OffsetReset::None);
    let start = start::start(partition, committed.as_ref(), bounds, reset)?;
    let queue = super::queue::MemoryQueue::new(cluster.clone(), partition.clone(), start).of_group();
    let queue = queue.resetting(reset).reporting(Arc::clone(&member.listener));
    let nonce = u16::try_from(id).unwrap_or(u16::MAX);
    let generation = state.generations.get(member.group()).copied().unwrap_or_default();
    let topic_id = state.broker.topic(&partition.topic).map_or_else(String::new, |topic| topic_id_text(topic.id()));
    let (partition, queue) = (partition.clone(), Box::new(queue));
    Ok(Assigned { partition, committed, generation, nonce, bounds, topic_id, start, queue })
}
