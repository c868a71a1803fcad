//! Scenarios and laws of group membership.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use proptest::prelude::*;

use crate::core::{
    BrokerCore, Completed, CoreConfig, ErrorCode, GroupState, JoinReply, JoinRequest, MemberRef, OffsetToCommit,
    SyncReply, SyncRequest, Token, TopicSpec,
};

const SESSION_MS: i32 = 1000;
const REBALANCE_MS: i32 = 5000;

/// A broker with a topic `t`, its clock and the completed responses.
struct Scene {
    broker: BrokerCore,
    now_ms: i64,
    answers: Vec<(Token, Completed)>,
}

impl Scene {
    fn new() -> Self {
        Self::with(quick())
    }

    fn with(config: CoreConfig) -> Self {
        let mut broker = BrokerCore::new(config);
        broker.create_topic("t", TopicSpec { partitions: 4, ..TopicSpec::default() }).unwrap();
        Self { broker, now_ms: 0, answers: Vec::new() }
    }

    fn join(&mut self, request: JoinRequest) -> Token {
        self.broker.join_group("g", request, self.now_ms).unwrap()
    }

    fn sync(&mut self, reply: &JoinReply, assignments: &[(&str, &'static str)]) -> Token {
        let assignments =
            assignments.iter().map(|(id, text)| ((*id).to_owned(), Bytes::from_static(text.as_bytes()))).collect();
        let request = SyncRequest { member: member(reply), assignments, ..SyncRequest::default() };
        self.broker.sync_group("g", request, self.now_ms).unwrap()
    }

    fn heartbeat(&mut self, reply: &JoinReply) -> Result<(), ErrorCode> {
        self.broker.heartbeat("g", &member(reply), self.now_ms)
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.broker.tick(self.now_ms);
    }

    fn answer(&mut self, token: Token) -> Option<Completed> {
        self.answers.extend(self.broker.take_completed());
        let at = self.answers.iter().position(|(of, _)| *of == token)?;
        Some(self.answers.swap_remove(at).1)
    }

    fn joined(&mut self, token: Token) -> JoinReply {
        match self.answer(token) {
            Some(Completed::Join(Ok(reply))) => reply,
            other => panic!("expected to have joined, got {other:?}"),
        }
    }

    fn synced(&mut self, token: Token) -> Result<SyncReply, ErrorCode> {
        match self.answer(token) {
            Some(Completed::Sync(outcome)) => outcome,
            other => panic!("expected a response to the sync, got {other:?}"),
        }
    }

    fn state(&self) -> GroupState {
        self.broker.describe_group("g").unwrap().state
    }

    fn commit(&mut self, member: &MemberRef, offset: i64) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
        self.broker.commit_offsets("g", member, vec![to_commit("t", 0, offset, "")], self.now_ms)
    }

    /// Creates a stable group of one member.
    fn with_one(&mut self, request: JoinRequest) -> JoinReply {
        let token = self.join(request);
        let reply = self.joined(token);
        let id = reply.member_id.clone();
        self.sync(&reply, &[(&id, "all")]);
        reply
    }
}

/// Returns settings that accept [`SESSION_MS`].
fn quick() -> CoreConfig {
    CoreConfig::default().with_config("group.min.session.timeout.ms", "1").unwrap()
}

fn request(member_id: &str) -> JoinRequest {
    JoinRequest {
        member_id: member_id.to_owned(),
        client_id: "c".to_owned(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"topics"))],
        ..JoinRequest::default()
    }
}

fn fixed(instance: &str) -> JoinRequest {
    JoinRequest { instance_id: Some(instance.to_owned()), can_skip_assignment: true, ..request("") }
}

fn member(reply: &JoinReply) -> MemberRef {
    MemberRef { member_id: reply.member_id.clone(), generation: reply.generation, ..MemberRef::default() }
}

fn to_commit(topic: &str, partition: i32, offset: i64, metadata: &str) -> OffsetToCommit {
    OffsetToCommit { metadata: metadata.to_owned(), ..OffsetToCommit::new(topic, partition, offset) }
}

#[test]
fn a_second_member_gets_its_share_after_a_rebalance() {
    let mut scene = Scene::new();
    let first = scene.with_one(request(""));
    assert_eq!(scene.state(), GroupState::Stable);

    let second = scene.join(request(""));
    assert_eq!(scene.answer(second), None, "the first member has not rejoined");
    assert_eq!(scene.heartbeat(&first), Err(ErrorCode::RebalanceInProgress));

    let again = scene.join(request(&first.member_id));
    let (leader, follower) = (scene.joined(again), scene.joined(second));
    assert_eq!((leader.generation, follower.generation), (2, 2));
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    assert_eq!(follower.leader, leader.member_id);

    let waiting = scene.sync(&follower, &[]);
    assert_eq!(scene.answer(waiting), None, "the leader has not submitted an assignment");
    let own = scene.sync(&leader, &[(&leader.member_id, "a"), (&follower.member_id, "b")]);
    assert_eq!(scene.synced(own).unwrap().assignment, "a");
    assert_eq!(scene.synced(waiting).unwrap().assignment, "b");
}

