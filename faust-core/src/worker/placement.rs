//! The placement of standbys: which members of a group keep a copy of a table's partition that another member owns.
//!
//! The range assignor sorts the members and cuts the partitions of each topic into contiguous blocks, one for each member in
//! this order; the first blocks have one partition more if the number is not divisible. So the next owner of a partition can be
//! computed: it is the owner in the same computation over the members without the present owner, its *heir*. A partition moves
//! only to a neighbour of its owner, whichever member leaves or joins, unless it moves to the one that joins.
//!
//! | replicas | standbys of a partition | restored from them |
//! |---|---|---|
//! | 0 | none | nothing |
//! | 1 | its heir | the partitions of a member that has left |
//! | 2 | both neighbours of its owner | all partitions that move because a member has left, and those that move between members because one has joined |

use std::collections::BTreeSet;

use crate::transport::GroupMember;

/// The members of a group in the order of the range assignor, and the place of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupPlace {
    /// Place of this member, counted from 0.
    pub(crate) own: usize,
    /// Number of members.
    pub(crate) members: usize,
}

impl GroupPlace {
    /// Finds the member with this id; `None` if it is not among the members.
    ///
    /// Static members are sorted by their instance ids, all others by their member ids. In a group of both kinds, the ids that
    /// the broker gives to members decide; those of static members begin with the instance id.
    pub(crate) fn find(member_id: &str, members: &[GroupMember]) -> Option<Self> {
        let instances: Option<Vec<_>> = members.iter().map(|member| member.instance_id.as_deref()).collect();
        let mut order: Vec<_> = match &instances {
            Some(instances) => instances.iter().copied().zip(members).collect(),
            None => members.iter().map(|member| (&*member.member_id, member)).collect(),
        };
        // By the bytes of the ids, as librdkafka and the broker compare them.
        order.sort_by_key(|(id, _)| *id);
        let own = order.iter().position(|(_, member)| member.member_id == member_id)?;
        Some(Self { own, members: members.len() })
    }

    /// Returns the partitions, of this number, of which the member keeps a standby if each partition has this many.
    pub(crate) fn standbys(self, partitions: i32, replicas: u32) -> BTreeSet<i32> {
        let is_own = |partition: &i32| standbys(*partition, partitions, self.members, replicas).contains(&self.own);
        (0..partitions).filter(is_own).collect()
    }
}

/// Returns the place of the member that owns a partition, one of this number of partitions; `None` without members.
fn owner(partition: i32, partitions: i32, members: usize) -> Option<usize> {
    let (partition, partitions) = (usize::try_from(partition).ok()?, usize::try_from(partitions).ok()?);
    let (share, more) = (partitions.checked_div(members)?, partitions.checked_rem(members)?);
    // The first members have a partition more.
    let long = more * (share + 1);
    Some(if partition < long { partition / (share + 1) } else { more + (partition - long).checked_div(share)? })
}

/// Returns the place of the member that owns a partition once its present owner has left.
fn heir(partition: i32, partitions: i32, members: usize) -> Option<usize> {
    let owner_now = owner(partition, partitions, members)?;
    let next = owner(partition, partitions, members - 1)?;
    // The members behind the one that has left move up by one.
    Some(if next < owner_now { next } else { next + 1 })
}

