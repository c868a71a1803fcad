//! Committed offsets of topics by their ids, on our broker and on Apache Kafka: both must answer alike.

use std::time::Instant;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, GroupId, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use uuid::Uuid;

use crate::by_id;
use crate::consumer_scene::{Consumer, IN_A_MOMENT, Scene, TIMEOUT, text};
use crate::peer::named;

const VERSION: i16 = 10;
const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const UNKNOWN_MEMBER_ID: i16 = 25;
const GROUP_ID_NOT_FOUND: i16 = 69;
const UNKNOWN_TOPIC_ID: i16 = 100;
const STALE_MEMBER_EPOCH: i16 = 113;

/// An id that no topic has.
const UNKNOWN: Uuid = Uuid::from_u128(0x0101_0101_0101_0101_0101_0101_0101_0101);

/// The partitions of topics, ordered, since the two brokers answer in different orders.
type Answers<T> = Vec<(Uuid, Vec<T>)>;
/// Partition, offset and metadata.
type ToCommit<'a> = (i32, i64, &'a str);
/// Partition, error code, offset and metadata.
type Fetched = (i32, i16, i64, String);

fn sorted<T: Ord>(mut topics: Answers<T>) -> Answers<T> {
    topics.iter_mut().for_each(|(_, partitions)| partitions.sort());
    topics.sort();
    topics
}

/// Commits an offset and metadata for each partition. Returns the error codes.
fn commit(scene: &mut Scene, member: &Consumer, topics: &[(Uuid, &[ToCommit])]) -> Answers<(i32, i16)> {
    let partition = |(index, offset, metadata): &ToCommit| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(text(metadata)))
    };
    let wanted = topics.iter().map(|(_, partitions)| {
        let partitions = partitions.iter().map(partition).collect();
        OffsetCommitRequestTopic::default().with_name(by_id::topic()).with_partitions(partitions)
    });
    let request = OffsetCommitRequest::default()
        .with_group_id(scene.group.clone())
        .with_member_id(text(&member.id))
        .with_generation_id_or_member_epoch(member.epoch)
        .with_topics(wanted.collect());
    let body = by_id::encode(&request, topics.iter().map(|(id, _)| id.as_u128()));
    let began = Instant::now();
    loop {
        let response = scene.peer.client.call_encoded::<OffsetCommitRequest>(&body, VERSION, VERSION);
        let topics = response.topics.into_iter().map(|topic| {
            let codes = topic.partitions.iter().map(|partition| (partition.partition_index, partition.error_code));
            (topic.topic_id, codes.collect::<Vec<_>>())
        });
        let topics = sorted(topics.collect());
        if !topics.iter().flat_map(|(_, codes)| codes).any(|(_, code)| IN_A_MOMENT.contains(code)) {
            return topics;
        }
        assert!(began.elapsed() < TIMEOUT, "{}: {topics:?}", scene.name());
    }
}

/// Fetches the offsets of these partitions, or all of the group. Returns the error code of the group as well.
fn fetch(scene: &mut Scene, member: &Consumer, topics: Option<&[(Uuid, &[i32])]>) -> (i16, Answers<Fetched>) {
    let ids = topics.unwrap_or_default().iter().map(|(id, _)| id.as_u128());
    let wanted = topics.map(|topics| {
        let topic = |(_, partitions): &(Uuid, &[i32])| {
            OffsetFetchRequestTopics::default().with_name(by_id::topic()).with_partition_indexes(partitions.to_vec())
        };
        topics.iter().map(topic).collect()
    });
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(scene.group.clone())
        .with_member_id(Some(text(&member.id)).filter(|id| !id.is_empty()))
        .with_member_epoch(member.epoch)
        .with_topics(wanted);
    let body = by_id::encode(&OffsetFetchRequest::default().with_groups(vec![group]), ids);
    let mut response = scene.peer.client.call_encoded::<OffsetFetchRequest>(&body, VERSION, VERSION);
    let group = response.groups.remove(0);
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|found| {
            let metadata = found.metadata.map(|metadata| metadata.to_string()).unwrap_or_default();
            (found.partition_index, found.error_code, found.committed_offset, metadata)
        });
        (topic.topic_id, partitions.collect())
    });
    (group.error_code, sorted(topics.collect()))
}

fn found(partition: i32, offset: i64, metadata: &str) -> Fetched {
    (partition, 0, offset, metadata.to_owned())
}

fn missing(partition: i32, code: i16) -> Fetched {
    (partition, code, -1, String::new())
}

