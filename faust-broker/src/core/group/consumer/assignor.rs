//! The assignors: how the partitions of topics are distributed among the members that are subscribed to them.
//!
//! Both are pure: the same members and topics have the same assignment.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::group::consumer::TopicPartition;

/// A rule that distributes partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assignor {
    /// Members have the same number of partitions, or one more, and keep those that they have.
    Uniform,
    /// Each topic is cut into ranges, so that the same partitions of co-partitioned topics have the same member.
    Range,
}

impl Assignor {
    /// All assignors, the default one first.
    pub(crate) const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// Returns the name of the assignor, as in Kafka.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// Returns the assignor with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Distributes the partitions of `topics`, which have their numbers of partitions. The result is in the order of
    /// `members`, whose ids are in order.
    pub(super) fn assign(
        self,
        members: &[Candidate<'_>],
        topics: &BTreeMap<u128, i32>,
    ) -> Vec<BTreeSet<TopicPartition>> {
        match self {
            Self::Uniform => uniform(members, topics),
            Self::Range => range(members, topics),
        }
    }
}

/// A member as an assignor sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) instance_id: Option<&'a str>,
    /// The topics that the member is subscribed to.
    pub(super) topics: &'a BTreeSet<u128>,
    /// The member's share in the former assignment.
    pub(super) holds: &'a BTreeSet<TopicPartition>,
}

/// Returns the indexes of the members that are subscribed to a topic.
fn subscribers(members: &[Candidate<'_>], topic: u128) -> Vec<usize> {
    let indexed = members.iter().enumerate();
    indexed.filter(|(_, member)| member.topics.contains(&topic)).map(|(index, _)| index).collect()
}

/// Cuts each topic into one range for each subscribed member. Static members come first, in the order of their instance
/// ids, then the others in that of their member ids; the first ones have the larger ranges.
fn range(members: &[Candidate<'_>], topics: &BTreeMap<u128, i32>) -> Vec<BTreeSet<TopicPartition>> {
    let mut shares = vec![BTreeSet::new(); members.len()];
    for (topic, partitions) in topics {
        let mut order = subscribers(members, *topic);
        // The sort is stable, so that members without an instance id keep the order of their ids.
        order.sort_by_key(|index| (members[*index].instance_id.is_none(), members[*index].instance_id));
        let Ok(count) = i32::try_from(order.len()) else { continue };
        let mut next = 0;
        for (position, index) in (0..count).zip(order) {
            let size = partitions / count + i32::from(position < partitions % count);
            shares[index].extend((next..next + size).map(|partition| (*topic, partition)));
            next += size;
        }
    }
    shares
}

/// Keeps the former assignment as far as it remains balanced, and gives free partitions to the members that have the fewest.
fn uniform(members: &[Candidate<'_>], topics: &BTreeMap<u128, i32>) -> Vec<BTreeSet<TopicPartition>> {
    let exists = |(topic, partition): &TopicPartition| topics.get(topic).is_some_and(|count| partition < count);
    let kept = |member: &Candidate<'_>| {
        member.holds.iter().filter(|at| member.topics.contains(&at.0) && exists(at)).copied().collect()
    };
    let mut shares: Vec<BTreeSet<TopicPartition>> = members.iter().map(kept).collect();
    let taken: BTreeSet<TopicPartition> = shares.iter().flatten().copied().collect();
    let by_topic: Vec<(u128, Vec<usize>)> = topics.keys().map(|topic| (*topic, subscribers(members, *topic))).collect();
    for (topic, order) in &by_topic {
        let free = (0..topics[topic]).map(|partition| (*topic, partition)).filter(|at| !taken.contains(at));
        for at in free {
            if let Some(index) = order.iter().min_by_key(|index| shares[**index].len()) {
                shares[*index].insert(at);
            }
        }
    }
    // Each move makes the sum of the squares of the shares smaller, so this ends.
    while by_topic.iter().fold(false, |moved, (topic, order)| balance(&mut shares, *topic, order) || moved) {}
    shares
}

/// Moves partitions of a topic from the subscribers with the most partitions to those with the fewest. Returns false if
/// there is none to move.
fn balance(shares: &mut [BTreeSet<TopicPartition>], topic: u128, order: &[usize]) -> bool {
    let last_of = |share: &BTreeSet<TopicPartition>| share.range((topic, 0)..=(topic, i32::MAX)).next_back().copied();
    let mut has_moved = false;
    loop {
        // The last of those with the most partitions, so that the first ones have the larger shares.
        let givers = order.iter().filter(|index| last_of(&shares[**index]).is_some());
        let Some(giver) = givers.copied().max_by_key(|index| shares[*index].len()) else { return has_moved };
        let Some(taker) = order.iter().copied().min_by_key(|index| shares[*index].len()) else { return has_moved };
        if shares[giver].len() <= shares[taker].len() + 1 {
            return has_moved;
        }
        if let Some(at) = last_of(&shares[giver]) {
            shares[giver].remove(&at);
            shares[taker].insert(at);
            has_moved = true;
        }
    }
}

#[cfg(test)]
mod tests;
