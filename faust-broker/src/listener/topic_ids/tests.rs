//! The decoders against the codec: without the ids, they read what the codec reads in version 9.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::listener::samples::by_id;

/// Bytes that no other part of a request contains.
const ID: u128 = 0x0102_0304_0506_0708_a1a2_a3a4_a5a6_a7a8;

fn partition(index: i32, metadata: Option<&'static str>) -> OffsetCommitRequestPartition {
    OffsetCommitRequestPartition::default()
        .with_partition_index(index)
        .with_committed_offset(1 << 40)
        .with_committed_leader_epoch(3)
        .with_committed_metadata(metadata.map(StrBytes::from_static_str))
}

fn commits() -> Bytes {
    let topic = |partitions| OffsetCommitRequestTopic::default().with_name(by_id::topic()).with_partitions(partitions);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("group")))
        .with_generation_id_or_member_epoch(9)
        .with_member_id(StrBytes::from_static_str("member"))
        .with_group_instance_id(Some(StrBytes::from_static_str("instance")))
        .with_topics(vec![topic(vec![partition(0, None), partition(1, Some("metadata"))]), topic(Vec::new())]);
    by_id::encode(&request, [ID; 2])
}

fn fetches() -> Bytes {
    let topic = |indexes| OffsetFetchRequestTopics::default().with_name(by_id::topic()).with_partition_indexes(indexes);
    let group = |topics| {
        OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(StrBytes::from_static_str("group")))
            .with_member_epoch(4)
            .with_topics(topics)
    };
    let member = StrBytes::from_static_str("member");
    let groups = vec![
        group(Some(vec![topic(vec![5, 6]), topic(Vec::new())])).with_member_id(Some(member)),
        group(Some(Vec::new())),
        group(None),
    ];
    by_id::encode(&OffsetFetchRequest::default().with_groups(groups).with_require_stable(true), [ID; 2])
}

#[test]
fn a_commit_is_that_of_version_9_with_ids() {
    let request = offset_commit(commits()).unwrap();
    assert_eq!(
        (request.group_id.as_str(), &*request.member_id, request.group_instance_id.as_deref()),
        ("group", "member", Some("instance"))
    );
    assert_eq!(request.generation_id_or_member_epoch, 9);
    let topics: Vec<_> = request.topics.into_iter().map(|topic| (topic.topic_id.as_u128(), topic.partitions)).collect();
    assert_eq!(topics, [(ID, vec![partition(0, None), partition(1, Some("metadata"))]), (ID, Vec::new())]);
}

#[test]
fn a_fetch_is_that_of_version_9_with_ids() {
    let request = offset_fetch(fetches()).unwrap();
    assert!(request.require_stable);
    let groups = request.groups.into_iter().map(|group| {
        assert_eq!((group.group_id.as_str(), group.member_epoch), ("group", 4));
        let topics = group.topics.map(|topics| {
            topics.into_iter().map(|topic| (topic.topic_id.as_u128(), topic.partition_indexes)).collect::<Vec<_>>()
        });
        (group.member_id.map(|id| id.to_string()), topics)
    });
    let expected = [
        (Some("member".to_owned()), Some(vec![(ID, vec![5, 6]), (ID, Vec::new())])),
        (None, Some(Vec::new())),
        (None, None),
    ];
    assert_eq!(groups.collect::<Vec<_>>(), expected);
}

#[test]
fn a_truncated_request_is_malformed() {
    let (commits, fetches) = (commits(), fetches());
    for cut in 0..commits.len() {
        assert!(matches!(offset_commit(commits.slice(..cut)), Err(Fault::Malformed(_))), "{cut}");
    }
    for cut in 0..fetches.len() {
        assert!(matches!(offset_fetch(fetches.slice(..cut)), Err(Fault::Malformed(_))), "{cut}");
    }
}

#[test]
fn what_must_not_be_null_or_is_no_text_is_malformed() {
    let reason = |body: &[u8]| offset_fetch(Bytes::copy_from_slice(body)).unwrap_err().to_string();
    assert_eq!(reason(&[0, 0, 0]), "malformed request: an array is null");
    assert_eq!(reason(&[2, 0]), "malformed request: a string is null");
    assert_eq!(reason(&[2, 9, b'g']), "malformed request: a length exceeds the request");
    assert!(reason(&[2, 2, 0xff]).contains("utf-8"), "{}", reason(&[2, 2, 0xff]));
    assert_eq!(reason(&[0xff; 6]), "malformed request: a varint exceeds five bytes");
}

#[test]
fn tagged_fields_are_skipped() {
    // No groups, `require_stable`, and a field with tag 7 of two bytes.
    let request = offset_fetch(Bytes::from_static(&[1, 1, 1, 7, 2, 0xaa, 0xbb])).unwrap();
    assert_eq!((request.groups.len(), request.require_stable), (0, true));
}
