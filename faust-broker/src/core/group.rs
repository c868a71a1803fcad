//! Consumer groups: membership, assignments and committed offsets. This module and its siblings have the classic protocol, and
//! [`consumer`] has the one of KIP-848.

mod configs;
mod consumer;
mod expiry;
mod join;
mod member;
mod offsets;
mod query;
mod rebalance;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;

pub use self::consumer::{ConsumerHeartbeat, ConsumerReply, DescribedConsumer, DescribedConsumerGroup, TopicPartition};
pub use self::join::{JoinRefusal, JoinReply, JoinRequest, JoinedMember};
pub use self::offsets::{CommittedOffset, OffsetToCommit};
pub use self::query::{DescribedGroup, DescribedMember, GroupSummary};
pub use self::sync::{MemberRef, SyncReply, SyncRequest};

#[cfg(feature = "server")]
pub(crate) use self::configs::{GROUP_CONFIGS, GroupKey};
pub(crate) use self::consumer::journal::{ConsumerGroupNote, ConsumerMemberNote};

use self::consumer::ConsumerGroup;
use self::member::Member;
use self::offsets::CONSUMER;
use crate::core::broker_values::BrokerValues;
use crate::core::change::{Change, Committed};
use crate::core::records::marker::Outcome;
use crate::core::{BrokerCore, ErrorCode};

/// The identifier of a response that may be delayed. [`BrokerCore::take_completed`] returns the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

/// A completed response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Completed {
    /// Response to a join.
    Join(Result<JoinReply, ErrorCode>),
    /// Response to a sync.
    Sync(Result<SyncReply, ErrorCode>),
}

/// The state of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupState {
    /// The group has no members, but it may have committed offsets.
    Empty,
    /// The group waits for all members to rejoin.
    PreparingRebalance,
    /// The group waits for the leader's assignment.
    CompletingRebalance,
    /// All members have their assignments.
    Stable,
}

impl GroupState {
    /// Returns the name of the state, as in Kafka.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// All groups.
#[derive(Debug)]
pub(crate) struct Groups {
    by_id: BTreeMap<String, Group>,
    /// The configs that clients have set for groups, which need not exist.
    configs: BTreeMap<String, BTreeMap<String, String>>,
    config: GroupConfig,
    outbox: Outbox,
    /// Difference between the wall clock and the clock of group operations, in milliseconds.
    wall_lead_ms: i64,
}

/// The configs of the broker that groups use.
#[derive(Debug)]
struct GroupConfig {
    /// Range of allowed session timeouts, in milliseconds.
    session_timeout_ms: RangeInclusive<i64>,
    /// Time for which a new group waits for more members before its first assignment, in milliseconds.
    initial_rebalance_delay_ms: i64,
    /// Time for which committed offsets are kept while they are not in use, in milliseconds.
    offsets_retention_ms: i64,
    /// Groups may have the consumer protocol.
    has_consumer_protocol: bool,
    /// Maximum number of members of a consumer group.
    consumer_max_size: usize,
    /// Session timeout of consumer groups, in milliseconds.
    consumer_session_ms: i32,
    /// Interval between the heartbeats of the members of consumer groups, in milliseconds.
    consumer_interval_ms: i32,
}

impl GroupConfig {
    fn new(values: &BrokerValues) -> Self {
        let number = |name| values.number(name);
        let int = |name| i32::try_from(number(name)).unwrap_or(i32::MAX);
        Self {
            session_timeout_ms: number("group.min.session.timeout.ms")..=number("group.max.session.timeout.ms"),
            initial_rebalance_delay_ms: number("group.initial.rebalance.delay.ms"),
            offsets_retention_ms: number("offsets.retention.minutes").saturating_mul(60_000),
            has_consumer_protocol: values
                .value("group.coordinator.rebalance.protocols")
                .is_some_and(|protocols| protocols.split(',').any(|protocol| protocol.trim() == "consumer")),
            consumer_max_size: usize::try_from(number("group.consumer.max.size")).unwrap_or(usize::MAX),
            consumer_session_ms: int("group.consumer.session.timeout.ms"),
            consumer_interval_ms: int("group.consumer.heartbeat.interval.ms"),
        }
    }
}

/// Responses that have not been taken yet.
#[derive(Debug, Default)]
struct Outbox {
    next_token: u64,
    completed: Vec<(Token, Completed)>,
}

impl Outbox {
    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    fn join(&mut self, token: Option<Token>, reply: Result<JoinReply, ErrorCode>) {
        self.completed.extend(token.map(|token| (token, Completed::Join(reply))));
    }

