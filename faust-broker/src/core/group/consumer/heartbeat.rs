//! The heartbeat of a member: it joins with it, changes its subscription, reports what it owns, and gets its assignment.

use std::collections::BTreeSet;

use crate::core::group::consumer::assignor::Assignor;
use crate::core::group::consumer::member::{Assigned, ConsumerMember, LEFT_FOR_A_WHILE};
use crate::core::group::consumer::{Catalog, ConsumerGroup, TopicPartition};
use crate::core::group::offsets::CONSUMER;
use crate::core::group::{Group, GroupState};
use crate::core::pattern::NamePattern;
use crate::core::{BrokerCore, ErrorCode, Refusal};

/// The epoch with which a member leaves its group.
const LEAVES: i32 = -1;

/// A heartbeat. Fields that are `None`, and a rebalance timeout of -1, have not changed since the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerHeartbeat {
    /// The member id, chosen by the client; a client that joins without one gets one.
    pub member_id: String,
    /// The member epoch: 0 to join, -1 to leave, -2 to leave for a while as a static member.
    pub epoch: i32,
    /// Static name of the member (`group.instance.id`), with which it can restart without a rebalance.
    pub instance_id: Option<String>,
    /// The rack of the client, which is described, and has no effect on a single node.
    pub rack_id: Option<String>,
    /// Client id (`client.id`).
    pub client_id: String,
    /// Host the client connects from.
    pub client_host: String,
    /// Time in milliseconds that the member has to give up partitions.
    pub rebalance_timeout_ms: i32,
    /// Names of the subscribed topics.
    pub topics: Option<Vec<String>>,
    /// Regular expression for names of topics, in the syntax of RE2; an empty one removes it.
    pub topic_regex: Option<String>,
    /// Name of the assignor that the member prefers.
    pub assignor: Option<String>,
    /// True if the client has chosen its member id, as since version 1 of the request.
    pub names_itself: bool,
    /// The partitions that the member owns.
    pub owned: Option<BTreeSet<TopicPartition>>,
}

/// The response to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerReply {
    /// The id of the member.
    pub member_id: String,
    /// The epoch of the member from now on.
    pub epoch: i32,
    /// Time in milliseconds until the next heartbeat.
    pub interval_ms: i32,
    /// The partitions that the member may use, if they have changed or the member has reported everything.
    pub assignment: Option<BTreeSet<TopicPartition>>,
}

impl ConsumerHeartbeat {
    fn joins(&self) -> bool {
        self.epoch == 0
    }

    /// Returns true if the request has everything that a member reports when it joins, as after an error.
    fn is_full(&self) -> bool {
        let is_subscribed = self.topics.is_some() || self.topic_regex.is_some();
        self.joins() || self.rebalance_timeout_ms != -1 && is_subscribed && self.owned.is_some()
    }

    fn check(&self, group: &str) -> Result<(), Refusal> {
        let refused = |text: &str| Err(Refusal::new(ErrorCode::InvalidRequest, text.to_owned()));
        let is_blank = |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
        if self.member_id.trim().is_empty() && (self.names_itself || self.epoch > 0 || self.epoch == LEAVES) {
            return refused("MemberId is empty: send the id of the member");
        }
        if group.trim().is_empty() {
            return refused("GroupId is empty: name a group");
        }
        if is_blank(&self.instance_id) {
            return refused("InstanceId is empty: leave it out, or name the static member");
        }
        if is_blank(&self.rack_id) {
            return refused("RackId is empty: leave it out, or name the rack");
        }
        match self.epoch {
            0 if self.rebalance_timeout_ms == -1 => return refused("RebalanceTimeoutMs is required to join"),
            0 if self.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => {
                return refused("TopicPartitions must be an empty list to join: a new member owns none");
            }
            0 if self.topics.is_none() && self.topic_regex.is_none() => {
                return refused("SubscribedTopicNames or SubscribedTopicRegex is required to join");
            }
            LEFT_FOR_A_WHILE if self.instance_id.is_none() => {
                return refused("InstanceId is required to leave for a while: only static members do");
            }
            ..LEFT_FOR_A_WHILE => return refused("MemberEpoch is invalid: -2 is the lowest"),
            _ => {}
        }
        match self.assignor.as_deref() {
            Some(name) if Assignor::named(name).is_none() => {
                let known = Assignor::ALL.map(Assignor::name).join(", ");
                let text = format!("ServerAssignor `{name}` is not supported: use one of {known}");
                Err(Refusal::new(ErrorCode::UnsupportedAssignor, text))
            }
            _ => Ok(()),
        }
    }
}