#[test]
fn a_member_with_an_expired_session_is_removed() {
    let mut scene = Scene::new();
    let (first, second) = (scene.join(request("")), scene.join(request("")));
    let first = scene.joined(first);
    assert_eq!(scene.answer(second), None, "the first member was alone in generation 1");
    scene.pass(i64::from(SESSION_MS));
    // The first member did not rejoin, so only the second one is left.
    let second = scene.joined(second);
    assert_eq!(second.leader, second.member_id);
    assert_eq!(scene.heartbeat(&first), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn heartbeats_renew_the_session() {
    let mut scene = Scene::new();
    let reply = scene.with_one(request(""));
    for _ in 0..5 {
        scene.pass(i64::from(SESSION_MS) - 1);
        assert_eq!(scene.heartbeat(&reply), Ok(()));
    }
    scene.pass(i64::from(SESSION_MS));
    assert_eq!(scene.heartbeat(&reply), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_member_that_does_not_rejoin_is_removed_at_the_rebalance_timeout() {
    let mut scene = Scene::new();
    let late = scene.with_one(JoinRequest { session_timeout_ms: 60_000, ..request("") });
    let prompt = scene.join(request(""));
    scene.pass(i64::from(REBALANCE_MS) - 1);
    assert_eq!(scene.answer(prompt), None);
    scene.pass(1);
    assert_eq!(scene.joined(prompt).members.len(), 1);
    assert_eq!(scene.heartbeat(&late), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_leader_without_an_assignment_is_removed() {
    let mut scene = Scene::new();
    let config = JoinRequest { session_timeout_ms: 60_000, ..request("") };
    let first = scene.join(config.clone());
    let first = scene.joined(first);
    let second = scene.join(config.clone());
    let again = scene.join(JoinRequest { member_id: first.member_id, ..config });
    let (_, follower) = (scene.joined(again), scene.joined(second));
    let waiting = scene.sync(&follower, &[]);
    scene.pass(i64::from(REBALANCE_MS));
    assert_eq!(scene.synced(waiting), Err(ErrorCode::RebalanceInProgress));
    let alone = scene.join(request(&follower.member_id));
    assert_eq!(scene.joined(alone).members.len(), 1);
}

#[test]
fn a_new_group_waits_for_more_members() {
    let mut scene = Scene::with(quick().with_config("group.initial.rebalance.delay.ms", "100").unwrap());
    let (first, second) = (scene.join(request("")), scene.join(request("")));
    scene.pass(99);
    assert_eq!(scene.answer(first), None);
    scene.pass(1);
    assert_eq!(scene.joined(first).members.len(), 2);
    assert_eq!(scene.joined(second).generation, 1);
}

#[test]
fn the_first_join_is_rejected_if_a_member_id_is_required() {
    let mut scene = Scene::new();
    let refused = scene.broker.join_group("g", JoinRequest { needs_member_id: true, ..request("") }, 0).unwrap_err();
    assert_eq!(refused.code, ErrorCode::MemberIdRequired);
    let token = scene.join(request(&refused.member_id));
    assert_eq!(scene.joined(token).member_id, refused.member_id);
    let unknown = scene.broker.join_group("g", request("made up"), 0).unwrap_err();
    assert_eq!(unknown.code, ErrorCode::UnknownMemberId);
}

#[test]
fn a_static_member_returns_without_a_rebalance() {
    let mut scene = Scene::new();
    let first = scene.with_one(fixed("i"));
    let back = scene.join(fixed("i"));
    let back = scene.joined(back);
    assert_eq!((back.generation, back.skip_assignment), (first.generation, true));
    assert_ne!(back.member_id, first.member_id);
    let old = MemberRef { instance_id: Some("i".to_owned()), ..member(&first) };
    assert_eq!(scene.broker.heartbeat("g", &old, 0), Err(ErrorCode::FencedInstanceId));
    let token = scene.sync(&back, &[]);
    assert_eq!(scene.synced(token).unwrap().assignment, "all");
}

#[test]
fn a_static_leader_with_an_older_client_is_not_named_as_leader() {
    let mut scene = Scene::new();
    let old = || JoinRequest { can_skip_assignment: false, ..fixed("i") };
    let first = scene.with_one(old());
    let token = scene.join(old());
    let back = scene.joined(token);
    assert_eq!((back.leader, back.members.len(), back.skip_assignment), (first.member_id, 0, false));
}

#[test]
fn a_member_leaves_by_id_or_by_instance() {
    let mut scene = Scene::new();
    let reply = scene.with_one(fixed("i"));
    assert_eq!(scene.broker.leave_group("g", "", Some("j"), 0), Err(ErrorCode::UnknownMemberId));
    assert_eq!(scene.broker.leave_group("g", "", Some("i"), 0), Ok(()));
    assert_eq!(scene.state(), GroupState::Empty);
    assert_eq!(scene.heartbeat(&reply), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn invalid_joins_are_rejected() {
    let mut scene = Scene::new();
    scene.with_one(request(""));
    let other = |name: &str| vec![(name.to_owned(), Bytes::new())];
    let cases = [
        ("", request(""), ErrorCode::InvalidGroupId),
        ("g", JoinRequest { session_timeout_ms: 0, ..request("") }, ErrorCode::InvalidSessionTimeout),
        ("g", JoinRequest { protocols: other("sticky"), ..request("") }, ErrorCode::InconsistentGroupProtocol),
        ("g", JoinRequest { protocols: Vec::new(), ..request("") }, ErrorCode::InconsistentGroupProtocol),
        ("g", JoinRequest { protocol_type: "connect".into(), ..request("") }, ErrorCode::InconsistentGroupProtocol),
        ("g", JoinRequest { member_id: "x".into(), ..fixed("i") }, ErrorCode::UnknownMemberId),
    ];
    for (group, request, expected) in cases {
        let refused = scene.broker.join_group(group, request.clone(), 0).unwrap_err();
        assert_eq!(refused.code, expected, "{request:?}");
    }
}

#[test]
fn a_session_timeout_outside_the_configured_range_is_refused() {
    let mut scene = Scene::with(CoreConfig::default().with_config("group.max.session.timeout.ms", "90000").unwrap());
    for (timeout_ms, accepted) in [(5999, false), (6000, true), (90_000, true), (90_001, false)] {
        let request = JoinRequest { session_timeout_ms: timeout_ms, ..request("") };
        let refused = scene.broker.join_group("g", request, 0).err().map(|refusal| refusal.code);
        assert_eq!(refused, (!accepted).then_some(ErrorCode::InvalidSessionTimeout), "{timeout_ms} ms");
    }
}

#[test]
fn a_refused_join_creates_no_group() {
    let mut scene = Scene::new();
    scene.broker.join_group("g", request("made up"), 0).unwrap_err();
    assert_eq!(scene.broker.groups().count(), 0);
}

#[test]
fn a_protocol_supported_by_all_members_is_chosen_by_vote() {
    let mut scene = Scene::new();
    let with = |names: &[&str]| JoinRequest {
        protocols: names.iter().map(|name| ((*name).to_owned(), Bytes::new())).collect(),
        ..request("")
    };
    let first = scene.join(with(&["own", "range", "sticky"]));
    let first = scene.joined(first);
    assert_eq!(first.protocol, "own");
    let second = scene.join(with(&["sticky", "range"]));
    let third = scene.join(with(&["sticky", "range"]));
    let again = JoinRequest { member_id: first.member_id, ..with(&["own", "range", "sticky"]) };
    scene.join(again);
    assert_eq!(scene.joined(second).protocol, "sticky");
    assert_eq!(scene.joined(third).protocol, "sticky");
}

#[test]
fn offsets_are_committed_by_members_and_for_empty_groups() {
    let mut scene = Scene::new();
    let no_member = MemberRef { generation: -1, ..MemberRef::default() };
    assert_eq!(scene.commit(&no_member, 3), Ok(vec![Ok(())]));
    let reply = scene.with_one(request(""));
    assert_eq!(scene.commit(&no_member, 4), Err(ErrorCode::UnknownMemberId));
    let stale = MemberRef { generation: 0, ..member(&reply) };
    assert_eq!(scene.commit(&stale, 4), Err(ErrorCode::IllegalGeneration));
    assert_eq!(scene.commit(&member(&reply), 5), Ok(vec![Ok(())]));
    assert_eq!(scene.broker.committed_offset("g", "t", 0).unwrap().offset, 5);
    assert_eq!(scene.broker.committed_offset("g", "t", 1), None);
    assert_eq!(scene.broker.delete_group("g", 0), Err(ErrorCode::NonEmptyGroup));
    scene.broker.leave_group("g", &reply.member_id, None, 0).unwrap();
    assert_eq!(scene.broker.delete_group("g", 0), Ok(()));
    assert_eq!(scene.broker.committed_offsets("g"), Vec::new());
}

#[test]
fn a_group_can_be_deleted_as_soon_as_its_last_session_has_expired() {
    let mut scene = Scene::new();
    scene.with_one(request(""));
    let ends_ms = scene.now_ms + i64::from(SESSION_MS);
    assert_eq!(scene.broker.delete_group("g", ends_ms - 1), Err(ErrorCode::NonEmptyGroup));
    assert_eq!(scene.broker.delete_group("g", ends_ms), Ok(()));
}

#[test]
fn an_invalid_offset_does_not_affect_the_others() {
    let mut scene = Scene::new();
    let no_member = MemberRef { generation: -1, ..MemberRef::default() };
    let long = "x".repeat(4097);
    let offsets = vec![
        to_commit("t", 0, 1, &long),
        to_commit("t", 1, 1, &long[1..]),
        to_commit("t", 9, 1, ""),
        to_commit("u", 0, 1, ""),
    ];
    let unknown = Err(ErrorCode::UnknownTopicOrPartition);
    let expected = vec![Err(ErrorCode::OffsetMetadataTooLarge), Ok(()), unknown, unknown];
    assert_eq!(scene.broker.commit_offsets("g", &no_member, offsets, 0), Ok(expected));
}

#[test]
fn the_length_of_metadata_is_limited_by_the_broker_s_config() {
    let config = CoreConfig::default().with_config("offset.metadata.max.bytes", "3").unwrap();
    let mut broker = BrokerCore::new(config);
    broker.create_topic("t", TopicSpec { partitions: 1, ..TopicSpec::default() }).unwrap();
    let no_member = MemberRef { generation: -1, ..MemberRef::default() };
    let offsets = vec![to_commit("t", 0, 1, "four"), to_commit("t", 0, 1, "yes")];
    let expected = vec![Err(ErrorCode::OffsetMetadataTooLarge), Ok(())];
    assert_eq!(broker.commit_offsets("g", &no_member, offsets, 0), Ok(expected));
}

#[derive(Debug, Clone)]
enum Step {
    Join(usize),
    Sync(usize),
    Heartbeat(usize),
    Leave(usize),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..4).prop_map(Step::Join),
        (0usize..4).prop_map(Step::Sync),
        (0usize..4).prop_map(Step::Heartbeat),
        (0usize..4).prop_map(Step::Leave),
        (0i64..3000).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Law: for any sequence of requests, generations never decrease, each generation has one leader, and every request
    /// has a response once all timeouts have passed.
    #[test]
    fn every_request_is_answered(steps in proptest::collection::vec(step(), 1..60)) {
        let mut scene = Scene::new();
        // A group with committed offsets, and with it its generation, is kept while the group is empty.
        scene.commit(&MemberRef { generation: -1, ..MemberRef::default() }, 0).unwrap();
        let mut clients: Vec<Option<JoinReply>> = vec![None; 4];
        let mut open: Vec<(usize, Token)> = Vec::new();
        let mut leaders = std::collections::BTreeMap::new();
        let mut generation = 0;
        for step in steps {
            match step {
                Step::Join(at) => {
                    let id = clients[at].as_ref().map(|reply| reply.member_id.clone()).unwrap_or_default();
                    match scene.broker.join_group("g", request(&id), scene.now_ms) {
                        Ok(token) => open.push((at, token)),
                        Err(refusal) => {
                            prop_assert_eq!(refusal.code, ErrorCode::UnknownMemberId);
                            clients[at] = None;
                        }
                    }
                }
                Step::Sync(at) => {
                    if let Some(reply) = clients[at].clone() {
                        let request = SyncRequest { member: member(&reply), ..SyncRequest::default() };
                        if let Ok(token) = scene.broker.sync_group("g", request, scene.now_ms) {
                            open.push((at, token));
                        }
                    }
                }
                Step::Heartbeat(at) => {
                    if let Some(reply) = clients[at].clone() {
                        scene.heartbeat(&reply).ok();
                    }
                }
                Step::Leave(at) => {
                    if let Some(reply) = clients[at].take() {
                        scene.broker.leave_group("g", &reply.member_id, None, scene.now_ms).ok();
                    }
                }
                Step::Pass(ms) => scene.pass(ms),
            }
            for (token, completed) in scene.broker.take_completed() {
                let at = open.iter().position(|(_, other)| *other == token);
                prop_assert!(at.is_some(), "a response without a request");
                let (client, _) = open.swap_remove(at.unwrap());
                if let Completed::Join(Ok(reply)) = completed {
                    prop_assert!(reply.generation >= generation);
                    generation = reply.generation;
                    let leader = leaders.entry(generation).or_insert_with(|| reply.leader.clone());
                    prop_assert_eq!(&*leader, &reply.leader);
                    clients[client] = Some(reply);
                }
            }
        }
        for _ in 0..20 {
            scene.pass(i64::from(REBALANCE_MS));
        }
        let answered: std::collections::BTreeSet<Token> = scene.broker.take_completed().into_iter().map(|(token, _)| token).collect();
        prop_assert!(open.iter().all(|(_, token)| answered.contains(token)), "requests without a response: {open:?}");
    }
}