/// A client that is no member of the group.
fn outsider() -> Consumer {
    Consumer { epoch: -1, ..Consumer::default() }
}

#[test]
fn partitions_of_unknown_ids_fail_and_the_others_are_answered() {
    for mut scene in Scene::all() {
        let (name, id, nil) = (scene.name(), scene.topic_id, Uuid::nil());
        assert_eq!(scene.peer.versions(OFFSET_COMMIT), (2, VERSION), "{name}");
        assert_eq!(scene.peer.versions(OFFSET_FETCH), (1, VERSION), "{name}");
        let long = "x".repeat(5000);
        let committed = commit(
            &mut scene,
            &outsider(),
            &[
                (UNKNOWN, &[(0, 5, ""), (1, 6, "")]),
                (id, &[(0, 7, "seven"), (3, 8, ""), (4, 9, &long), (6, 1, "")]),
                (nil, &[(0, 5, "")]),
            ],
        );
        let codes = vec![(0, 0), (3, 0), (4, OFFSET_METADATA_TOO_LARGE), (6, UNKNOWN_TOPIC_OR_PARTITION)];
        let unknown = vec![(0, UNKNOWN_TOPIC_ID), (1, UNKNOWN_TOPIC_ID)];
        let expected = sorted(vec![(UNKNOWN, unknown), (id, codes), (nil, vec![(0, UNKNOWN_TOPIC_ID)])]);
        assert_eq!(committed, expected, "{name}");
        let wanted: [(Uuid, &[i32]); 3] = [(nil, &[0]), (id, &[4, 3, 0, 6]), (UNKNOWN, &[1, 0])];
        let offsets = vec![found(0, 7, "seven"), found(3, 8, ""), missing(4, 0), missing(6, 0)];
        let unknown = vec![missing(0, UNKNOWN_TOPIC_ID), missing(1, UNKNOWN_TOPIC_ID)];
        let expected = sorted(vec![(UNKNOWN, unknown), (id, offsets), (nil, vec![missing(0, UNKNOWN_TOPIC_ID)])]);
        assert_eq!(fetch(&mut scene, &outsider(), Some(&wanted)), (0, expected), "{name}");
        let all = vec![(id, vec![found(0, 7, "seven"), found(3, 8, "")])];
        assert_eq!(fetch(&mut scene, &outsider(), None), (0, all), "{name}");
        assert_eq!(fetch(&mut scene, &outsider(), Some(&[])), (0, Vec::new()), "{name}");
    }
}

#[test]
fn a_commit_of_unknown_ids_alone_does_not_look_at_the_member() {
    for mut scene in Scene::all() {
        let (name, id) = (scene.name(), scene.topic_id);
        let stranger = Consumer { epoch: 7, ..Consumer::new("stranger") };
        let committed = commit(&mut scene, &stranger, &[(UNKNOWN, &[(0, 5, "")])]);
        assert_eq!(committed, [(UNKNOWN, vec![(0, UNKNOWN_TOPIC_ID)])], "{name}");
        let committed = commit(&mut scene, &stranger, &[(UNKNOWN, &[(0, 5, "")]), (id, &[(0, 5, "")])]);
        let expected = vec![(UNKNOWN, vec![(0, UNKNOWN_TOPIC_ID)]), (id, vec![(0, GROUP_ID_NOT_FOUND)])];
        assert_eq!(committed, sorted(expected), "{name}");
        assert_eq!(fetch(&mut scene, &outsider(), None), (0, Vec::new()), "{name}");
    }
}

#[test]
fn a_member_of_a_consumer_group_commits_and_fetches_by_id() {
    for mut scene in Scene::all() {
        let (name, id) = (scene.name(), scene.topic_id);
        let mut member = Consumer::new("member");
        scene.join(&mut member);
        scene.settle(&mut [(&mut member, &[0, 1, 2, 3, 4, 5])]);
        assert_eq!(commit(&mut scene, &member, &[(id, &[(1, 4, "m")])]), [(id, vec![(1, 0)])], "{name}");
        let wanted: [(Uuid, &[i32]); 2] = [(id, &[1]), (UNKNOWN, &[0])];
        let expected = sorted(vec![(id, vec![found(1, 4, "m")]), (UNKNOWN, vec![missing(0, UNKNOWN_TOPIC_ID)])]);
        assert_eq!(fetch(&mut scene, &member, Some(&wanted)), (0, expected.clone()), "{name}");
        assert_eq!(fetch(&mut scene, &outsider(), Some(&wanted)), (0, expected), "{name}");
        let late = Consumer { epoch: member.epoch + 1, ..member.clone() };
        let strange = Consumer { id: "stranger".to_owned(), ..member.clone() };
        for (client, code) in [(late, STALE_MEMBER_EPOCH), (strange, UNKNOWN_MEMBER_ID)] {
            assert_eq!(commit(&mut scene, &client, &[(id, &[(1, 9, "")])]), [(id, vec![(1, code)])], "{name}");
            for wanted in [&wanted[..], &wanted[1..]] {
                assert_eq!(fetch(&mut scene, &client, Some(wanted)), (code, Vec::new()), "{name}: {code}");
            }
        }
    }
}