/// Groups of the consumer protocol.
impl BrokerCore {
    /// Handles the heartbeat of a member, which joins, stays or leaves with it.
    ///
    /// An empty group of the classic protocol becomes one of this protocol.
    ///
    /// # Errors
    /// `InvalidRequest`, `UnsupportedAssignor`, `InvalidRegularExpression`, `GroupIdNotFound` if the group does not exist
    /// or has the classic protocol, `UnsupportedVersion` to a member that joins one that has classic members, or if the protocol is switched off, `GroupMaxSizeReached`, `UnknownMemberId`, `FencedMemberEpoch`,
    /// `UnreleasedInstanceId` if another member uses the instance id, `FencedInstanceId` if another one has replaced this.
    pub fn consumer_heartbeat(
        &mut self,
        group: &str,
        mut request: ConsumerHeartbeat,
        now_ms: i64,
    ) -> Result<ConsumerReply, Refusal> {
        if !self.groups.config.has_consumer_protocol {
            let text = "the broker config `group.coordinator.rebalance.protocols` does not contain `consumer`";
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, text.to_owned()));
        }
        request.check(group)?;
        if request.member_id.is_empty() {
            request.member_id = uuid::Uuid::from_u128(self.random.next_uuid()).to_string();
        }
        let interval_ms = self.groups.consumer_interval_ms(group);
        let session_ms = self.groups.consumer_session_ms(group);
        let max_size = self.groups.config.consumer_max_size;
        let catalog = Catalog { topics: &self.topics, names: &self.topic_names, version: self.catalog_version };
        let held = self.groups.by_id.get_mut(group);
        if request.epoch < 0 {
            let missing = || not_a_consumer_group(group);
            let members = held.and_then(|held| held.consumer.as_mut()).ok_or_else(missing)?;
            let reply = members.leave(group, &request);
            self.note_group(group, now_ms);
            return reply;
        }
        let is_convertible = |held: &Group| held.state == GroupState::Empty && held.pending.is_empty();
        // A refused heartbeat neither creates nor converts a group.
        let mut created = ConsumerGroup::default();
        let is_new = held.as_ref().is_none_or(|held| held.consumer.is_none());
        if is_new && !request.joins() {
            return Err(not_a_consumer_group(group));
        }
        if is_new && held.as_ref().is_some_and(|held| !is_convertible(held)) {
            return Err(has_classic_members(group));
        }
        let members = held.and_then(|held| held.consumer.as_mut()).unwrap_or(&mut created);
        members.check_heartbeat(group, &request, max_size)?;
        let pattern = members.pattern_of(&request)?;
        let id = request.member_id.clone();
        let mut reply = members.beat(request, pattern, catalog, now_ms);
        reply.interval_ms = interval_ms;
        members.renew_session(&id, now_ms.saturating_add(i64::from(session_ms)));
        if is_new {
            let held = self.groups.by_id.entry(group.to_owned()).or_insert_with(Group::new);
            held.become_consumer(created);
        }
        self.note_group(group, now_ms);
        Ok(reply)
    }
}

/// Refuses a member of a group with classic members by a code that is fatal for clients, which would try again for ever
/// otherwise: Kafka converts such a group.
fn has_classic_members(group: &str) -> Refusal {
    let text = format!(
        "group `{group}` has members of the classic protocol, which this broker does not mix with others: stop them first, or set `group.protocol` to `classic`"
    );
    Refusal::new(ErrorCode::UnsupportedVersion, text)
}

fn not_a_consumer_group(group: &str) -> Refusal {
    let text = format!("group `{group}` does not exist, or has the classic protocol");
    Refusal::new(ErrorCode::GroupIdNotFound, text)
}

