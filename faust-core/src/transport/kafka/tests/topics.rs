//! Topics: creation, deletion, topic ids, and deletion of records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use crate::error::TransportErrorKind;
use crate::message::Offset;
use crate::transport::port::*;

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_once_found_and_deleted() {
    for cluster in Cluster::kafkas(1).await {
        let admin = cluster.transport().admin().unwrap();
        let name = format!("{}-created", cluster.topic);
        let configs = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
        let topic = NewTopic { name: name.clone(), partitions: 3, replication: 1, configs };
        assert_eq!(admin.topics(Some(vec![name.clone()])).await.unwrap(), BTreeMap::new());
        admin.create(vec![topic.clone()]).await.unwrap();
        admin.create(vec![topic]).await.unwrap();
        assert_eq!(admin.topics(Some(vec![name.clone()])).await.unwrap(), BTreeMap::from([(name.clone(), 3)]));
        assert_eq!(admin.topics(None).await.unwrap().get(&name), Some(&3));
        admin.delete(vec![name.clone()]).await.unwrap();
        admin.delete(vec![name]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_has_another_id() {
    for cluster in Cluster::kafkas(1).await {
        let admin = cluster.transport().admin().unwrap();
        let (kept, name) = (cluster.topic.to_string(), format!("{}-anew", cluster.topic));
        let names = vec![kept.clone(), name.clone(), kept.clone()];
        let topic = NewTopic { name: name.clone(), partitions: 2, replication: 1, configs: BTreeMap::new() };
        admin.create(vec![topic.clone()]).await.unwrap();
        let before = admin.topic_ids(names.clone()).await.unwrap();
        assert_eq!(before.keys().collect::<Vec<_>>(), [&kept, &name]);
        assert!(before.values().all(|id| id.len() == 22), "{before:?}");
        assert_eq!(admin.topic_ids(names.clone()).await.unwrap(), before);

        admin.delete(vec![name.clone()]).await.unwrap();
        assert_eq!(admin.topic_ids(names.clone()).await.unwrap().keys().collect::<Vec<_>>(), [&kept]);
        admin.create(vec![topic]).await.unwrap();
        let after = admin.topic_ids(names).await.unwrap();
        assert_eq!(after[&kept], before[&kept]);
        assert_ne!(after[&name], before[&name]);
        assert_eq!(admin.topic_ids(Vec::new()).await.unwrap(), BTreeMap::new());
        admin.delete(vec![name]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_of_records_advances_the_log_start_offset() {
    for cluster in Cluster::kafkas(2).await {
        cluster.fill(0, 0..10).await;
        cluster.fill(1, 0..10).await;
        let admin = cluster.transport().admin().unwrap();
        let [first, second] = [0, 1].map(|partition| TopicPartition::new(&*cluster.topic, partition));
        let starts = async || {
            let marks = admin.watermarks(vec![first.clone(), second.clone()]).await.unwrap();
            [marks[&first], marks[&second]].map(|(low, high)| (low.0, high.0))
        };
        admin.delete_records(BTreeMap::from([(first.clone(), Offset(4)), (second.clone(), Offset(10))])).await.unwrap();
        assert_eq!(starts().await, [(4, 10), (10, 10)]);
        admin.delete_records(BTreeMap::from([(first.clone(), Offset(2))])).await.unwrap();
        admin.delete_records(BTreeMap::new()).await.unwrap();
        let error = admin.delete_records(BTreeMap::from([(first.clone(), Offset(11))])).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::OffsetOutOfRange, "{error}");
        assert_eq!(starts().await, [(4, 10), (10, 10)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_reason_for_a_refusal_is_reported() {
    for cluster in Cluster::kafkas(1).await {
        let admin = cluster.transport().admin().unwrap();
        let topic = |name: String, configs| NewTopic { name, partitions: 1, replication: 1, configs };
        let (dots, underscores) = (format!("{}.a", cluster.topic), format!("{}_a", cluster.topic));
        admin.create(vec![topic(dots.clone(), BTreeMap::new())]).await.unwrap();
        let error = admin.create(vec![topic(underscores.clone(), BTreeMap::new())]).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Fatal);
        assert!(error.to_string().contains(&underscores) && error.why.contains(&dots), "{error}");
        let configs = BTreeMap::from([("cleanup.polizei".to_owned(), "delete".to_owned())]);
        let error = admin.create(vec![topic(format!("{}-b", cluster.topic), configs)]).await.unwrap_err();
        assert!(error.why.contains("cleanup.polizei"), "{error}");
        admin.delete(vec![dots]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_lookups_share_one_client_and_dropping_it_does_not_block() {
    let cluster = Cluster::mock(1);
    let name = cluster.topic.to_string();
    let mut drops = Vec::new();
    for _ in 0..5 {
        let transport = cluster.transport();
        let (first, second) = (transport.admin().unwrap(), transport.admin().unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.topics(Some(vec![name.clone()])).await.unwrap().get(&name), Some(&1));
        assert!(second.configs(Vec::new()).await.unwrap().is_empty());
        drop((first, second));
        let began = Instant::now();
        drop(transport);
        drops.push(began.elapsed());
    }
    // The best of several, because the machine may be busy. librdkafka needs 50 ms at least.
    assert!(drops.iter().min() < Some(&Duration::from_millis(10)), "{drops:?}");
}
