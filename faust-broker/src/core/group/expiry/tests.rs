//! Scenarios of the expiry of offsets and groups, with a manual clock.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;

use crate::core::storage::MemoryStorage;
use crate::core::{
    BrokerCore, Completed, CoreConfig, ErrorCode, GroupState, JoinReply, JoinRequest, MemberRef, OffsetToCommit,
    SyncRequest, TopicSpec,
};

const MINUTE: i64 = 60_000;
const RETENTION: i64 = 10 * MINUTE;

fn config() -> CoreConfig {
    CoreConfig::default().with_config("offsets.retention.minutes", "10").unwrap()
}

/// Creates a broker with the topics `t` and `u`.
fn broker() -> BrokerCore {
    let mut broker = BrokerCore::new(config());
    for topic in ["t", "u"] {
        broker.create_topic(topic, TopicSpec { partitions: 2, ..TopicSpec::default() }).unwrap();
    }
    broker
}

fn outsider() -> MemberRef {
    MemberRef { generation: -1, ..MemberRef::default() }
}

fn commit(broker: &mut BrokerCore, member: &MemberRef, topic: &str, now_ms: i64) {
    let offset = OffsetToCommit::new(topic, 0, 1);
    assert_eq!(broker.commit_offsets("g", member, vec![offset], now_ms), Ok(vec![Ok(())]));
}

/// Joins the group as its only member, a consumer of the topic.
fn join(broker: &mut BrokerCore, topic: &str, now_ms: i64) -> MemberRef {
    let mut metadata = vec![0, 0, 0, 0, 0, 1, 0, u8::try_from(topic.len()).unwrap()];
    metadata.extend_from_slice(topic.as_bytes());
    let request = JoinRequest {
        session_timeout_ms: 1_800_000,
        rebalance_timeout_ms: 1_800_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from(metadata))],
        ..JoinRequest::default()
    };
    let token = broker.join_group("g", request, now_ms).unwrap();
    let JoinReply { member_id, generation, .. } = match broker.take_completed().pop() {
        Some((done, Completed::Join(Ok(reply)))) if done == token => reply,
        other => panic!("expected to have joined, got {other:?}"),
    };
    let member = MemberRef { member_id, generation, ..MemberRef::default() };
    let assignments = vec![(member.member_id.clone(), Bytes::from_static(b"all"))];
    let request = SyncRequest { member: member.clone(), assignments, ..SyncRequest::default() };
    broker.sync_group("g", request, now_ms).unwrap();
    broker.tick(now_ms);
    member
}

fn leave(broker: &mut BrokerCore, member: &MemberRef, now_ms: i64) {
    broker.leave_group("g", &member.member_id, None, now_ms).unwrap();
    broker.tick(now_ms);
}

/// Returns the topics for which the group has committed offsets, `None` if there is no such group.
fn kept(broker: &mut BrokerCore, now_ms: i64) -> Option<Vec<String>> {
    broker.tick(now_ms);
    broker.expire_offsets(now_ms);
    broker.describe_group("g")?;
    Some(broker.committed_offsets("g").into_iter().map(|offset| offset.topic).collect())
}

/// Restarts the broker from its changes, as from a journal that was shortened.
fn restart(broker: &BrokerCore) -> BrokerCore {
    BrokerCore::restore(config(), Box::new(MemoryStorage), broker.snapshot()).unwrap()
}

#[test]
fn a_group_survives_its_last_offset_until_the_next_check() {
    let mut broker = broker();
    commit(&mut broker, &outsider(), "t", 0);
    broker.delete_offset("g", "t", 0).unwrap();
    broker.tick(1000);
    assert!(broker.describe_group("g").is_some());
    broker = restart(&broker);
    assert!(broker.describe_group("g").is_some(), "the group survives a restart");
    broker.expire_offsets(1001);
    assert!(broker.describe_group("g").is_none());
    assert_eq!(broker.delete_group("g", 1001), Err(ErrorCode::GroupIdNotFound));
}

#[test]
fn offsets_of_a_client_outside_the_group_expire_after_their_commit() {
    let mut broker = broker();
    commit(&mut broker, &outsider(), "t", MINUTE);
    commit(&mut broker, &outsider(), "u", 3 * MINUTE);
    assert_eq!(kept(&mut broker, MINUTE + RETENTION - 1), Some(vec!["t".into(), "u".into()]));
    assert_eq!(kept(&mut broker, MINUTE + RETENTION), Some(vec!["u".into()]));
    assert_eq!(kept(&mut broker, 3 * MINUTE + RETENTION), None, "the group goes with its last offset");
}