impl Group {
    /// Turns the group, which has no members, into one of the consumer protocol. It keeps its offsets.
    fn become_consumer(&mut self, consumer: ConsumerGroup) {
        self.become_classic();
        self.consumer = Some(consumer);
        self.protocol_type = CONSUMER.to_owned();
    }
}

impl ConsumerGroup {
    /// Checks the member of a heartbeat that does not leave.
    fn check_heartbeat(&self, group: &str, request: &ConsumerHeartbeat, max_size: usize) -> Result<(), Refusal> {
        let id = &request.member_id;
        let known = self.members.get(id);
        if known.is_none() && self.members.len() >= max_size {
            let text = format!("group `{group}` has {max_size} members, which is its `group.consumer.max.size`");
            return Err(Refusal::new(ErrorCode::GroupMaxSizeReached, text));
        }
        let Some(instance_id) = &request.instance_id else {
            return match known {
                Some(member) => check_epoch(member, request),
                None if request.joins() => Ok(()),
                None => Err(unknown_member(group, id)),
            };
        };
        let owner = self.instances.get(instance_id).and_then(|owner| Some((owner, self.members.get(owner)?)));
        match owner {
            None if request.joins() => Ok(()),
            Some((_, member)) if request.joins() && member.epoch == LEFT_FOR_A_WHILE => Ok(()),
            Some((owner, _)) if request.joins() => {
                let text = format!(
                    "static member `{instance_id}` of group `{group}` is in use by member `{owner}`: stop it first, or wait until its session expires"
                );
                Err(Refusal::new(ErrorCode::UnreleasedInstanceId, text))
            }
            _ => self.check_static(group, id, instance_id).and_then(|member| check_epoch(member, request)),
        }
    }

    /// Returns the static member, which must have this member id.
    pub(super) fn check_static(&self, group: &str, id: &str, instance_id: &str) -> Result<&ConsumerMember, Refusal> {
        let owner = self.instances.get(instance_id);
        match owner.and_then(|owner| self.members.get(owner)) {
            Some(member) if owner.is_some_and(|owner| owner == id) => Ok(member),
            Some(_) => {
                let text =
                    format!("static member `{instance_id}` of group `{group}` has been replaced by another member");
                Err(Refusal::new(ErrorCode::FencedInstanceId, text))
            }
            None => {
                let text = format!("group `{group}` has no static member `{instance_id}`");
                Err(Refusal::new(ErrorCode::UnknownMemberId, text))
            }
        }
    }

    /// Compiles the regular expression of a heartbeat, if it has a new one.
    fn pattern_of(&self, request: &ConsumerHeartbeat) -> Result<Option<NamePattern>, Refusal> {
        let Some(text) = request.topic_regex.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let known = self.members.values().filter_map(|member| member.subscription.pattern.as_ref());
        match known.into_iter().find(|pattern| pattern.text() == text) {
            Some(pattern) => Ok(Some(pattern.clone())),
            None => NamePattern::new("SubscribedTopicRegex", text).map(Some),
        }
    }

    /// Updates the member, the group epoch, the target assignment and what the member has, in this order.
    fn beat(
        &mut self,
        request: ConsumerHeartbeat,
        pattern: Option<NamePattern>,
        catalog: Catalog<'_>,
        now_ms: i64,
    ) -> ConsumerReply {
        let (id, is_full) = (request.member_id.clone(), request.is_full());
        self.admit(&request);
        let before = self.members.get(&id).map(|member| member.assigned.clone());
        let owned = request.owned.clone();
        let has_resubscribed = self.update(request, pattern, catalog);
        self.follow_topics(catalog, has_resubscribed || self.epoch == 0);
        self.retarget();
        let assignment_epoch = self.assignment_epoch;
        self.reconcile(&id, assignment_epoch, owned.as_ref(), has_resubscribed, now_ms);
        let member = self.members.get(&id);
        let after = member.map(|member| member.assigned.clone());
        ConsumerReply {
            epoch: member.map_or(0, |member| member.epoch),
            assignment: after.filter(|after| is_full || before.as_ref() != Some(after)).map(partitions),
            member_id: id,
            interval_ms: 0,
        }
    }

