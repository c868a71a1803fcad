//! Commits of members, and the administration of consumer groups.

use super::*;
use crate::core::{ConfigEdit, OffsetToCommit};

fn commit(scene: &mut Scene, member: &MemberRef, partition: i32) -> Result<(), ErrorCode> {
    let offsets = vec![OffsetToCommit::new("t", partition, 1)];
    scene.broker.commit_offsets("g", member, offsets, scene.now_ms).map(|each| each[0].unwrap())
}

#[test]
fn a_member_commits_with_its_epoch() {
    let mut scene = Scene::new();
    let member = Client::new("a").member();
    assert_eq!(commit(&mut scene, &member, 0), Err(ErrorCode::GroupIdNotFound));
    let (a, _) = pair(&mut scene);
    assert_eq!(commit(&mut scene, &a.member(), 0), Ok(()));
    assert_eq!(commit(&mut scene, &a.member(), 5), Ok(()), "it need not own the partition");
    let changed = |change: fn(&mut MemberRef)| {
        let mut member = a.member();
        change(&mut member);
        member
    };
    let cases = [
        (changed(|member| member.generation += 1), ErrorCode::StaleMemberEpoch),
        (changed(|member| member.member_id = "x".to_owned()), ErrorCode::UnknownMemberId),
        (changed(|member| member.knows_member_epochs = false), ErrorCode::UnsupportedVersion),
        (MemberRef { generation: -1, ..MemberRef::default() }, ErrorCode::UnknownMemberId),
    ];
    for (member, code) in cases {
        assert_eq!(commit(&mut scene, &member, 0), Err(code), "{member:?}");
    }
}

#[test]
fn a_late_commit_is_accepted_for_partitions_that_the_member_has_had_since() {
    let mut scene = Scene::new();
    let (mut a, mut b) = pair(&mut scene);
    let mut late = a.member();
    late.generation = 1;
    assert_eq!(commit(&mut scene, &late, 2), Ok(()), "assigned in epoch 1");
    assert_eq!(commit(&mut scene, &late, 3), Err(ErrorCode::StaleMemberEpoch), "given up");
    scene.send(ConsumerHeartbeat { epoch: -1, ..b.brief() }).unwrap();
    scene.beat(&mut a);
    assert_eq!((a.epoch, a.owned.len()), (3, 6));
    late.generation = 2;
    assert_eq!(commit(&mut scene, &late, 2), Ok(()));
    assert_eq!(commit(&mut scene, &late, 3), Err(ErrorCode::StaleMemberEpoch), "assigned again in epoch 3");
    let offsets = ["t", "missing"].map(|topic| OffsetToCommit::new(topic, 0, 9)).to_vec();
    let refused = scene.broker.commit_offsets("g", &late, offsets, 0);
    assert_eq!(refused, Err(ErrorCode::StaleMemberEpoch), "one late partition refuses all");
    assert_eq!(scene.broker.committed_offset("g", "t", 0), None);
    b = Client::ranged("b");
    scene.join(&mut b);
    scene.beat(&mut a);
    late.generation = 3;
    assert_eq!(commit(&mut scene, &late, 5), Ok(()), "still to be given up");
}

#[test]
fn a_member_commits_in_a_transaction_with_its_epoch() {
    let mut scene = Scene::new();
    let (a, _) = pair(&mut scene);
    let producer = scene.broker.init_transactions("id", 60_000, None, 0).unwrap();
    scene.broker.add_offsets("id", producer, "g", 0).unwrap();
    let mut commit = |member: &MemberRef, partition: i32| {
        let offsets = vec![OffsetToCommit::new("t", partition, 1)];
        let each = scene.broker.commit_offsets_in_transaction("id", producer, "g", member, offsets, 0);
        each.map(|each| each[0].unwrap())
    };
    // The requests of transactions have codes of the classic protocol alone.
    let member = |generation: i32| MemberRef { generation, knows_member_epochs: false, ..a.member() };
    assert_eq!(commit(&member(a.epoch), 0), Ok(()));
    assert_eq!(commit(&member(a.epoch - 1), 0), Ok(()), "a partition that it has had since");
    assert_eq!(commit(&member(a.epoch - 1), 5), Err(ErrorCode::IllegalGeneration));
    assert_eq!(commit(&member(a.epoch + 1), 0), Err(ErrorCode::IllegalGeneration));
    let unknown = MemberRef { member_id: "x".to_owned(), ..member(a.epoch) };
    assert_eq!(commit(&unknown, 0), Err(ErrorCode::UnknownMemberId));
    let outsider = MemberRef { generation: -1, ..MemberRef::default() };
    assert_eq!(commit(&outsider, 0), Ok(()));
}