    fn sync(&mut self, token: Option<Token>, reply: Result<SyncReply, ErrorCode>) {
        self.completed.extend(token.map(|token| (token, Completed::Sync(reply))));
    }
}

/// One group.
#[derive(Debug)]
struct Group {
    state: GroupState,
    generation: i32,
    /// `consumer` or `connect`; empty before the first member.
    protocol_type: String,
    /// The protocol (assignor) chosen at the last rebalance; all members support it.
    protocol: Option<String>,
    leader: String,
    /// The members in the order in which they joined.
    members: Vec<Member>,
    /// Member ids that were issued with `MemberIdRequired` and not used yet, with the time at which they expire.
    pending: BTreeMap<String, i64>,
    /// Time at which members that have not responded in the current phase of a rebalance are removed.
    deadline_ms: Option<i64>,
    /// End of the initial rebalance delay, while a new group waits for more members.
    initial_until_ms: Option<i64>,
    offsets: BTreeMap<(String, i32), Committed>,
    /// The offsets that open transactions have committed, by producer id.
    pending_offsets: BTreeMap<i64, BTreeMap<(String, i32), Committed>>,
    /// Time at which the last member left, by the wall clock; `None` if there are members, or never were any.
    emptied_ms: Option<i64>,
    /// True or false if the journal says that the group has lost all its members or has some, `None` if it does not say.
    noted_empty: Option<bool>,
    /// The members of a group of the consumer protocol, which has none of the classic protocol.
    consumer: Option<ConsumerGroup>,
    /// True if the journal says that the group has the consumer protocol.
    noted_consumer: bool,
}

impl Group {
    fn new() -> Self {
        Self {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: None,
            leader: String::new(),
            members: Vec::new(),
            pending: BTreeMap::new(),
            deadline_ms: None,
            initial_until_ms: None,
            offsets: BTreeMap::new(),
            pending_offsets: BTreeMap::new(),
            emptied_ms: None,
            noted_empty: None,
            consumer: None,
            noted_consumer: false,
        }
    }

    /// Returns true if the group has members, of either protocol.
    fn has_members(&self) -> bool {
        !self.members.is_empty() || self.consumer.as_ref().is_some_and(|consumer| !consumer.is_empty())
    }

    /// Turns the group, which has no members, into a new one of the classic protocol. It keeps its offsets.
    fn become_classic(&mut self) {
        self.consumer = None;
        (self.generation, self.protocol) = (0, None);
        self.protocol_type.clear();
    }

    fn member(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    fn static_member(&self, instance_id: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.instance_id.as_deref() == Some(instance_id))
    }

    /// Drops what open transactions have committed for a partition, because the group's offset has been changed since.
    fn supersede_pending(&mut self, topic: &str, partition: i32) {
        if self.pending_offsets.is_empty() {
            return;
        }
        let at = (topic.to_owned(), partition);
        self.pending_offsets.values_mut().for_each(|offsets| drop(offsets.remove(&at)));
        self.pending_offsets.retain(|_, offsets| !offsets.is_empty());
    }

    /// Returns true if the group has neither members nor committed offsets.
    fn is_blank(&self) -> bool {
        !self.has_members() && self.pending.is_empty() && self.offsets.is_empty() && self.pending_offsets.is_empty()
    }
}

impl Groups {
    pub(crate) fn new(values: &BrokerValues) -> Self {
        let config = GroupConfig::new(values);
        Self { by_id: BTreeMap::new(), configs: BTreeMap::new(), config, outbox: Outbox::default(), wall_lead_ms: 0 }
    }