#[test]
fn offsets_of_a_group_expire_after_its_last_member_has_left() {
    let mut broker = broker();
    let member = join(&mut broker, "t", 0);
    commit(&mut broker, &member, "t", 0);
    // A group with members keeps the offsets of its topics, however old they are.
    assert_eq!(kept(&mut broker, 5 * MINUTE), Some(vec!["t".into()]));
    broker.heartbeat("g", &member, 25 * MINUTE).unwrap();
    assert_eq!(kept(&mut broker, 50 * MINUTE), Some(vec!["t".into()]));
    leave(&mut broker, &member, 51 * MINUTE);
    broker = restart(&broker);
    assert_eq!(broker.describe_group("g").unwrap().protocol_type, "consumer");
    assert_eq!(kept(&mut broker, 51 * MINUTE + RETENTION - 1), Some(vec!["t".into()]));
    assert_eq!(kept(&mut broker, 51 * MINUTE + RETENTION), None);
}

#[test]
fn the_members_of_a_group_are_gone_after_a_restart() {
    let mut broker = broker();
    let member = join(&mut broker, "t", 0);
    commit(&mut broker, &member, "t", 0);
    broker = restart(&broker);
    // The retention starts with the restart, not with the commit.
    assert_eq!(kept(&mut broker, 20 * MINUTE), Some(vec!["t".into()]));
    assert_eq!(kept(&mut broker, 20 * MINUTE + RETENTION - 1), Some(vec!["t".into()]));
    assert_eq!(kept(&mut broker, 20 * MINUTE + RETENTION), None);
}

#[test]
fn offsets_committed_after_a_group_became_empty_are_kept_for_their_own_time() {
    let mut broker = broker();
    let member = join(&mut broker, "t", 0);
    commit(&mut broker, &member, "t", 0);
    leave(&mut broker, &member, 1);
    commit(&mut broker, &outsider(), "u", 5 * MINUTE);
    assert_eq!(kept(&mut broker, RETENTION + 1), Some(vec!["u".into()]));
    assert_eq!(kept(&mut broker, 5 * MINUTE + RETENTION), None);
}

#[test]
fn offsets_of_a_topic_that_no_member_reads_any_more_expire() {
    let mut broker = broker();
    let member = join(&mut broker, "t", 0);
    commit(&mut broker, &member, "t", 0);
    commit(&mut broker, &member, "u", 0);
    assert_eq!(kept(&mut broker, RETENTION - 1), Some(vec!["t".into(), "u".into()]));
    assert_eq!(kept(&mut broker, RETENTION), Some(vec!["t".into()]));
    // A client that may read any topic is not known to have stopped reading one.
    broker = self::broker();
    let member = join(&mut broker, "t", 0);
    commit(&mut broker, &member, "u", 0);
    let rejoin = JoinRequest {
        member_id: member.member_id.clone(),
        session_timeout_ms: 1_800_000,
        rebalance_timeout_ms: 1_800_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"other"))],
        ..JoinRequest::default()
    };
    broker.join_group("g", rejoin, 1).unwrap();
    let Some((_, Completed::Join(Ok(JoinReply { generation, .. })))) = broker.take_completed().pop() else {
        panic!("the member has joined again");
    };
    let member = MemberRef { generation, ..member };
    let assignments = vec![(member.member_id.clone(), Bytes::from_static(b"all"))];
    broker.sync_group("g", SyncRequest { member, assignments, ..SyncRequest::default() }, 1).unwrap();
    assert_eq!(kept(&mut broker, RETENTION), Some(vec!["u".into()]));
    assert_eq!(broker.describe_group("g").unwrap().state, GroupState::Stable, "it still has its member");
}

#[test]
fn a_retention_time_of_the_client_takes_precedence() {
    let mut broker = broker();
    let offset = OffsetToCommit { retention_ms: Some(MINUTE), ..OffsetToCommit::new("t", 0, 1) };
    broker.commit_offsets("g", &outsider(), vec![offset], 0).unwrap();
    assert_eq!(kept(&mut broker, MINUTE - 1), Some(vec!["t".into()]));
    broker = restart(&broker);
    assert_eq!(kept(&mut broker, MINUTE), None);
}

#[test]
fn commits_have_the_time_of_the_wall_clock() {
    let mut broker = broker();
    // The wall clock is an hour ahead: the machine has slept since the start.
    broker.set_wall_clock(0, 60 * MINUTE);
    commit(&mut broker, &outsider(), "t", 0);
    assert_eq!(broker.committed_offset("g", "t", 0).unwrap().committed_ms, 60 * MINUTE);
    broker.expire_offsets(60 * MINUTE + RETENTION - 1);
    assert!(broker.describe_group("g").is_some());
    broker.expire_offsets(60 * MINUTE + RETENTION);
    assert!(broker.describe_group("g").is_none());
}
