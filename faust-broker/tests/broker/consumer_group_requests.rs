//! The requests of consumer groups (KIP-848) one by one, on our broker and on Apache Kafka: both must answer alike.

use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::{
    ApiVersionsRequest, DeleteGroupsRequest, DescribeConfigsRequest, DescribeGroupsRequest, GroupId,
    IncrementalAlterConfigsRequest, JoinGroupRequest, LeaveGroupRequest, ListConfigResourcesRequest, ListGroupsRequest,
    OffsetDeleteRequest, TopicName,
};

use crate::consumer_scene::{Consumer, Scene, TIMEOUT, text};
use crate::peer::peers;

const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;
const FENCED_INSTANCE_ID: i16 = 82;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;
const FENCED_MEMBER_EPOCH: i16 = 110;
const UNRELEASED_INSTANCE_ID: i16 = 111;
const UNSUPPORTED_ASSIGNOR: i16 = 112;
const STALE_MEMBER_EPOCH: i16 = 113;
const INVALID_REGULAR_EXPRESSION: i16 = 128;

/// Two members that share the topic. The first has had its partitions in the epoch before as well.
///
/// Kafka computes assignments in the background, so that a new group begins with an epoch without any.
fn pair(scene: &mut Scene) -> (Consumer, Consumer) {
    let (mut a, mut b) = (Consumer::new("a"), Consumer::new("b"));
    scene.join(&mut a);
    scene.settle(&mut [(&mut a, &[0, 1, 2, 3, 4, 5])]);
    let alone = a.epoch;
    scene.join(&mut b);
    scene.settle(&mut [(&mut a, &[0, 1, 2]), (&mut b, &[3, 4, 5])]);
    assert_eq!((a.epoch, b.epoch), (alone + 1, alone + 1), "{}", scene.name());
    (a, b)
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    for mut scene in Scene::all() {
        let name = scene.name();
        let join = scene.full(&Consumer::new("a"));
        let cases = [
            ("no member id", join.clone().with_member_id(text(""))),
            ("no group", join.clone().with_group_id(GroupId(text("")))),
            ("a blank instance id", join.clone().with_instance_id(Some(text(" ")))),
            ("a blank rack", join.clone().with_rack_id(Some(text("")))),
            ("no rebalance timeout", join.clone().with_rebalance_timeout_ms(-1)),
            ("owned partitions are missing", join.clone().with_topic_partitions(None)),
            ("owned partitions", join.clone().with_topic_partitions(scene.owned(&[1]))),
            ("no subscription", join.clone().with_subscribed_topic_names(None)),
            ("away without an instance id", join.clone().with_member_epoch(-2)),
            ("an epoch below all", join.clone().with_member_epoch(-3)),
        ];
        for (case, request) in cases {
            let code = scene.code(&request);
            assert_eq!(code, INVALID_REQUEST, "{name}: {case}");
        }
        assert_eq!(
            scene.code(&join.clone().with_server_assignor(Some(text("sticky")))),
            UNSUPPORTED_ASSIGNOR,
            "{name}"
        );
        for epoch in [-1, 1] {
            assert_eq!(scene.code(&join.clone().with_member_epoch(epoch)), GROUP_ID_NOT_FOUND, "{name}: {epoch}");
        }
        let regex = |regex: &str| join.clone().with_subscribed_topic_regex(Some(text(regex)));
        assert_eq!(scene.code(&regex("a(")), INVALID_REGULAR_EXPRESSION, "{name}");
        assert_eq!(scene.describe().error_code, GROUP_ID_NOT_FOUND, "{name}: refused heartbeats create no group");
        let response = scene.peer.call(&join.with_member_id(text("")).with_subscribed_topic_regex(None), 0);
        let id = response.member_id.map(|id| id.to_string()).unwrap_or_default();
        assert_eq!((response.error_code, id.is_empty()), (0, false), "{name}: the first version has no ids of clients");
    }
}

