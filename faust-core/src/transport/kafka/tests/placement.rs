//! The members of real groups, and the placement of standbys by them: the partitions of a member that leaves go to their heirs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::cluster::{Cluster, within};
use crate::transport::kafka::GroupProtocol;
use crate::transport::port::*;
use crate::worker::placement::GroupPlace;

const PARTITIONS: i32 = 11;

/// A group whose members come and go.
struct Members {
    cluster: Cluster,
    are_static: bool,
    /// The members by number.
    running: BTreeMap<usize, Arc<dyn Group>>,
}

impl Members {
    fn new(mut cluster: Cluster, protocol: GroupProtocol, are_static: bool) -> Self {
        cluster.config.group_protocol = protocol;
        cluster.config.heartbeat_interval = Duration::from_millis(100);
        cluster.group = format!("{}-{protocol:?}-{are_static}", cluster.group).to_lowercase();
        Self { cluster, are_static, running: BTreeMap::new() }
    }

    fn join(&mut self, number: usize) {
        // The names are not in the order of the numbers, and one begins with another.
        let name = ["m", "m-1", "m1", "a", "z", "m-", "b/c", "b"][number];
        self.cluster.config.worker_name = Some(name.to_owned());
        self.cluster.config.group_instance_id = self.are_static.then(|| format!("i{name}"));
        let (group, events) = self.cluster.join();
        // What is assigned does not matter here.
        drop(events);
        self.running.insert(number, group);
    }

    async fn leave(&mut self, number: usize) {
        within("leaving", self.running.remove(&number).unwrap().leave()).await;
    }

