//! The journal of consumer groups. As in Kafka, members are recorded with their epochs and partitions, so that after a
//! restart of the broker they go on without a rebalance, and no partition gets a second member.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::core::change::{Change, Id};
use crate::core::group::consumer::assignor::Assignor;
use crate::core::group::consumer::member::{Assigned, ConsumerMember, MemberPhase};
use crate::core::group::consumer::subscription::Subscription;
use crate::core::group::consumer::{ConsumerGroup, TopicPartition};
use crate::core::pattern::NamePattern;

/// The parts of a group that differ from what the journal says.
#[derive(Debug, Default)]
pub(super) struct Unnoted {
    group: bool,
    /// Ids of members that have been changed or removed.
    members: BTreeSet<String>,
}

impl Unnoted {
    pub(super) fn group(&mut self) {
        self.group = true;
    }

    pub(super) fn member(&mut self, id: &str) {
        if !self.members.contains(id) {
            self.members.insert(id.to_owned());
        }
    }
}

/// The epochs of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConsumerGroupNote {
    epoch: i32,
    assignment_epoch: i32,
    /// The subscribed topics with their numbers of partitions.
    topics: Vec<(Id, i32)>,
}

/// A member of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConsumerMemberNote {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rack_id: Option<String>,
    client_id: String,
    client_host: String,
    rebalance_timeout_ms: i32,
    names: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    assignor: Option<String>,
    epoch: i32,
    former_epoch: i32,
    phase: MemberPhase,
    /// Partitions by topic, each with its assignment epoch.
    assigned: Vec<(Id, Vec<(i32, i32)>)>,
    revoking: Vec<(Id, Vec<(i32, i32)>)>,
    target: Vec<(Id, Vec<i32>)>,
}

/// Groups partitions by topic, so that each id is written once.
fn by_topic<T>(partitions: impl Iterator<Item = (u128, T)>) -> Vec<(Id, Vec<T>)> {
    let mut topics: Vec<(Id, Vec<T>)> = Vec::new();
    for (topic, value) in partitions {
        match topics.last_mut().filter(|(id, _)| id.0 == topic) {
            Some((_, values)) => values.push(value),
            None => topics.push((Id(topic), vec![value])),
        }
    }
    topics
}

fn noted(assigned: &Assigned) -> Vec<(Id, Vec<(i32, i32)>)> {
    by_topic(assigned.iter().map(|((topic, partition), epoch)| (*topic, (*partition, *epoch))))
}

fn restored(noted: Vec<(Id, Vec<(i32, i32)>)>) -> Assigned {
    let flat = |(topic, partitions): (Id, Vec<(i32, i32)>)| {
        partitions.into_iter().map(move |(partition, epoch)| ((topic.0, partition), epoch))
    };
    noted.into_iter().flat_map(flat).collect()
}

impl ConsumerMemberNote {
    fn of(id: &str, member: &ConsumerMember) -> Self {
        Self {
            id: id.to_owned(),
            instance_id: member.instance_id.clone(),
            rack_id: member.rack_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            names: member.subscription.names.clone(),
            pattern: member.subscription.pattern.as_ref().map(|pattern| pattern.text().to_owned()),
            assignor: member.assignor.map(|assignor| assignor.name().to_owned()),
            epoch: member.epoch,
            former_epoch: member.former_epoch,
            phase: member.phase,
            assigned: noted(&member.assigned),
            revoking: noted(&member.revoking),
            target: by_topic(member.target.iter().copied()),
        }
    }

    fn restore(self) -> (String, ConsumerMember) {
        let flat = |(topic, partitions): (Id, Vec<i32>)| -> Vec<TopicPartition> {
            partitions.into_iter().map(|partition| (topic.0, partition)).collect()
        };
        let member = ConsumerMember {
            instance_id: self.instance_id,
            rack_id: self.rack_id,
            client_id: self.client_id,
            client_host: self.client_host,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            subscription: Subscription {
                names: self.names,
                // It was compiled before; another version of the compiler may refuse it, which leaves the names.
                pattern: self.pattern.and_then(|text| NamePattern::new("SubscribedTopicRegex", &text).ok()),
                topics: BTreeSet::new(),
            },
            assignor: self.assignor.and_then(|name| Assignor::named(&name)),
            epoch: self.epoch,
            former_epoch: self.former_epoch,
            phase: self.phase,
            assigned: restored(self.assigned),
            revoking: restored(self.revoking),
            target: self.target.into_iter().flat_map(flat).collect(),
            session_ends_ms: None,
            revoke_by_ms: None,
        };
        (self.id, member)
    }
}

impl ConsumerGroup {
    /// Takes over the epochs of the journal.
    pub(in crate::core::group) fn restore_epochs(&mut self, note: ConsumerGroupNote) {
        (self.epoch, self.assignment_epoch) = (note.epoch, note.assignment_epoch);
        self.topics = note.topics.into_iter().map(|(id, partitions)| (id.0, partitions)).collect::<BTreeMap<_, _>>();
    }

    /// Takes over a member of the journal.
    pub(in crate::core::group) fn restore_member(&mut self, note: ConsumerMemberNote) {
        let (id, member) = note.restore();
        self.forget_member(&id);
        self.held.extend(member.held());
        member.instance_id.iter().for_each(|of| drop(self.instances.insert(of.clone(), id.clone())));
        self.members.insert(id, member);
    }

    /// Removes a member that the journal says has been removed.
    pub(in crate::core::group) fn forget_member(&mut self, id: &str) {
        self.take(id);
        self.unnoted.members.remove(id);
    }

    /// Returns true if the journal has everything.
    pub(in crate::core::group) fn is_noted(&self) -> bool {
        !self.unnoted.group && self.unnoted.members.is_empty()
    }

    /// Returns what the journal does not have yet. Members that have been removed come first, so that a partition never has
    /// two members there.
    pub(in crate::core::group) fn unnoted(&self, group: &str) -> Vec<Change> {
        let ids = || self.unnoted.members.iter();
        let removed = ids().filter(|id| !self.members.contains_key(*id));
        let removed = removed.map(|id| Change::ConsumerMemberRemoved { group: group.to_owned(), id: id.clone() });
        let changed = ids().filter_map(|id| Some(member_change(group, id, self.members.get(id)?)));
        let head = self.unnoted.group.then(|| self.group_change(group));
        head.into_iter().chain(removed).chain(changed).collect()
    }

    /// Remembers that the journal has everything.
    pub(in crate::core::group) fn set_noted(&mut self) {
        self.unnoted = Unnoted::default();
    }

    pub(in crate::core::group) fn snapshot(&self, group: &str, changes: &mut Vec<Change>) {
        changes.push(self.group_change(group));
        changes.extend(self.members.iter().map(|(id, member)| member_change(group, id, member)));
    }

    fn group_change(&self, group: &str) -> Change {
        let topics = self.topics.iter().map(|(id, partitions)| (Id(*id), *partitions)).collect();
        let note = ConsumerGroupNote { epoch: self.epoch, assignment_epoch: self.assignment_epoch, topics };
        Change::ConsumerGroupNoted { group: group.to_owned(), note }
    }
}

fn member_change(group: &str, id: &str, member: &ConsumerMember) -> Change {
    Change::ConsumerMemberNoted { group: group.to_owned(), note: Box::new(ConsumerMemberNote::of(id, member)) }
}