#[test]
fn partitions_move_from_member_to_member() {
    for mut scene in Scene::all() {
        let name = scene.name();
        let (mut a, mut b) = pair(&mut scene);
        let now = a.epoch;
        let group = scene.describe();
        let state =
            (group.group_state.as_str(), group.assignor_name.as_str(), group.group_epoch, group.assignment_epoch);
        assert_eq!(state, ("Stable", "range", now, now), "{name}");
        assert_eq!(group.members.len(), 2, "{name}");
        assert!(group.members.iter().all(|member| member.member_epoch == now), "{name}: {group:?}");
        let member = &group.members[0];
        assert_eq!((member.member_type, member.subscribed_topic_names.len()), (1, 1), "{name}");
        assert_eq!(member.assignment.topic_partitions[0].topic_name.as_str(), scene.topic, "{name}");
        assert_eq!(member.assignment, member.target_assignment, "{name}");
        let reply = scene.send(&scene.brief(&a));
        assert_eq!((reply.member_epoch, reply.assignment.is_none()), (now, true), "{name}: nothing has changed");
        assert_eq!(reply.heartbeat_interval_ms, 5000, "{name}");
        let reply = scene.send(&scene.full(&a));
        assert!(reply.assignment.is_some(), "{name}: a full heartbeat gets the assignment");
        let reply = scene.send(&scene.brief(&Consumer { epoch: -1, ..b.clone() }));
        assert_eq!((reply.error_code, reply.member_epoch, reply.heartbeat_interval_ms), (0, -1, 0), "{name}");
        scene.settle(&mut [(&mut a, &[0, 1, 2, 3, 4, 5])]);
        assert_eq!(a.epoch, now + 1, "{name}");
        assert_eq!(scene.code(&scene.brief(&b)), UNKNOWN_MEMBER_ID, "{name}");
        b = Consumer::new("b");
        scene.join(&mut b);
        assert_eq!(b.owned, Vec::<i32>::new(), "{name}: they are still owned by the other");
    }
}

#[test]
fn members_with_other_epochs_are_fenced() {
    for mut scene in Scene::all() {
        let name = scene.name();
        let (a, _) = pair(&mut scene);
        let now = a.epoch;
        let with = |epoch: i32| Consumer { epoch, ..a.clone() };
        for (case, request, code) in [
            ("a later epoch", scene.full(&with(now + 1)), FENCED_MEMBER_EPOCH),
            (
                "the former epoch, but it owns nothing that is reported",
                scene.brief(&with(now - 1)),
                FENCED_MEMBER_EPOCH,
            ),
            ("the former epoch, with what it has", scene.full(&with(now - 1)), 0),
            ("an unknown member", scene.full(&Consumer { epoch: now, ..Consumer::new("x") }), UNKNOWN_MEMBER_ID),
            ("an unknown member leaves", scene.full(&Consumer { epoch: -1, ..Consumer::new("x") }), UNKNOWN_MEMBER_ID),
        ] {
            assert_eq!(scene.code(&request), code, "{name}: {case}");
        }
        let again = scene.full(&Consumer { epoch: 0, owned: Vec::new(), ..a.clone() });
        let response = scene.send(&again);
        assert_eq!((response.error_code, response.member_epoch), (0, now), "{name}: a member joins again");
        assert_eq!(response.assignment.unwrap().topic_partitions[0].partitions.len(), 3, "{name}");
    }
}

#[test]
fn static_members_come_back_without_a_rebalance() {
    for mut scene in Scene::all() {
        let name = scene.name();
        let (mut one, mut two) = (Consumer::fixed("one", "i1"), Consumer::fixed("two", "i2"));
        scene.join(&mut one);
        scene.join(&mut two);
        scene.settle(&mut [(&mut one, &[0, 1, 2]), (&mut two, &[3, 4, 5])]);
        let mut next = Consumer::fixed("next", "i2");
        for rejoins in [&next, &Consumer { epoch: 0, owned: Vec::new(), ..two.clone() }] {
            assert_eq!(scene.code(&scene.full(rejoins)), UNRELEASED_INSTANCE_ID, "{name}");
        }
        assert_eq!(
            scene.code(&scene.brief(&Consumer { epoch: one.epoch, ..next.clone() })),
            FENCED_INSTANCE_ID,
            "{name}"
        );
        let unknown = Consumer { epoch: one.epoch, ..Consumer::fixed("x", "i3") };
        assert_eq!(scene.code(&scene.brief(&unknown)), UNKNOWN_MEMBER_ID, "{name}");
        let reply = scene.send(&scene.brief(&Consumer { epoch: -2, ..two.clone() }));
        assert_eq!((reply.error_code, reply.member_epoch), (0, -2), "{name}");
        let epoch = scene.describe().group_epoch;
        scene.join(&mut next);
        assert_eq!(
            (next.epoch, &next.owned[..], scene.describe().group_epoch),
            (epoch, &[3, 4, 5][..], epoch),
            "{name}"
        );
        assert_eq!(scene.code(&scene.brief(&two)), FENCED_INSTANCE_ID, "{name}: it has been replaced");
        assert_eq!(scene.code(&scene.brief(&Consumer { epoch: -1, ..next })), 0, "{name}");
        scene.settle(&mut [(&mut one, &[0, 1, 2, 3, 4, 5])]);
    }
}

