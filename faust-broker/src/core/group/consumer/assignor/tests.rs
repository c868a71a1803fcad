//! Laws of the assignors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

/// A member of a random group: its topics, its former share, and whether it is static.
#[derive(Debug, Clone)]
struct Owned {
    instance_id: Option<String>,
    topics: BTreeSet<u128>,
    holds: BTreeSet<TopicPartition>,
}

fn candidates(members: &[Owned]) -> Vec<Candidate<'_>> {
    members.iter().map(Owned::candidate).collect()
}

impl Owned {
    fn candidate(&self) -> Candidate<'_> {
        Candidate { instance_id: self.instance_id.as_deref(), topics: &self.topics, holds: &self.holds }
    }
}

fn member(topics: &[u128]) -> Owned {
    Owned { instance_id: None, topics: topics.iter().copied().collect(), holds: BTreeSet::new() }
}

fn fixed(instance_id: &str, topics: &[u128]) -> Owned {
    Owned { instance_id: Some(instance_id.to_owned()), ..member(topics) }
}

fn share(topic: u128, partitions: std::ops::Range<i32>) -> BTreeSet<TopicPartition> {
    partitions.map(|partition| (topic, partition)).collect()
}

#[test]
fn ranges_are_equal_for_topics_with_the_same_partitions() {
    let members = [member(&[1, 2]), member(&[1, 2]), member(&[1, 2])];
    let shares = Assignor::Range.assign(&candidates(&members), &BTreeMap::from([(1, 8), (2, 8)]));
    for topic in [1, 2] {
        let of_topic = |share: &BTreeSet<TopicPartition>| -> Vec<i32> {
            share.iter().filter(|at| at.0 == topic).map(|at| at.1).collect()
        };
        assert_eq!(shares.iter().map(of_topic).collect::<Vec<_>>(), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
    }
}

#[test]
fn ranges_are_in_the_order_of_instance_ids_then_member_ids() {
    let members = [member(&[1]), fixed("b", &[1]), member(&[1]), fixed("a", &[1])];
    let shares = Assignor::Range.assign(&candidates(&members), &BTreeMap::from([(1, 4)]));
    assert_eq!(shares, [share(1, 2..3), share(1, 1..2), share(1, 3..4), share(1, 0..1)]);
}

#[test]
fn members_without_a_partition_have_an_empty_range() {
    let members = [member(&[1]), member(&[1]), member(&[2])];
    let shares = Assignor::Range.assign(&candidates(&members), &BTreeMap::from([(1, 1), (2, 2)]));
    assert_eq!(shares, [share(1, 0..1), BTreeSet::new(), share(2, 0..2)]);
}

#[test]
fn a_uniform_assignment_moves_as_little_as_possible() {
    let topics = BTreeMap::from([(1, 6)]);
    let mut members = vec![member(&[1]), member(&[1]), member(&[1])];
    members[0].holds = share(1, 0..3);
    members[1].holds = share(1, 3..6);
    let shares = Assignor::Uniform.assign(&candidates(&members), &topics);
    assert!(shares.iter().all(|share| share.len() == 2), "{shares:?}");
    assert!(shares[0].is_subset(&members[0].holds) && shares[1].is_subset(&members[1].holds), "{shares:?}");
    members.remove(1);
    (members[0].holds, members[1].holds) = (shares[0].clone(), shares[2].clone());
    let shares = Assignor::Uniform.assign(&candidates(&members), &topics);
    assert!(shares[0].is_superset(&members[0].holds) && shares[1].is_superset(&members[1].holds), "{shares:?}");
}

fn groups() -> impl Strategy<Value = (Vec<Owned>, BTreeMap<u128, i32>)> {
    let topics = proptest::collection::btree_map(0u128..5, 1i32..9, 0..5);
    let subscriptions =
        proptest::collection::vec((proptest::collection::btree_set(0u128..5, 0..5), any::<bool>()), 1..7);
    let owners = proptest::collection::vec((0u128..6, 0i32..10, 0usize..7), 0..40);
    (topics, subscriptions, owners).prop_map(|(topics, subscriptions, owners)| {
        let mut members: Vec<Owned> = subscriptions
            .into_iter()
            .enumerate()
            .map(|(index, (of, is_static))| Owned {
                instance_id: is_static.then(|| format!("i{}", index % 3)),
                // The group looks up only topics that exist.
                topics: of.into_iter().filter(|topic| topics.contains_key(topic)).collect(),
                holds: BTreeSet::new(),
            })
            .collect();
        let mut seen = BTreeSet::new();
        for (topic, partition, owner) in owners {
            let at = owner % members.len();
            if seen.insert((topic, partition)) {
                members[at].holds.insert((topic, partition));
            }
        }
        (members, topics)
    })
}

proptest! {
    /// Law: each partition of a topic with subscribers has exactly one member, which is subscribed to the topic.
    #[test]
    fn every_partition_has_one_subscribed_member((members, topics) in groups()) {
        for assignor in Assignor::ALL {
            let shares = assignor.assign(&candidates(&members), &topics);
            let mut expected = BTreeSet::new();
            for (topic, partitions) in &topics {
                if members.iter().any(|member| member.topics.contains(topic)) {
                    expected.extend(share(*topic, 0..*partitions));
                }
            }
            let count: usize = shares.iter().map(BTreeSet::len).sum();
            let all: BTreeSet<_> = shares.iter().flatten().copied().collect();
            prop_assert_eq!(count, all.len(), "{:?}: a partition has two members", assignor);
            prop_assert_eq!(all, expected);
            for (member, share) in members.iter().zip(&shares) {
                prop_assert!(share.iter().all(|at| member.topics.contains(&at.0)));
            }
        }
    }

    /// Law: no uniform share exceeds another by more than one if one of its partitions could be moved there, and the same
    /// assignor leaves its own assignment as it is.
    #[test]
    fn uniform_shares_are_balanced_and_remain((mut members, topics) in groups()) {
        let shares = Assignor::Uniform.assign(&candidates(&members), &topics);
        for giver in &shares {
            for (taker, share) in members.iter().zip(&shares) {
                let could_move = giver.iter().any(|at| taker.topics.contains(&at.0));
                prop_assert!(!could_move || giver.len() <= share.len() + 1, "{:?}", shares);
            }
        }
        members.iter_mut().zip(&shares).for_each(|(member, share)| member.holds.clone_from(share));
        prop_assert_eq!(Assignor::Uniform.assign(&candidates(&members), &topics), shares);
    }
}
