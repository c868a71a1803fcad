//! Epochs, the hand-over of partitions, and static members.

use super::*;

fn refused(scene: &mut Scene, request: ConsumerHeartbeat) -> ErrorCode {
    scene.send(request).unwrap_err()
}

#[test]
fn a_partition_is_assigned_only_after_its_former_member_has_given_it_up() {
    let mut scene = Scene::new();
    let (mut a, mut b) = (Client::ranged("a"), Client::ranged("b"));
    scene.join(&mut a);
    assert_eq!((a.epoch, a.partitions()), (1, vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(scene.group().state, "Stable");
    scene.join(&mut b);
    assert_eq!((b.epoch, b.partitions()), (2, vec![]), "the epoch is the group's, its partitions are in use");
    assert_eq!(scene.group().state, "Reconciling");
    scene.beat(&mut b);
    assert_eq!(b.partitions(), Vec::<i32>::new());
    scene.beat(&mut a);
    assert_eq!((a.epoch, a.partitions()), (1, vec![0, 1, 2]), "it stays in its epoch until it has given up the others");
    let reply = scene.send(a.brief()).unwrap();
    assert_eq!((reply.epoch, reply.assignment), (1, None), "nothing is given up without a word");
    scene.beat(&mut b);
    assert_eq!(b.partitions(), Vec::<i32>::new());
    scene.beat(&mut a);
    assert_eq!(a.epoch, 2);
    scene.beat(&mut b);
    assert_eq!((b.epoch, b.partitions()), (2, vec![3, 4, 5]));
    let group = scene.group();
    assert_eq!((group.state, group.epoch, group.assignment_epoch, group.assignor), ("Stable", 2, 2, "range"));
}

#[test]
fn the_partitions_of_a_member_that_leaves_are_assigned_at_the_next_heartbeat() {
    let mut scene = Scene::new();
    let (mut a, b) = pair(&mut scene);
    let reply = scene.send(ConsumerHeartbeat { epoch: -1, ..b.brief() }).unwrap();
    assert_eq!((reply.epoch, reply.assignment), (-1, None));
    assert_eq!(scene.group().state, "Assigning");
    scene.beat(&mut a);
    assert_eq!((a.epoch, a.partitions()), (3, vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(refused(&mut scene, b.brief()), ErrorCode::UnknownMemberId);
    scene.send(ConsumerHeartbeat { epoch: -1, ..a.brief() }).unwrap();
    assert_eq!((scene.group().state, scene.group().epoch), ("Empty", 4));
}

#[test]
fn a_silent_member_is_removed_when_its_session_expires() {
    let mut scene = Scene::new();
    let (mut a, b) = pair(&mut scene);
    scene.pass(SESSION_MS - 1);
    scene.beat(&mut a);
    assert_eq!(a.partitions(), [0, 1, 2]);
    scene.pass(1);
    scene.beat(&mut a);
    assert_eq!(a.partitions(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(refused(&mut scene, b.full()), ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_that_does_not_give_up_partitions_is_removed_after_its_rebalance_timeout() {
    let mut scene = Scene::new();
    let (mut a, mut b) = (Client::ranged("a"), Client::ranged("b"));
    scene.join(&mut a);
    scene.join(&mut b);
    scene.beat(&mut a);
    for _ in 0..REBALANCE_MS / 1000 {
        scene.send(a.brief()).unwrap();
        scene.beat(&mut b);
        scene.pass(1000);
    }
    assert_eq!(refused(&mut scene, a.brief()), ErrorCode::UnknownMemberId);
    scene.beat(&mut b);
    assert_eq!(b.partitions(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_member_with_another_epoch_is_fenced_unless_it_has_missed_the_last_response() {
    let mut scene = Scene::new();
    let (mut a, mut b) = (Client::ranged("a"), Client::ranged("b"));
    scene.join(&mut a);
    scene.join(&mut b);
    scene.beat(&mut a);
    let missed = a.clone();
    scene.beat(&mut a);
    assert_eq!((missed.epoch, a.epoch), (1, 2));
    assert_eq!(refused(&mut scene, missed.brief()), ErrorCode::FencedMemberEpoch, "it does not say what it owns");
    let mut greedy = missed.full();
    greedy.owned.as_mut().unwrap().insert((scene.id("t"), 5));
    assert_eq!(refused(&mut scene, greedy), ErrorCode::FencedMemberEpoch);
    let reply = scene.send(missed.full()).unwrap();
    assert_eq!((reply.epoch, reply.assignment), (2, Some(a.owned.clone())));
    assert_eq!(refused(&mut scene, ConsumerHeartbeat { epoch: 3, ..a.full() }), ErrorCode::FencedMemberEpoch);
    let again = ConsumerHeartbeat { epoch: 0, owned: Some(BTreeSet::new()), ..a.full() };
    let reply = scene.send(again).unwrap();
    assert_eq!((reply.epoch, reply.assignment), (2, Some(a.owned)), "a member may join again at any time");
}

#[test]
fn a_static_member_that_leaves_for_a_while_keeps_its_partitions() {
    let mut scene = Scene::new();
    let (mut one, mut two) = (Client::fixed("one", "i1"), Client::fixed("two", "i2"));
    scene.join(&mut one);
    scene.join(&mut two);
    scene.beat(&mut one);
    scene.beat(&mut one);
    scene.beat(&mut two);
    let epoch = scene.group().epoch;
    let mut next = Client::fixed("next", "i2");
    assert_eq!(refused(&mut scene, next.full()), ErrorCode::UnreleasedInstanceId);
    let reply = scene.send(ConsumerHeartbeat { epoch: -2, ..two.brief() }).unwrap();
    assert_eq!(reply.epoch, -2);
    scene.beat(&mut one);
    assert_eq!(one.partitions(), [0, 1, 2]);
    scene.join(&mut next);
    assert_eq!((next.epoch, next.partitions()), (epoch, vec![3, 4, 5]));
    assert_eq!(scene.group().epoch, epoch, "there was no rebalance");
    assert_eq!(refused(&mut scene, two.brief()), ErrorCode::FencedInstanceId);
    assert_eq!(refused(&mut scene, Client::fixed("x", "i3").brief_at(1)), ErrorCode::UnknownMemberId);
    scene.send(ConsumerHeartbeat { epoch: -2, ..next.brief() }).unwrap();
    for _ in 0..2 {
        scene.pass(SESSION_MS / 2);
        scene.beat(&mut one);
    }
    assert_eq!(one.partitions(), [0, 1, 2, 3, 4, 5], "the session of a member that is away expires as well");
}

impl Client {
    fn brief_at(&self, epoch: i32) -> ConsumerHeartbeat {
        ConsumerHeartbeat { epoch, ..self.brief() }
    }
}

#[test]
fn changes_of_topics_raise_the_epoch() {
    let mut scene = Scene::new();
    let mut a = Client::ranged("a");
    a.topics.push("later".to_owned());
    scene.join(&mut a);
    assert_eq!((a.epoch, a.owned.len()), (1, 6));
    scene.broker.create_topic("other", six()).unwrap();
    scene.beat(&mut a);
    assert_eq!(a.epoch, 1, "a topic of others");
    scene.broker.create_topic("later", six()).unwrap();
    scene.beat(&mut a);
    assert_eq!((a.epoch, a.owned.len()), (2, 12));
    scene.broker.create_partitions("t", 7, false).unwrap();
    scene.beat(&mut a);
    assert_eq!((a.epoch, a.owned.len()), (3, 13));
    scene.broker.delete_topic("later").unwrap();
    scene.beat(&mut a);
    scene.beat(&mut a);
    assert_eq!((a.epoch, a.partitions()), (4, vec![0, 1, 2, 3, 4, 5, 6]));
}

#[test]
fn a_new_subscription_moves_partitions() {
    let mut scene = Scene::new();
    scene.broker.create_topic("u", six()).unwrap();
    let (mut a, mut b) = pair(&mut scene);
    b.topics = vec!["u".to_owned()];
    let reply = scene.send(ConsumerHeartbeat { topics: Some(b.topics.clone()), ..b.brief() }).unwrap();
    assert_eq!((reply.epoch, reply.assignment), (2, Some(BTreeSet::new())), "first, it gives up what it has");
    b.owned.clear();
    scene.beat(&mut a);
    assert_eq!(a.partitions(), [0, 1, 2]);
    scene.beat(&mut b);
    scene.beat(&mut a);
    assert_eq!((a.epoch, a.partitions()), (3, vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(b.owned, (0..6).map(|partition| (scene.id("u"), partition)).collect());
    assert_eq!(scene.group().epoch, 3);
}

#[test]
fn topics_are_subscribed_to_by_a_regular_expression() {
    let mut scene = Scene::new();
    scene.broker.create_topic("orders-eu", six()).unwrap();
    scene.broker.create_topic("new-orders-eu", six()).unwrap();
    let a = Client::new("a");
    let subscribe = |text: &str| ConsumerHeartbeat { topics: None, topic_regex: Some(text.to_owned()), ..a.full() };
    assert_eq!(refused(&mut scene, subscribe("orders-(")), ErrorCode::InvalidRegularExpression);
    assert_eq!(refused(&mut scene, subscribe("a){2}(")), ErrorCode::InvalidRegularExpression);
    assert!(scene.broker.describe_consumer_group("g").is_none(), "a refused heartbeat creates no group");
    let reply = scene.send(subscribe("orders-(eu|us)")).unwrap();
    let of = |scene: &Scene, name: &str| -> BTreeSet<TopicPartition> {
        (0..6).map(|partition| (scene.id(name), partition)).collect()
    };
    assert_eq!(reply.assignment, Some(of(&scene, "orders-eu")), "the whole name matches");
    scene.broker.create_topic("orders-us", six()).unwrap();
    let reply = scene.send(a.brief_at(reply.epoch)).unwrap();
    let both: BTreeSet<_> = of(&scene, "orders-eu").union(&of(&scene, "orders-us")).copied().collect();
    assert_eq!((reply.epoch, reply.assignment.as_ref()), (2, Some(&both)));
    assert_eq!(scene.group().members[0].topic_regex.as_deref(), Some("orders-(eu|us)"));
    let named =
        ConsumerHeartbeat { topics: Some(vec!["t".to_owned()]), topic_regex: Some(String::new()), ..a.brief_at(2) };
    scene.send(named).unwrap();
    let reply = scene.send(ConsumerHeartbeat { owned: Some(BTreeSet::new()), ..a.brief_at(2) }).unwrap();
    assert_eq!((reply.epoch, reply.assignment), (3, Some(of(&scene, "t"))));
}

#[test]
fn a_group_without_members_changes_its_protocol() {
    let mut scene = Scene::new();
    let offset = crate::core::OffsetToCommit::new("t", 0, 5);
    let outsider = MemberRef { generation: -1, ..MemberRef::default() };
    scene.broker.commit_offsets("g", &outsider, vec![offset], 0).unwrap()[0].unwrap();
    let mut a = Client::new("a");
    scene.join(&mut a);
    assert_eq!(scene.broker.committed_offset("g", "t", 0).unwrap().offset, 5);
    let classic = || crate::core::JoinRequest {
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), bytes::Bytes::new())],
        ..crate::core::JoinRequest::default()
    };
    let mixed = scene.broker.join_group("g", classic(), 0).unwrap_err();
    assert_eq!(mixed.code, ErrorCode::InconsistentGroupProtocol);
    scene.send(a.brief_at(-1)).unwrap();
    scene.broker.join_group("g", classic(), 0).unwrap();
    assert_eq!(scene.broker.committed_offset("g", "t", 0).unwrap().offset, 5);
    assert!(scene.broker.describe_consumer_group("g").is_none());
    assert_eq!(refused(&mut scene, a.brief_at(1)), ErrorCode::GroupIdNotFound);
    let refusal = scene.broker.consumer_heartbeat("g", Client::new("a").full(), 0).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::UnsupportedVersion, "it has a classic member");
    assert!(refusal.message.contains("`group.protocol` to `classic`"), "{}", refusal.message);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut scene = Scene::new();
    let join = Client::new("a").full();
    let cases = [
        ConsumerHeartbeat { member_id: String::new(), names_itself: true, ..join.clone() },
        ConsumerHeartbeat { member_id: String::new(), epoch: 1, ..join.clone() },
        ConsumerHeartbeat { instance_id: Some(" ".to_owned()), ..join.clone() },
        ConsumerHeartbeat { rack_id: Some(String::new()), ..join.clone() },
        ConsumerHeartbeat { rebalance_timeout_ms: -1, ..join.clone() },
        ConsumerHeartbeat { owned: None, ..join.clone() },
        ConsumerHeartbeat { owned: Some(BTreeSet::from([(1, 1)])), ..join.clone() },
        ConsumerHeartbeat { topics: None, ..join.clone() },
        ConsumerHeartbeat { epoch: -2, ..join.clone() },
        ConsumerHeartbeat { epoch: -3, ..join.clone() },
    ];
    for request in cases {
        assert_eq!(refused(&mut scene, request.clone()), ErrorCode::InvalidRequest, "{request:?}");
    }
    let sticky = ConsumerHeartbeat { assignor: Some("sticky".to_owned()), ..join.clone() };
    let refusal = scene.broker.consumer_heartbeat("g", sticky, 0).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::UnsupportedAssignor);
    assert!(refusal.message.contains("`sticky`") && refusal.message.contains("uniform, range"), "{}", refusal.message);
    assert_eq!(refused(&mut scene, Client::new("a").brief_at(1)), ErrorCode::GroupIdNotFound);
    let reply = scene.send(ConsumerHeartbeat { member_id: String::new(), ..join }).unwrap();
    assert!(uuid::Uuid::parse_str(&reply.member_id).is_ok(), "a client without an id gets one: {reply:?}");
}

#[test]
fn a_group_has_at_most_as_many_members_as_configured() {
    let mut scene = Scene::with(quick().with_config("group.consumer.max.size", "1").unwrap());
    let mut a = Client::new("a");
    scene.join(&mut a);
    assert_eq!(refused(&mut scene, Client::new("b").full()), ErrorCode::GroupMaxSizeReached);
    scene.join(&mut a);
}

#[test]
fn the_protocol_can_be_switched_off() {
    let mut scene = Scene::with(quick().with_config("group.coordinator.rebalance.protocols", "classic").unwrap());
    let refusal = scene.broker.consumer_heartbeat("g", Client::new("a").full(), 0).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::UnsupportedVersion);
    assert!(refusal.message.contains("`group.coordinator.rebalance.protocols`"), "{}", refusal.message);
}

#[test]
fn most_members_decide_on_the_assignor() {
    let mut scene = Scene::new();
    scene.join(&mut Client::new("a"));
    assert_eq!(scene.group().assignor, "uniform");
    scene.join(&mut Client::ranged("b"));
    scene.join(&mut Client { assignor: Some("uniform".to_owned()), ..Client::new("c") });
    assert_eq!(scene.group().assignor, "uniform");
    scene.join(&mut Client::ranged("d"));
    assert_eq!(scene.group().assignor, "range");
}