#[test]
fn offsets_are_committed_and_fetched_with_the_epoch_of_the_member() {
    for mut scene in Scene::all() {
        let name = scene.name();
        let stranger = Consumer { epoch: 1, ..Consumer::new("a") };
        assert_eq!(scene.commit(&stranger, 0, 9), GROUP_ID_NOT_FOUND, "{name}");
        assert_eq!(scene.commit(&stranger, 0, 8), ILLEGAL_GENERATION, "{name}");
        let (mut a, b) = pair(&mut scene);
        let now = a.epoch;
        let with = |epoch: i32| Consumer { epoch, ..a.clone() };
        for (case, member, partition, version, code) in [
            ("its epoch", with(now), 0, 9, 0),
            ("a partition of another member", with(now), 5, 9, 0),
            ("an older epoch, for a partition since then", with(now - 1), 1, 9, 0),
            ("an older epoch, for a partition that it has given up", with(now - 1), 4, 9, STALE_MEMBER_EPOCH),
            ("a later epoch", with(now + 1), 0, 9, STALE_MEMBER_EPOCH),
            ("an older client", with(now), 0, 8, UNSUPPORTED_VERSION),
            ("an unknown member", Consumer { epoch: now, ..Consumer::new("x") }, 0, 9, UNKNOWN_MEMBER_ID),
            ("no member", Consumer { epoch: -1, ..Consumer::new("") }, 0, 9, UNKNOWN_MEMBER_ID),
        ] {
            assert_eq!(scene.commit(&member, partition, version), code, "{name}: {case}");
        }
        for (case, id, epoch, expected) in [
            ("its epoch", Some("a"), now, (0, Some((0, 5)))),
            ("no member", None, -1, (0, Some((0, 5)))),
            ("an older epoch", Some("a"), now - 1, (STALE_MEMBER_EPOCH, None)),
            ("an unknown member", Some("x"), now, (UNKNOWN_MEMBER_ID, None)),
        ] {
            assert_eq!(scene.fetch(id, epoch), expected, "{name}: {case}");
        }
        for member in [&mut a, &mut b.clone()] {
            member.epoch = -1;
            assert_eq!(scene.code(&scene.brief(member)), 0, "{name}");
        }
        let outsider = Consumer { epoch: -1, ..Consumer::new("") };
        assert_eq!(scene.commit(&outsider, 0, 9), 0, "{name}: the group has no members any more");
    }
}

