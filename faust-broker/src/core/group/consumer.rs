//! Groups of the consumer protocol (KIP-848): the broker assigns the partitions, and each member follows at its own pace.
//!
//! The *group epoch* increases when a member joins, leaves or changes its subscription, and when a subscribed topic changes.
//! Then the *target assignment* is computed for this epoch. A member follows it in its heartbeats: it first gives up what
//! is not its own any more, then moves to the epoch, with those partitions that no other member has. So no partition has
//! two members at any time, and none waits for a member that is not concerned.

pub(crate) mod assignor;
mod commits;
mod heartbeat;
pub(crate) mod journal;
mod leave;
pub(crate) mod member;
mod query;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use self::heartbeat::{ConsumerHeartbeat, ConsumerReply};
pub use self::query::{DescribedConsumer, DescribedConsumerGroup};

use self::assignor::{Assignor, Candidate};
use self::member::ConsumerMember;
use crate::core::Topic;

/// A partition: the id of its topic and its number.
pub type TopicPartition = (u128, i32);

/// A group of the consumer protocol.
#[derive(Debug, Default)]
pub(crate) struct ConsumerGroup {
    /// The group epoch, 0 before the first member.
    epoch: i32,
    /// The group epoch for which the target assignment was computed.
    assignment_epoch: i32,
    /// The members by id.
    members: BTreeMap<String, ConsumerMember>,
    /// The ids of static members by instance id.
    instances: BTreeMap<String, String>,
    /// The partitions that some member has.
    held: BTreeSet<TopicPartition>,
    /// The subscribed topics that exist, with their numbers of partitions, as of the group epoch.
    topics: BTreeMap<u128, i32>,
    /// The version of the catalog in which the topics were looked up, `None` after a restart.
    catalog_version: Option<u64>,
    unnoted: journal::Unnoted,
}

/// The topics of the broker, as groups see them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Catalog<'a> {
    pub(super) topics: &'a BTreeMap<String, Topic>,
    pub(super) names: &'a std::collections::HashMap<u128, String>,
    /// A number that changes when a topic is created or deleted, or gets partitions.
    pub(super) version: u64,
}

impl Catalog<'_> {
    fn partitions(&self, id: u128) -> Option<i32> {
        Some(self.topics.get(self.names.get(&id)?)?.partitions())
    }
}

impl ConsumerGroup {
    /// Returns true if the group has no members.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns true if a member is subscribed to a topic.
    pub(super) fn reads(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.subscription.contains(topic))
    }

    /// Returns the assignor that most members prefer, the default one if none is preferred.
    fn assignor(&self) -> Assignor {
        let votes = |assignor: &Assignor| {
            self.members.values().filter(|member| member.assignor.as_ref() == Some(assignor)).count()
        };
        // Reversed, because `max_by_key` returns the last maximum, and the default one is the first.
        Assignor::ALL.into_iter().rev().max_by_key(votes).unwrap_or(Assignor::Uniform)
    }

    /// Looks up the topics of all members if some topic of the broker has changed. Increases the group epoch if a
    /// subscribed one has, or if `is_due`.
    fn follow_topics(&mut self, catalog: Catalog<'_>, is_due: bool) {
        if self.catalog_version != Some(catalog.version) {
            self.members.values_mut().for_each(|member| member.subscription.resolve(catalog.topics));
            self.catalog_version = Some(catalog.version);
        } else if !is_due {
            return;
        }
        let subscribed: BTreeSet<u128> =
            self.members.values().flat_map(|member| member.subscription.topics.iter().copied()).collect();
        let counted = |topic: u128| Some((topic, catalog.partitions(topic)?));
        let topics: BTreeMap<u128, i32> = subscribed.into_iter().filter_map(counted).collect();
        if is_due || topics != self.topics {
            self.topics = topics;
            self.raise_epoch();
        }
    }

    fn raise_epoch(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
        self.unnoted.group();
    }

    /// Distributes the partitions of the subscribed topics among the members, in the order of their ids.
    fn assignment(&self) -> Vec<BTreeSet<TopicPartition>> {
        let candidates: Vec<Candidate<'_>> = self.members.values().map(candidate).collect();
        self.assignor().assign(&candidates, &self.topics)
    }

    /// Computes the target assignment of the group epoch, unless it is known.
    fn retarget(&mut self) {
        if self.epoch == self.assignment_epoch {
            return;
        }
        let shares = self.assignment();
        for ((id, member), share) in self.members.iter_mut().zip(shares) {
            if member.target != share {
                member.target = share;
                self.unnoted.member(id);
            }
        }
        self.assignment_epoch = self.epoch;
        self.unnoted.group();
    }

    /// Changes a member, given the partitions that some member has. Returns true if that made a difference.
    fn change(&mut self, id: &str, change: impl FnOnce(&mut ConsumerMember, &BTreeSet<TopicPartition>)) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        let before = member.clone();
        change(member, &self.held);
        if *member == before {
            return false;
        }
        before.held().for_each(|at| _ = self.held.remove(&at));
        self.held.extend(member.held());
        self.unnoted.member(id);
        true
    }
}

fn candidate(member: &ConsumerMember) -> Candidate<'_> {
    Candidate { instance_id: member.instance_id.as_deref(), topics: &member.subscription.topics, holds: &member.target }
}