/// Returns the id of the scene's topic once it is another one than `former`.
fn new_id(scene: &mut Scene, former: Uuid) -> Uuid {
    let wanted = MetadataRequestTopic::default().with_name(Some(named(&scene.topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
    let began = Instant::now();
    loop {
        let found = scene.peer.call(&request, 12).topics.remove(0);
        if found.error_code == 0 && found.topic_id != former && !found.topic_id.is_nil() {
            return found.topic_id;
        }
        assert!(began.elapsed() < TIMEOUT, "{}: {found:?}", scene.name());
    }
}

#[test]
fn an_id_does_not_outlive_its_topic() {
    for mut scene in Scene::all() {
        let (name, former) = (scene.name(), scene.topic_id);
        assert_eq!(commit(&mut scene, &outsider(), &[(former, &[(0, 5, "")])]), [(former, vec![(0, 0)])], "{name}");
        let request = DeleteTopicsRequest::default().with_topic_names(vec![named(&scene.topic)]);
        assert_eq!(scene.peer.call(&request.with_timeout_ms(30_000), 5).responses[0].error_code, 0, "{name}");
        let topic =
            CreatableTopic::default().with_name(named(&scene.topic)).with_num_partitions(1).with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        assert_eq!(scene.peer.call(&request, 5).topics[0].error_code, 0, "{name}");
        let current = new_id(&mut scene, former);
        let committed = commit(&mut scene, &outsider(), &[(former, &[(0, 6, "")])]);
        assert_eq!(committed, [(former, vec![(0, UNKNOWN_TOPIC_ID)])], "{name}");
        let wanted: [(Uuid, &[i32]); 2] = [(former, &[0]), (current, &[0])];
        let expected = sorted(vec![(former, vec![missing(0, UNKNOWN_TOPIC_ID)]), (current, vec![missing(0, 0)])]);
        let began = Instant::now();
        // Kafka deletes the offsets of a topic in the background.
        while fetch(&mut scene, &outsider(), Some(&wanted)) != (0, expected.clone()) {
            assert!(began.elapsed() < TIMEOUT, "{name}: {:?}", fetch(&mut scene, &outsider(), Some(&wanted)));
        }
    }
}

#[test]
fn several_groups_are_fetched_by_id_at_once() {
    for mut scene in Scene::all() {
        let (name, id) = (scene.name(), scene.topic_id);
        commit(&mut scene, &outsider(), &[(id, &[(0, 5, "five")])]);
        let topic = || OffsetFetchRequestTopics::default().with_name(by_id::topic()).with_partition_indexes(vec![0]);
        let other = GroupId(text(&format!("{}-other", scene.topic)));
        let groups = [
            (scene.group.clone(), Some(vec![topic()])),
            (other, Some(vec![topic(), topic()])),
            (scene.group.clone(), None),
        ]
        .map(|(group, topics)| OffsetFetchRequestGroup::default().with_group_id(group).with_topics(topics));
        let request = OffsetFetchRequest::default().with_groups(groups.to_vec()).with_require_stable(true);
        let body = by_id::encode(&request, [id, UNKNOWN, id].map(|id| id.as_u128()));
        let response = scene.peer.client.call_encoded::<OffsetFetchRequest>(&body, VERSION, VERSION);
        let mut offsets: Vec<_> = response
            .groups
            .iter()
            .map(|group| {
                assert_eq!(group.error_code, 0, "{name}");
                let mut topics: Vec<_> =
                    group.topics.iter().map(|topic| (topic.topic_id, topic.partitions[0].committed_offset)).collect();
                topics.sort_unstable();
                (group.group_id.to_string(), topics)
            })
            .collect();
        offsets.sort();
        let mut none = vec![(UNKNOWN, -1), (id, -1)];
        none.sort_unstable();
        let of_group = (scene.group.to_string(), vec![(id, 5)]);
        assert_eq!(offsets, [of_group.clone(), of_group, (format!("{}-other", scene.topic), none)], "{name}");
    }
}