    pub(crate) fn take_completed(&mut self) -> Vec<(Token, Completed)> {
        std::mem::take(&mut self.outbox.completed)
    }

    pub(crate) fn tick(&mut self, now_ms: i64) {
        let Self { by_id, configs, config, outbox, .. } = self;
        for (id, group) in by_id {
            match &mut group.consumer {
                Some(consumer) => consumer.tick(now_ms, configs::session_ms(configs, id, config)),
                None => group.tick(now_ms, outbox),
            }
        }
    }

    /// Returns true if an open transaction has committed an offset of a group for this partition.
    pub(crate) fn has_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        let at = (topic.to_owned(), partition);
        let held = self.by_id.get(group);
        held.is_some_and(|group| group.pending_offsets.values().any(|offsets| offsets.contains_key(&at)))
    }

    pub(crate) fn forget_topic(&mut self, name: &str) {
        for group in self.by_id.values_mut() {
            group.offsets.retain(|(topic, _), _| topic != name);
            group.pending_offsets.values_mut().for_each(|offsets| offsets.retain(|(topic, _), _| topic != name));
        }
    }

    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::OffsetCommitted { group, topic, partition, committed } => {
                let group = self.by_id.entry(group).or_insert_with(Group::new);
                group.supersede_pending(&topic, partition);
                group.offsets.insert((topic, partition), committed);
            }
            Change::OffsetPending { group, producer_id, topic, partition, committed } => {
                let group = self.by_id.entry(group).or_insert_with(Group::new);
                group.pending_offsets.entry(producer_id).or_default().insert((topic, partition), committed);
            }
            Change::OffsetsDecided { group, producer_id, outcome } => {
                if let Some(group) = self.by_id.get_mut(&group)
                    && let Some(offsets) = group.pending_offsets.remove(&producer_id)
                    && outcome == Outcome::Commit
                {
                    group.offsets.extend(offsets);
                }
            }
            Change::OffsetDeleted { group, topic, partition } => {
                if let Some(group) = self.by_id.get_mut(&group) {
                    group.supersede_pending(&topic, partition);
                    group.offsets.remove(&(topic, partition));
                }
            }
            Change::GroupDeleted { group } => {
                self.by_id.remove(&group);
            }
            Change::GroupNoted { group, protocol_type, emptied_ms } => {
                let group = self.by_id.entry(group).or_insert_with(Group::new);
                group.noted_empty = (!protocol_type.is_empty()).then_some(emptied_ms.is_some());
                group.protocol_type = protocol_type;
                group.emptied_ms = emptied_ms;
            }
            Change::ConsumerGroupNoted { group, note } => self.restored_consumer(group).restore_epochs(note),
            Change::ConsumerMemberNoted { group, note } => self.restored_consumer(group).restore_member(*note),
            Change::ConsumerMemberRemoved { group, id } => self.restored_consumer(group).forget_member(&id),
            Change::ConsumerGroupEnded { group } => {
                if let Some(group) = self.by_id.get_mut(&group) {
                    (group.consumer, group.noted_consumer) = (None, false);
                }
            }
            Change::GroupConfigsSet { group, configs } => self.set_configs(group, configs),
            _ => {}
        }
    }

    fn restored_consumer(&mut self, group: String) -> &mut ConsumerGroup {
        let group = self.by_id.entry(group).or_insert_with(Group::new);
        group.noted_consumer = true;
        CONSUMER.clone_into(&mut group.protocol_type);
        group.consumer.get_or_insert_default()
    }

    pub(crate) fn snapshot(&self, changes: &mut Vec<Change>) {
        for (group, configs) in &self.configs {
            changes.push(Change::GroupConfigsSet { group: group.clone(), configs: configs.clone() });
        }
        for (id, group) in &self.by_id {
            changes.push(group.as_change(id));
            group.consumer.iter().for_each(|consumer| consumer.snapshot(id, changes));
            for ((topic, partition), committed) in &group.offsets {
                changes.push(Change::OffsetCommitted {
                    group: id.clone(),
                    topic: topic.clone(),
                    partition: *partition,
                    committed: committed.clone(),
                });
            }
            for (producer_id, offsets) in &group.pending_offsets {
                for ((topic, partition), committed) in offsets {
                    changes.push(Change::OffsetPending {
                        group: id.clone(),
                        producer_id: *producer_id,
                        topic: topic.clone(),
                        partition: *partition,
                        committed: committed.clone(),
                    });
                }
            }
        }
    }
}