#[test]
fn groups_are_administrated_by_their_protocol() {
    for mut scene in Scene::all() {
        let name = scene.name();
        let (mut one, mut two) = (Consumer::fixed("one", "i1"), Consumer::new("two"));
        scene.join(&mut one);
        scene.join(&mut two);
        scene.settle(&mut [(&mut one, &[0, 1, 2]), (&mut two, &[3, 4, 5])]);
        let list = |types: &[&str], states: &[&str]| {
            ListGroupsRequest::default()
                .with_types_filter(types.iter().map(|kind| text(kind)).collect())
                .with_states_filter(states.iter().map(|state| text(state)).collect())
        };
        let group = scene.group.clone();
        for (types, states, is_listed) in [
            (&[][..], &[][..], true),
            (&["consumer"], &["stable"], true),
            (&["Consumer", "classic"], &[], true),
            (&["classic"], &[], false),
            (&[], &["Empty"], false),
        ] {
            let listed = scene.peer.call(&list(types, states), 5).groups;
            let found = listed.into_iter().find(|found| found.group_id == group);
            assert_eq!(found.is_some(), is_listed, "{name}: {types:?} {states:?}");
            let shown = found.map(|found| {
                (found.protocol_type.to_string(), found.group_state.to_string(), found.group_type.to_string())
            });
            let expected = ("consumer".to_owned(), "Stable".to_owned(), "consumer".to_owned());
            assert_eq!(shown, is_listed.then_some(expected), "{name}");
        }
        for (version, code) in [(5, 0), (6, GROUP_ID_NOT_FOUND)] {
            let request = DescribeGroupsRequest::default().with_groups(vec![group.clone()]);
            let described = scene.peer.call(&request, version).groups.remove(0);
            assert_eq!((described.error_code, described.group_state.as_str()), (code, "Dead"), "{name}");
        }
        assert_eq!(scene.commit(&one, 0, 9), 0, "{name}");
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(TopicName(text(&scene.topic)))
            .with_partitions(vec![partition]);
        let request = OffsetDeleteRequest::default().with_group_id(group.clone()).with_topics(vec![topic]);
        let deleted = |scene: &mut Scene| scene.peer.call(&request, 0).topics[0].partitions[0].error_code;
        assert_eq!(deleted(&mut scene), GROUP_SUBSCRIBED_TO_TOPIC, "{name}");
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group.clone()]);
        assert_eq!(scene.peer.call(&request, 2).results[0].error_code, NON_EMPTY_GROUP, "{name}");
        let member = |id: &str, instance_id: Option<&str>| {
            MemberIdentity::default().with_member_id(text(id)).with_group_instance_id(instance_id.map(text))
        };
        for (case, left, code) in [
            ("an unknown instance", member("", Some("i9")), UNKNOWN_MEMBER_ID),
            ("another member's instance", member("two", Some("i1")), FENCED_INSTANCE_ID),
            ("by its instance", member("", Some("i1")), 0),
        ] {
            let request = LeaveGroupRequest::default().with_group_id(group.clone()).with_members(vec![left]);
            assert_eq!(scene.peer.call(&request, 5).members[0].error_code, code, "{name}: {case}");
        }
        scene.settle(&mut [(&mut two, &[0, 1, 2, 3, 4, 5])]);
        assert_eq!(scene.code(&scene.brief(&Consumer { epoch: -1, ..two })), 0, "{name}");
        assert_eq!(scene.describe().group_state.as_str(), "Empty", "{name}");
        assert_eq!(deleted(&mut scene), 0, "{name}");
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group]);
        assert_eq!(scene.peer.call(&request, 2).results[0].error_code, 0, "{name}");
        assert_eq!(scene.describe().error_code, GROUP_ID_NOT_FOUND, "{name}");
    }
}

#[test]
fn a_group_without_members_changes_its_protocol() {
    for mut scene in Scene::all() {
        let name = scene.name();
        let outsider = Consumer { epoch: -1, ..Consumer::new("") };
        assert_eq!(scene.commit(&outsider, 0, 8), 0, "{name}");
        assert_eq!(scene.describe().error_code, GROUP_ID_NOT_FOUND, "{name}: it is a classic group");
        let mut a = Consumer::new("a");
        scene.join(&mut a);
        assert_eq!(scene.fetch(Some("a"), a.epoch), (0, Some((0, 5))), "{name}: its offsets remain");
        assert_eq!(scene.code(&scene.brief(&Consumer { epoch: -1, ..a })), 0, "{name}");
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 255, 255, 255, 255]));
        let request = JoinGroupRequest::default()
            .with_group_id(scene.group.clone())
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let joined = scene.peer.call(&request, 3);
        assert_eq!((joined.error_code, joined.generation_id), (0, 1), "{name}");
        assert_eq!(scene.describe().error_code, GROUP_ID_NOT_FOUND, "{name}");
        assert_eq!(scene.fetch(None, -1), (0, Some((0, 5))), "{name}: its offsets remain");
    }
}

#[test]
fn brokers_list_the_feature() {
    for mut peer in peers() {
        let response = peer.call(
            &ApiVersionsRequest::default().with_client_software_name(text("x")).with_client_software_version(text("1")),
            4,
        );
        let feature =
            response.supported_features.iter().find(|feature| feature.name.as_str() == "group.version").unwrap();
        assert_eq!((feature.min_version, feature.max_version), (0, 1), "{}", peer.name);
        let level =
            response.finalized_features.iter().find(|feature| feature.name.as_str() == "group.version").unwrap();
        assert_eq!(level.max_version_level, 1, "{}", peer.name);
        assert_eq!(peer.versions(68), (0, 1), "{}", peer.name);
        assert_eq!(peer.versions(69), (0, 1), "{}", peer.name);
    }
}