    /// Waits until exactly these members have all partitions, and returns the descriptions.
    async fn settled(&self) -> Vec<GroupMember> {
        let admin = self.cluster.transport().admin().unwrap();
        within("the assignment", async {
            loop {
                // A coordinator may be busy with the rebalance.
                let members = admin.group_members(&self.cluster.group).await.unwrap_or_default();
                let assigned: BTreeSet<_> = members.iter().flat_map(|member| &member.partitions).collect();
                let mut known = BTreeSet::new();
                for group in self.running.values() {
                    known.extend(group.member_id().await);
                }
                let described: BTreeSet<_> = members.iter().map(|member| member.member_id.clone()).collect();
                let is_even = members.iter().all(|member| {
                    let share = usize::try_from(PARTITIONS).unwrap() / members.len();
                    // A member that has just joined has none yet.
                    (share..=share + 1).contains(&member.partitions.len())
                });
                let all = assigned.len() == usize::try_from(PARTITIONS).unwrap();
                if known.len() == self.running.len() && known == described && all && is_even {
                    return members;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    /// Lets each of the members leave, and join again.
    async fn check_each(&mut self) {
        let numbers: Vec<_> = self.running.keys().copied().collect();
        for number in numbers {
            let before = self.settled().await;
            let gone = self.running[&number].member_id().await.unwrap();
            self.leave(number).await;
            let after = if self.running.is_empty() { Vec::new() } else { self.settled().await };
            let what = format!("{gone} left {before:?}; then {after:?}");
            let owners = |members: &[GroupMember]| -> BTreeMap<i32, String> {
                let owned = members.iter().flat_map(|member| {
                    member.partitions.iter().map(|partition| (partition.partition, member.member_id.clone()))
                });
                owned.collect()
            };
            let standbys = |replicas: u32| -> BTreeMap<i32, BTreeSet<String>> {
                let mut all: BTreeMap<i32, BTreeSet<String>> = BTreeMap::new();
                for member in &before {
                    let place = GroupPlace::find(&member.member_id, &before).unwrap();
                    for partition in place.standbys(PARTITIONS, replicas) {
                        all.entry(partition).or_default().insert(member.member_id.clone());
                    }
                }
                all
            };
            let (heirs, neighbours, former) = (standbys(1), standbys(2), owners(&before));
            for (partition, owner) in owners(&after) {
                if former[&partition] == gone {
                    assert_eq!(heirs[&partition], BTreeSet::from([owner]), "{what}: partition {partition}");
                } else if former[&partition] != owner {
                    assert!(neighbours[&partition].contains(&owner), "{what}: partition {partition} went to {owner}");
                }
            }
            self.join(number);
        }
    }

    async fn end(mut self) {
        let numbers: Vec<_> = self.running.keys().copied().collect();
        for number in numbers {
            self.leave(number).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heirs_of_each_member_are_the_next_owners() {
    for cluster in Cluster::kafkas(PARTITIONS).await {
        let mut members = Members::new(cluster, GroupProtocol::Classic, false);
        for number in 0..8 {
            members.join(number);
            members.check_each().await;
        }
        members.end().await;
    }
}

/// A static member stays in the group until its session has timed out, so the groups are checked side by side.
#[tokio::test(flavor = "multi_thread")]
async fn the_heirs_of_each_static_member_are_the_next_owners() {
    let groups = (1..=8).map(async |count| {
        for cluster in Cluster::kafkas(PARTITIONS).await {
            let mut members = Members::new(cluster, GroupProtocol::Classic, true);
            (0..count).for_each(|number| members.join(number));
            members.check_each().await;
            members.end().await;
        }
    });
    join_all(groups).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heirs_are_the_next_owners_where_the_broker_assigns() {
    for are_static in [false, true] {
        for cluster in Cluster::kafkas(PARTITIONS).await {
            let mut members = Members::new(cluster, GroupProtocol::Consumer, are_static);
            (0..3).for_each(|number| members.join(number));
            // A static member that leaves keeps its place until its session has timed out: nothing moves before.
            if are_static {
                let place = |members: &[GroupMember], of: &str| {
                    let of = members.iter().find(|member| member.instance_id.as_deref() == Some(of)).unwrap();
                    GroupPlace::find(&of.member_id, members).unwrap().own
                };
                let found = members.settled().await;
                assert_eq!(["im", "im-1", "im1"].map(|name| place(&found, name)), [0, 1, 2]);
                let first = found.iter().find(|member| member.instance_id.as_deref() == Some("im")).unwrap();
                assert!(first.partitions.iter().all(|partition| partition.partition < 4), "{first:?}");
            } else {
                members.check_each().await;
            }
            members.end().await;
        }
    }
}

/// Law: the place of a worker among the members is that of its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_described_by_its_worker() {
    for cluster in Cluster::kafkas(PARTITIONS).await {
        let mut members = Members::new(cluster, GroupProtocol::Classic, false);
        (0..3).for_each(|number| members.join(number));
        let mut found = members.settled().await;
        found.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        let begin = ["m-1/faust-", "m/faust-", "m1/faust-"];
        assert!(found.iter().zip(begin).all(|(member, begin)| member.member_id.starts_with(begin)), "{found:?}");
        assert!(
            found.iter().all(|member| member.client_id.ends_with("/faust") && !member.host.is_empty()),
            "{found:?}"
        );
        let topic = &members.cluster.topic;
        let first = (0..4).map(|partition| TopicPartition::new(Arc::clone(topic), partition)).collect::<Vec<_>>();
        assert_eq!(found[0].partitions, first);
        let admin = members.cluster.transport().admin().unwrap();
        assert_eq!(admin.group_members("no-such-group").await.unwrap(), []);
        members.end().await;
    }
}

/// Law: a look-up without waiting returns the offsets that were committed last, and does not wait for those of a transaction.
#[tokio::test(flavor = "multi_thread")]
async fn committed_offsets_are_looked_up_without_waiting_for_transactions() {
    for cluster in Cluster::kafkas(1).await {
        let (group, mut events) = cluster.join();
        let assigned = events.assigned().await.remove(0);
        let partition = assigned.partition.clone();
        let at = |offset| BTreeMap::from([(partition.clone(), super::cluster::at(offset, "mine"))]);
        group.commit(at(3)).await.unwrap();
        let admin = cluster.transport().admin().unwrap();
        let now =
            async || within("a look-up", admin.committed_now(&cluster.group, vec![partition.clone()])).await.unwrap();
        assert_eq!(now().await, at(3));
        let producer = cluster.transport().transactions(&format!("{}-id", cluster.group)).await.unwrap();
        producer.begin().await.unwrap();
        producer.send_offsets(group.membership().unwrap(), at(7)).await.unwrap();
        assert_eq!(now().await, at(3));
        producer.commit().await.unwrap();
        // This look-up waits until the transaction is complete.
        let settled = admin.committed(&cluster.group, vec![partition.clone()]);
        assert_eq!(within("the commit", settled).await.unwrap(), at(7));
        assert_eq!(now().await, at(7));
        let other = admin.committed_now("no-such-group", vec![partition.clone()]).await.unwrap();
        assert_eq!(other, BTreeMap::new());
        drop(assigned);
        within("leaving", group.leave()).await;
    }
}