/// Membership of groups.
impl BrokerCore {
    /// Joins a group. The response for the token is completed once all members have joined.
    ///
    /// # Errors
    /// `MemberIdRequired` with the member id to use, `InvalidGroupId`, `InvalidSessionTimeout`,
    /// `InconsistentGroupProtocol`, `UnknownMemberId`, `FencedInstanceId`.
    pub fn join_group(&mut self, group: &str, request: JoinRequest, now_ms: i64) -> Result<Token, JoinRefusal> {
        if group.is_empty() {
            return Err(ErrorCode::InvalidGroupId.into());
        }
        if !self.groups.config.session_timeout_ms.contains(&i64::from(request.session_timeout_ms)) {
            return Err(ErrorCode::InvalidSessionTimeout.into());
        }
        let fresh_id = format!("{}-{}", request.id_prefix(), uuid::Uuid::from_u128(self.random.next_uuid()));
        let Groups { by_id, config, outbox, .. } = &mut self.groups;
        let delay_ms = config.initial_rebalance_delay_ms;
        if let Some(group) = by_id.get_mut(group) {
            if group.consumer.is_some() {
                // The members of the two protocols cannot be mixed; a group without members changes its protocol.
                if group.has_members() {
                    return Err(ErrorCode::InconsistentGroupProtocol.into());
                }
                group.become_classic();
            }
            return group.join(request, fresh_id, now_ms, delay_ms, outbox);
        }
        // A refused join creates no group.
        let mut created = Group::new();
        let joined = created.join(request, fresh_id, now_ms, delay_ms, outbox);
        if !created.is_blank() {
            by_id.insert(group.to_owned(), created);
        }
        joined
    }

    /// Submits the assignment of the leader, or requests a member's assignment. The response for the token is completed
    /// once the leader has submitted it.
    ///
    /// # Errors
    /// `UnknownMemberId`, `IllegalGeneration`, `RebalanceInProgress`, `InconsistentGroupProtocol`, `FencedInstanceId`.
    pub fn sync_group(&mut self, group: &str, request: SyncRequest, now_ms: i64) -> Result<Token, ErrorCode> {
        let (group, outbox) = self.groups.known(group)?;
        group.sync(request, now_ms, outbox)
    }

    /// Renews the session of a member.
    ///
    /// # Errors
    /// `RebalanceInProgress` if the member must rejoin, `UnknownMemberId`, `IllegalGeneration`, `FencedInstanceId`.
    pub fn heartbeat(&mut self, group: &str, member: &MemberRef, now_ms: i64) -> Result<(), ErrorCode> {
        let (group, _) = self.groups.known(group)?;
        group.heartbeat(member, now_ms)
    }

    /// Removes a member from its group, by its member id or its instance id.
    ///
    /// # Errors
    /// `UnknownMemberId`, `FencedInstanceId`.
    pub fn leave_group(
        &mut self,
        group: &str,
        member_id: &str,
        instance_id: Option<&str>,
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        let (group, outbox) = self.groups.known(group)?;
        if let Some(consumer) = &mut group.consumer {
            return consumer.remove(member_id, instance_id);
        }
        group.leave(member_id, instance_id, now_ms, outbox)
    }
}

impl Groups {
    fn known(&mut self, id: &str) -> Result<(&mut Group, &mut Outbox), ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let group = self.by_id.get_mut(id).ok_or(ErrorCode::UnknownMemberId)?;
        Ok((group, &mut self.outbox))
    }
}

/// The name of an assignor and the member's metadata for it.
pub(crate) type Protocol = (String, Bytes);