#[test]
fn topics_are_subscribed_to_by_a_regular_expression() {
    for mut scene in Scene::all() {
        let name = scene.name();
        let mut a = Consumer::new("a");
        let expression = format!("{}.?|nothing", &scene.topic[..scene.topic.len() - 1]);
        let join =
            scene.full(&a).with_subscribed_topic_names(None).with_subscribed_topic_regex(Some(text(&expression)));
        let response = scene.send(&join);
        scene.take(&mut a, &response);
        scene.settle(&mut [(&mut a, &[0, 1, 2, 3, 4, 5])]);
        let member = scene.describe().members.remove(0);
        assert_eq!(member.subscribed_topic_regex.as_deref(), Some(&expression[..]), "{name}");
        assert!(member.subscribed_topic_names.is_empty(), "{name}");
        let none = scene.brief(&a).with_subscribed_topic_regex(Some(text("other")));
        let response = scene.send(&none);
        scene.take(&mut a, &response);
        scene.settle(&mut [(&mut a, &[])]);
    }
}

#[test]
fn groups_have_configs_of_their_own() {
    const GROUP: i8 = 32;
    const SESSION: &str = "consumer.session.timeout.ms";
    const INTERVAL: &str = "consumer.heartbeat.interval.ms";
    for mut scene in Scene::all() {
        let name = scene.name();
        let group = scene.group.0.clone();
        let alter = |scene: &mut Scene, config: &str, value: Option<&str>| {
            let change = AlterableConfig::default()
                .with_name(text(config))
                .with_config_operation(i8::from(value.is_none()))
                .with_value(value.map(text));
            let resource = AlterConfigsResource::default()
                .with_resource_type(GROUP)
                .with_resource_name(group.clone())
                .with_configs(vec![change]);
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
            scene.peer.call(&request, 1).responses[0].error_code
        };
        let described = |scene: &mut Scene| {
            let wanted = DescribeConfigsResource::default()
                .with_resource_type(GROUP)
                .with_resource_name(group.clone())
                .with_configuration_keys(Some(vec![text(SESSION), text(INTERVAL)]));
            let request = DescribeConfigsRequest::default().with_resources(vec![wanted]);
            let result = scene.peer.call(&request, 4).results.remove(0);
            assert_eq!(result.error_code, 0, "{name}");
            let shown = |config: &DescribeConfigsResourceResult| {
                let value = config.value.as_ref().map(|value| value.to_string()).unwrap_or_default();
                (config.name.to_string(), value, config.config_source, config.config_type, config.read_only)
            };
            let mut configs: Vec<_> = result.configs.iter().map(shown).collect();
            configs.sort();
            configs
        };
        let configs = |interval: (&str, i8), session: (&str, i8)| {
            let config =
                |name: &str, (value, source): (&str, i8)| (name.to_owned(), value.to_owned(), source, 3, false);
            vec![config(INTERVAL, interval), config(SESSION, session)]
        };
        assert_eq!(described(&mut scene), configs(("5000", 5), ("45000", 5)), "{name}");
        for (config, value, code) in [
            (SESSION, Some("44999"), INVALID_CONFIG),
            (SESSION, Some("60001"), INVALID_CONFIG),
            (SESSION, Some("soon"), INVALID_CONFIG),
            (INTERVAL, Some("4999"), INVALID_CONFIG),
            ("consumer.unknown", Some("1"), INVALID_CONFIG),
            (SESSION, Some("50000"), 0),
            (INTERVAL, Some("6000"), 0),
        ] {
            assert_eq!(alter(&mut scene, config, value), code, "{name}: {config} {value:?}");
        }
        let began = Instant::now();
        // Kafka's brokers learn configs from the controller.
        while described(&mut scene) != configs(("6000", 8), ("50000", 8)) {
            assert!(began.elapsed() < TIMEOUT, "{name}: {:?}", described(&mut scene));
        }
        let mut a = Consumer::new("a");
        let response = scene.send(&scene.full(&a));
        assert_eq!(response.heartbeat_interval_ms, 6000, "{name}");
        scene.take(&mut a, &response);
        assert_eq!(alter(&mut scene, INTERVAL, None), 0, "{name}");
        while scene.send(&scene.brief(&a)).heartbeat_interval_ms != 5000 {
            assert!(began.elapsed() < TIMEOUT, "{name}: the interval of the group remains");
        }
        let request = ListConfigResourcesRequest::default().with_resource_types(vec![GROUP]);
        let listed = scene.peer.call(&request, 1).config_resources;
        assert!(listed.iter().any(|resource| resource.resource_name == group), "{name}: {listed:?}");
    }
}
