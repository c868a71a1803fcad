//! Groups of the consumer protocol survive crashes at any point.

use std::collections::BTreeSet;

use super::*;
use crate::core::{ConsumerHeartbeat, JoinRequest, TopicPartition};

/// A step of a random history. The number selects the member.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// A heartbeat, with which the member gives up what it must.
    Beat(usize),
    /// A heartbeat that reports nothing.
    Wait(usize),
    Leave(usize, i32),
    Commit(usize),
    Grow,
    /// A member of the classic protocol joins and leaves.
    Classic,
    Shorten,
    Crash,
}

fn moves() -> impl Strategy<Value = Move> {
    let who = || 0usize..3;
    prop_oneof![
        8 => who().prop_map(Move::Beat),
        2 => who().prop_map(Move::Wait),
        2 => (who(), -2..0).prop_map(|(who, epoch)| Move::Leave(who, epoch)),
        1 => who().prop_map(Move::Commit),
        1 => Just(Move::Grow),
        1 => Just(Move::Classic),
        1 => Just(Move::Shorten),
        4 => Just(Move::Crash),
    ]
}

#[derive(Debug, Clone, Default)]
struct Consumer {
    epoch: i32,
    owned: BTreeSet<TopicPartition>,
}

impl Consumer {
    fn heartbeat(&self, who: usize) -> ConsumerHeartbeat {
        let joins = self.epoch == 0;
        ConsumerHeartbeat {
            member_id: format!("m{who}"),
            epoch: self.epoch,
            instance_id: (who == 0).then(|| "fixed".to_owned()),
            rack_id: (who == 1).then(|| "rack".to_owned()),
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            rebalance_timeout_ms: if joins { 1000 } else { -1 },
            topics: (joins && who != 2).then(|| vec!["t".to_owned()]),
            topic_regex: (joins && who == 2).then(|| "t|u".to_owned()),
            assignor: (joins && who != 1).then(|| "range".to_owned()),
            owned: joins.then(BTreeSet::new),
            ..ConsumerHeartbeat::default()
        }
    }
}

fn step(broker: &mut BrokerCore, members: &mut [Consumer; 3], step: Move) {
    match step {
        Move::Beat(who) | Move::Wait(who) => {
            let member = &mut members[who];
            let mut request = member.heartbeat(who);
            if matches!(step, Move::Beat(_)) {
                request.owned = Some(member.owned.clone());
            }
            match broker.consumer_heartbeat("g", request, 0) {
                Ok(reply) => {
                    member.epoch = reply.epoch;
                    member.owned = reply.assignment.unwrap_or_else(|| std::mem::take(&mut member.owned));
                }
                // The group has ended meanwhile, or has got a classic member.
                Err(_) => *member = Consumer::default(),
            }
        }
        Move::Leave(who, epoch) => {
            let member = std::mem::take(&mut members[who]);
            // Fails unless it is a member, and static if it leaves for a while.
            broker.consumer_heartbeat("g", ConsumerHeartbeat { epoch, ..member.heartbeat(who) }, 0).ok();
        }
        Move::Commit(who) => {
            let member = MemberRef {
                member_id: format!("m{who}"),
                generation: members[who].epoch,
                knows_member_epochs: true,
                ..MemberRef::default()
            };
            broker.commit_offsets("g", &member, vec![OffsetToCommit::new("t", 0, 1)], 0).ok();
        }
        Move::Grow => {
            let partitions = broker.topic("t").unwrap().partitions();
            broker.create_partitions("t", partitions + 1, false).unwrap();
        }
        Move::Classic => {
            let request = JoinRequest {
                session_timeout_ms: 10_000,
                protocol_type: "consumer".to_owned(),
                protocols: vec![("range".to_owned(), Bytes::new())],
                ..JoinRequest::default()
            };
            // Fails while there are members of the consumer protocol.
            broker.join_group("g", request, 0).ok();
            for member in broker.describe_group("g").map(|group| group.members).unwrap_or_default() {
                broker.leave_group("g", &member.member_id, None, 0).unwrap();
            }
            broker.tick(0);
        }
        Move::Shorten => broker.shorten_journal(),
        Move::Crash => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Law: a crash changes nothing of a group, its members and their assignments.
    #[test]
    fn groups_survive_crashes(history in proptest::collection::vec(moves(), 1..60)) {
        let temporary = tempfile::tempdir().unwrap();
        let (mut directory, mut broker) = open(temporary.path());
        broker.create_topic("t", TopicSpec { partitions: 5, ..TopicSpec::default() }).unwrap();
        let mut members: [Consumer; 3] = Default::default();
        for (number, next) in history.into_iter().enumerate() {
            step(&mut broker, &mut members, next);
            if matches!(next, Move::Crash) {
                let before = broker.snapshot();
                drop((broker, directory));
                (directory, broker) = open(temporary.path());
                prop_assert_eq!(broker.snapshot(), before, "step {}", number);
            }
        }
    }
}