    /// Adds a member that joins, or puts it in the place of a static member that has left for a while.
    fn admit(&mut self, request: &ConsumerHeartbeat) {
        let id = &request.member_id;
        if !request.joins() {
            return;
        }
        let former = request.instance_id.as_ref().and_then(|instance_id| self.instances.get(instance_id)).cloned();
        if let Some(mut member) = former.and_then(|former| self.take(&former)) {
            (member.epoch, member.former_epoch) = (0, 0);
            self.held.extend(member.held());
            self.members.insert(id.clone(), member);
            self.unnoted.member(id);
        } else if !self.members.contains_key(id) {
            self.members.insert(id.clone(), ConsumerMember::new());
            self.unnoted.member(id);
        }
    }

    /// Takes over what the member has reported. Returns true if its subscription has changed.
    fn update(&mut self, request: ConsumerHeartbeat, pattern: Option<NamePattern>, catalog: Catalog<'_>) -> bool {
        let Some(member) = self.members.get_mut(&request.member_id) else { return false };
        let before = member.clone();
        if request.instance_id.is_some() {
            member.instance_id = request.instance_id;
        }
        if request.rack_id.is_some() {
            member.rack_id = request.rack_id;
        }
        if request.rebalance_timeout_ms != -1 {
            member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        if let Some(name) = request.assignor {
            member.assignor = Assignor::named(&name);
        }
        (member.client_id, member.client_host) = (request.client_id, request.client_host);
        if let Some(names) = request.topics {
            member.subscription.names = names.into_iter().collect();
        }
        if request.topic_regex.is_some() {
            member.subscription.pattern = pattern;
        }
        if before.instance_id != member.instance_id {
            before.instance_id.iter().for_each(|former| drop(self.instances.remove(former)));
        }
        if let Some(instance_id) = &member.instance_id {
            self.instances.insert(instance_id.clone(), request.member_id.clone());
        }
        if before == *member {
            return false;
        }
        self.unnoted.member(&request.member_id);
        let has_resubscribed = before.subscription != member.subscription;
        if has_resubscribed {
            member.subscription.resolve(catalog.topics);
        }
        has_resubscribed
    }

    fn reconcile(
        &mut self,
        id: &str,
        assignment_epoch: i32,
        owned: Option<&BTreeSet<TopicPartition>>,
        has_resubscribed: bool,
        now_ms: i64,
    ) {
        let has_moved =
            self.change(id, |member, held| member.reconcile(assignment_epoch, owned, held, has_resubscribed));
        if let Some(member) = self.members.get_mut(id).filter(|_| has_moved) {
            member.time_revocation(now_ms);
        }
    }

    fn renew_session(&mut self, id: &str, ends_ms: i64) {
        if let Some(member) = self.members.get_mut(id) {
            member.session_ends_ms = Some(ends_ms);
        }
    }
}

fn partitions(assigned: Assigned) -> BTreeSet<TopicPartition> {
    assigned.into_keys().collect()
}

pub(super) fn unknown_member(group: &str, id: &str) -> Refusal {
    let text = format!("`{id}` is not a member of group `{group}`: join with the member epoch 0");
    Refusal::new(ErrorCode::UnknownMemberId, text)
}

/// Checks the epoch of a member. It may have the former one if it has not got the last response, which it shows by owning
/// nothing that is not assigned to it.
fn check_epoch(member: &ConsumerMember, request: &ConsumerHeartbeat) -> Result<(), Refusal> {
    let has_missed_response = || {
        let owned = request.owned.as_ref();
        let holds_no_more = owned.is_some_and(|owned| owned.iter().all(|at| member.assigned.contains_key(at)));
        request.epoch == member.former_epoch && holds_no_more
    };
    if request.joins() || request.epoch == member.epoch || request.epoch < member.epoch && has_missed_response() {
        return Ok(());
    }
    let text = format!(
        "the member epoch is {} and not {}: the member must give up its partitions and join again",
        member.epoch, request.epoch
    );
    Err(Refusal::new(ErrorCode::FencedMemberEpoch, text))
}