/// Returns the places of the members that keep standbys of a partition.
fn standbys(partition: i32, partitions: i32, members: usize, replicas: u32) -> BTreeSet<usize> {
    match replicas {
        0 => BTreeSet::new(),
        1 => heir(partition, partitions, members).into_iter().collect(),
        _ => {
            let Some(owner) = owner(partition, partitions, members) else { return BTreeSet::new() };
            let neighbours = [owner.checked_sub(1), Some(owner + 1)];
            neighbours.into_iter().flatten().filter(|place| *place < members).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(member_id: &str, instance_id: Option<&str>) -> GroupMember {
        let instance_id = instance_id.map(str::to_owned);
        GroupMember { member_id: member_id.to_owned(), instance_id, ..GroupMember::default() }
    }

    fn places(members: &[GroupMember]) -> Vec<Option<usize>> {
        let place = |member: &GroupMember| GroupPlace::find(&member.member_id, members);
        members.iter().map(|member| Some(place(member)?.own)).collect()
    }

    #[test]
    fn members_are_sorted_by_instance_or_by_member_id() {
        let dynamic = [member("w10/x", None), member("w1/z", None), member("b/a", None)];
        assert_eq!(places(&dynamic), [Some(2), Some(1), Some(0)]);
        let fixed = [member("c", Some("a")), member("b", Some("c")), member("a", Some("b"))];
        assert_eq!(places(&fixed), [Some(0), Some(2), Some(1)]);
        let mixed = [member("c", Some("a")), member("b", None), member("a", Some("b"))];
        assert_eq!(places(&mixed), [Some(2), Some(1), Some(0)]);
        assert_eq!(GroupPlace::find("d", &mixed), None);
    }

    #[test]
    fn the_blocks_are_those_of_the_range_assignor() {
        let owners = |partitions, members| -> Vec<_> {
            (0..partitions).map(|partition| owner(partition, partitions, members)).collect()
        };
        assert_eq!(owners(5, 2), [0, 0, 0, 1, 1].map(Some));
        assert_eq!(owners(2, 3), [0, 1].map(Some));
        assert_eq!(owners(2, 0), [None, None]);
        let place = GroupPlace { own: 1, members: 2 };
        assert_eq!(place.standbys(5, 1), BTreeSet::from([0, 1, 2]));
        assert_eq!(GroupPlace { own: 0, members: 1 }.standbys(5, 2), BTreeSet::new(), "a lone member has no heir");
    }

    proptest! {
        /// Law: if a member leaves, each of its partitions goes to its heir, and every other one that moves to a
        /// neighbour of its owner.
        #[test]
        fn the_standbys_are_the_next_owners_when_a_member_leaves(
            partitions in 1i32..100,
            (members, gone) in (1usize..20).prop_flat_map(|members| (Just(members), 0..members)),
        ) {
            let rest: Vec<_> = (0..members).filter(|place| *place != gone).collect();
            for partition in 0..partitions {
                let before = owner(partition, partitions, members);
                let after = owner(partition, partitions, members - 1).map(|place| rest[place]);
                if before == Some(gone) {
                    prop_assert_eq!(heir(partition, partitions, members), after);
                    prop_assert_eq!(standbys(partition, partitions, members, 1), after.into_iter().collect());
                }
                if before != after && let Some(after) = after {
                    prop_assert!(standbys(partition, partitions, members, 2).contains(&after));
                }
            }
        }

        /// Law: if a member joins, each partition that moves goes to it, or to a neighbour of its owner.
        #[test]
        fn both_neighbours_are_the_next_owners_when_a_member_joins(
            partitions in 1i32..100,
            (members, new) in (1usize..20).prop_flat_map(|members| (Just(members), 0..=members)),
        ) {
            for partition in 0..partitions {
                let before = owner(partition, partitions, members);
                let place = owner(partition, partitions, members + 1).expect("there are members");
                // The place of the next owner among the former members.
                let after = (place != new).then(|| if place > new { place - 1 } else { place });
                if let Some(after) = after.filter(|after| before != Some(*after)) {
                    prop_assert!(standbys(partition, partitions, members, 2).contains(&after));
                }
            }
        }

        /// Law: the owner of a partition keeps no standby of it, and each partition has as many standbys as there can be.
        #[test]
        fn a_standby_is_another_member(partitions in 1i32..100, members in 1usize..20, replicas in 0u32..3) {
            for partition in 0..partitions {
                let owner = owner(partition, partitions, members).expect("there are members");
                let standbys = standbys(partition, partitions, members, replicas);
                prop_assert!(!standbys.contains(&owner) && standbys.iter().all(|place| *place < members));
                let neighbours = usize::from(owner > 0) + usize::from(owner + 1 < members);
                prop_assert_eq!(standbys.len(), neighbours.min(replicas as usize));
            }
        }
    }
}