#[test]
fn a_member_fetches_offsets_with_its_epoch() {
    let mut scene = Scene::new();
    assert_eq!(scene.broker.check_offset_fetch("g", Some("a"), 1), Ok(()), "there is no such group");
    let (a, _) = pair(&mut scene);
    let cases = [
        (Some("a"), a.epoch, Ok(())),
        (None, -1, Ok(())),
        (Some("a"), a.epoch - 1, Err(ErrorCode::StaleMemberEpoch)),
        (Some("x"), a.epoch, Err(ErrorCode::UnknownMemberId)),
    ];
    for (id, epoch, expected) in cases {
        assert_eq!(scene.broker.check_offset_fetch("g", id, epoch), expected, "{id:?}");
    }
}

#[test]
fn groups_with_members_are_not_deleted_nor_are_offsets_of_their_topics() {
    let mut scene = Scene::new();
    let (a, b) = pair(&mut scene);
    assert_eq!(commit(&mut scene, &a.member(), 0), Ok(()));
    assert_eq!(scene.broker.delete_group("g", 0), Err(ErrorCode::NonEmptyGroup));
    assert_eq!(scene.broker.delete_offset("g", "t", 0), Err(ErrorCode::GroupSubscribedToTopic));
    scene.broker.expire_offsets(i64::MAX);
    assert!(scene.broker.committed_offset("g", "t", 0).is_some(), "offsets of subscribed topics do not expire");
    for client in [&a, &b] {
        scene.send(ConsumerHeartbeat { epoch: -1, ..client.brief() }).unwrap();
    }
    scene.broker.delete_offset("g", "t", 0).unwrap();
    scene.broker.delete_group("g", 0).unwrap();
    assert_eq!(scene.send(a.brief()), Err(ErrorCode::GroupIdNotFound));
}

#[test]
fn offsets_of_a_group_that_has_lost_its_members_expire() {
    let mut scene = Scene::with(quick().with_config("offsets.retention.minutes", "1").unwrap());
    let mut a = Client::new("a");
    scene.join(&mut a);
    assert_eq!(commit(&mut scene, &a.member(), 0), Ok(()));
    scene.send(ConsumerHeartbeat { epoch: -1, ..a.brief() }).unwrap();
    scene.pass(59_999);
    scene.broker.expire_offsets(scene.now_ms);
    assert!(scene.broker.describe_consumer_group("g").is_some());
    scene.pass(1);
    scene.broker.expire_offsets(scene.now_ms);
    assert!(scene.broker.describe_consumer_group("g").is_none());
}

#[test]
fn a_group_has_its_own_timeouts() {
    let mut scene = Scene::new();
    let set = |name: &str, value: &str| [ConfigEdit::Set(name.to_owned(), value.to_owned())];
    let (session, interval) = ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms");
    let refusals = [
        (set(session, "5999"), "must be 6000 to 60000"),
        (set(interval, "15001"), "must be 1000 to 15000"),
        (set(interval, "6000"), "must exceed"),
        (set(session, "x"), "invalid value `x`"),
        (set("share.session.timeout.ms", "1"), "consumer.session.timeout.ms"),
    ];
    for (edits, text) in refusals {
        let refusal = scene.broker.edit_group_configs("g", &edits, false).unwrap_err();
        assert!(refusal.message.contains(text), "{}", refusal.message);
    }
    scene.broker.edit_group_configs("g", &set(session, "10000"), false).unwrap();
    scene.broker.edit_group_configs("g", &set(interval, "2000"), false).unwrap();
    scene.broker.edit_group_configs("g", &set(interval, "3000"), true).unwrap();
    let a = Client::new("a");
    let reply = scene.send(a.full()).unwrap();
    assert_eq!(reply.interval_ms, 2000);
    scene.pass(9_999);
    assert_eq!(scene.group().members.len(), 1);
    scene.pass(1);
    assert_eq!(scene.group().members.len(), 0);
    for name in [session, interval] {
        scene.broker.edit_group_configs("g", &[ConfigEdit::Unset(name.to_owned())], false).unwrap();
    }
    assert_eq!(scene.broker.configured_groups().count(), 0);
    assert_eq!(scene.send(a.full()).unwrap().interval_ms, 1000);
}
