//! Tests of the in-memory cluster: operations of the port that the test driver's scenarios do not use, and its
//! simulated faults.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::{GroupTimeouts, MemoryCluster};
use crate::config::OffsetReset;
use crate::error::{TransportError, TransportErrorKind};
use crate::message::Offset;
use crate::time::Timestamp;
use crate::transport::Delivery;
use crate::transport::memory::queue::MemoryQueue;
use crate::transport::memory::{ClusterFault, FaultProfile};
use crate::transport::port::*;

const SESSION: Duration = Duration::from_secs(10);

/// Creates a cluster with the topic `t` of two partitions.
async fn cluster() -> MemoryCluster {
    let cluster = MemoryCluster::new(1, GroupTimeouts::new(SESSION, SESSION), || Timestamp(0));
    create(&cluster).await;
    cluster
}

async fn create(cluster: &MemoryCluster) {
    let topic = NewTopic { name: "t".to_owned(), partitions: 2, replication: 1, configs: BTreeMap::new() };
    cluster.create(vec![topic]).await.unwrap();
}

fn fill(cluster: &MemoryCluster, count: usize, delivery: &Arc<Delivery>) {
    let topic = cluster.sink().unwrap().topic("t").unwrap();
    for _ in 0..count {
        topic.try_send(&Outgoing { partition: Some(0), ..Outgoing::default() }, delivery).unwrap();
    }
}

fn first() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// Polls once and returns the numbers of the offsets read, or `None` if the poll is pending.
fn poll(queue: &mut dyn PartitionQueue) -> Option<Result<Vec<i64>, TransportError>> {
    let mut offsets = Vec::new();
    let polled =
        queue.poll_batch(&mut Context::from_waker(Waker::noop()), 1000, &mut |read| offsets.push(read.offset.0));
    match polled {
        Poll::Pending => None,
        Poll::Ready(read) => Some(read.map(|_| offsets)),
    }
}

#[tokio::test]
async fn a_tail_reads_the_remaining_messages_and_rejects_offsets_out_of_range() {
    let cluster = cluster().await;
    fill(&cluster, 10, &Delivery::new());
    cluster.delete_records(BTreeMap::from([(first(), Offset(4))])).await.unwrap();
    assert_eq!(cluster.watermarks(vec![first()]).await.unwrap()[&first()], (Offset(4), Offset(10)));

    let from = [StartAt::Earliest, StartAt::Latest, StartAt::Offset(Offset(8))].map(|at| (first(), at));
    let mut queues = cluster.tail(from.to_vec(), TailPace::Fast).await.unwrap();
    for (queue, expected) in queues.iter_mut().zip([Some(4..10), None, Some(8..10)]) {
        if let Some(expected) = expected {
            assert_eq!(poll(&mut **queue).unwrap().unwrap(), expected.collect::<Vec<_>>());
            assert_eq!(queue.end(), None);
        }
        assert!(poll(&mut **queue).is_none() && queue.end().is_some());
    }
    for outside in [0, 3, 11] {
        queues[0].seek(Offset(outside)).unwrap();
        let error = poll(&mut *queues[0]).unwrap().unwrap_err();
        assert_eq!((error.kind, queues[0].end()), (TransportErrorKind::OffsetOutOfRange, None), "{error}");
    }
    let error = cluster.delete_records(BTreeMap::from([(first(), Offset(11))])).await.unwrap_err();
    assert_eq!(error.kind, TransportErrorKind::OffsetOutOfRange, "{error}");
}

#[tokio::test]
async fn a_recreated_topic_has_another_id() {
    let cluster = cluster().await;
    let names = vec!["t".to_owned(), "missing".to_owned()];
    let before = cluster.topic_ids(names.clone()).await.unwrap();
    assert_eq!((before.len(), before["t"].len()), (1, 22));
    cluster.delete(vec!["t".to_owned()]).await.unwrap();
    create(&cluster).await;
    assert_ne!(cluster.topic_ids(names).await.unwrap(), before);
}

#[tokio::test]
async fn a_delivery_reports_the_last_offset_also_after_it_was_held() {
    let (cluster, delivery) = (cluster().await, Delivery::with_offsets(Arc::default()));
    fill(&cluster, 3, &delivery);
    cluster.hold_deliveries();
    fill(&cluster, 2, &delivery);
    assert_eq!((delivery.last_offset(), delivery.pending()), (Some(Offset(2)), 2));
    cluster.release_deliveries();
    assert_eq!((delivery.last_offset(), delivery.pending()), (Some(Offset(4)), 0));
}

/// A listener that counts the assigned partitions.
#[derive(Default)]
struct Listener(Mutex<usize>);

impl crate::transport::port::Sealed for Listener {}

impl GroupListener for Listener {
    fn assigned(&self, partitions: Vec<Assigned>) {
        *self.0.lock().unwrap() += partitions.len();
    }

    fn revoked(&self, _: Vec<TopicPartition>, _: bool) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    fn failed(&self, error: TransportError) {
        panic!("{error}");
    }

    fn connection(&self, _: bool, _: &str) {}
}

async fn member(cluster: &MemoryCluster) -> Arc<dyn Group> {
    let listener = Arc::new(Listener::default());
    let subscription = Subscription {
        group: "g".to_owned(),
        topics: BTreeMap::from([("t".into(), OffsetReset::Earliest)]),
        partitions: 2,
    };
    let group = cluster.join(subscription, Arc::<Listener>::clone(&listener)).unwrap();
    while *listener.0.lock().unwrap() < 2 {
        tokio::task::yield_now().await;
    }
    group
}

fn commit(group: &Arc<dyn Group>, offset: i64) -> BoxFuture<'_, Result<RefusedOffsets, TransportError>> {
    let committed = Committed { offset: Offset(offset), metadata: String::new() };
    group.commit(BTreeMap::from([(first(), committed)]))
}

async fn committed(cluster: &MemoryCluster) -> Option<i64> {
    cluster.committed("g", vec![first()]).await.unwrap().get(&first()).map(|committed| committed.offset.0)
}

#[tokio::test]
async fn held_commits_take_effect_on_release_unless_they_were_dropped() {
    let cluster = cluster().await;
    let group = member(&cluster).await;
    commit(&group, 1).await.unwrap();
    cluster.hold_commits();
    let mut held = commit(&group, 2);
    let dropped = commit(&group, 3);
    assert!((&mut held).now_or_never().is_none());
    assert_eq!(committed(&cluster).await, Some(1));
    drop(dropped);
    cluster.release_commits();
    held.await.unwrap();
    assert_eq!(committed(&cluster).await, Some(2));
}

#[tokio::test]
async fn commits_with_held_responses_take_effect() {
    let cluster = cluster().await;
    let group = member(&cluster).await;
    cluster.hold_commit_answers();
    let mut unanswered = commit(&group, 2);
    assert!((&mut unanswered).now_or_never().is_none());
    assert_eq!(committed(&cluster).await, Some(2));
    group.abandon();
    cluster.release_commits();
    unanswered.await.unwrap();
    assert_eq!(committed(&cluster).await, Some(2));
}

#[tokio::test]
async fn a_held_commit_of_a_crashed_worker_has_no_effect() {
    let cluster = cluster().await;
    let group = member(&cluster).await;
    cluster.hold_commits();
    let held = commit(&group, 2);
    group.abandon();
    cluster.release_commits();
    assert_eq!(held.await.unwrap_err().kind, TransportErrorKind::Rebalanced);
    assert_eq!(committed(&cluster).await, None);
}

#[tokio::test]
async fn a_group_is_deleted_once_its_members_have_left() {
    let cluster = cluster().await;
    let group = member(&cluster).await;
    commit(&group, 2).await.unwrap();
    let groups = async || (cluster.groups().await.unwrap(), cluster.members("g").await.unwrap());
    let one = BTreeSet::from(["g".to_owned()]);
    assert_eq!(groups().await, (one.clone(), 1));
    let error = cluster.delete_group("g").await.unwrap_err();
    assert_eq!((error.kind, committed(&cluster).await), (TransportErrorKind::Fatal, Some(2)), "{error}");
    group.leave().await;
    assert_eq!(groups().await, (one, 0));
    cluster.delete_group("g").await.unwrap();
    cluster.delete_group("g").await.unwrap();
    assert_eq!((groups().await, committed(&cluster).await), ((BTreeSet::new(), 0), None));
}

async fn end(cluster: &MemoryCluster) -> i64 {
    cluster.watermarks(vec![first()]).await.unwrap()[&first()].1.0
}

/// Commits one offset for both partitions, and returns the number of refused ones, and the number of committed ones.
async fn commit_both(cluster: &MemoryCluster, group: &Arc<dyn Group>) -> (Result<usize, TransportErrorKind>, usize) {
    let both = [0, 1].map(|partition| TopicPartition::new("t", partition));
    let offset =
        |partition: &TopicPartition| (partition.clone(), Committed { offset: Offset(1), metadata: String::new() });
    let result = group.commit(both.iter().map(offset).collect()).await;
    let result = result.map(|refused| refused.len()).map_err(|error| error.kind);
    (result, cluster.committed("g", both.to_vec()).await.unwrap().len())
}

#[tokio::test(start_paused = true)]
async fn a_partial_commit_and_a_lost_answer_are_errors_of_commits_that_take_effect() {
    let lost = Err(TransportErrorKind::Retriable);
    let cases = [(ClusterFault::PartialCommit, Ok(1), 1), (ClusterFault::LostCommitAnswer, lost, 2)];
    for (fault, answer, accepted) in cases {
        let cluster = cluster().await;
        let group = member(&cluster).await;
        cluster.set_faults(FaultProfile::default().with(fault, 1.0));
        assert_eq!(commit_both(&cluster, &group).await, (answer, accepted), "{fault:?}");
        assert_eq!(cluster.fault_counts(), BTreeMap::from([(fault, 1)]));
        cluster.set_faults(FaultProfile::default());
        assert_eq!(commit_both(&cluster, &group).await, (Ok(0), 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_former_owner_may_commit_while_it_belongs_to_the_generation() {
    for (fault, is_accepted) in [(None, false), (Some(ClusterFault::CommitByFormerOwner), true)] {
        let cluster = cluster().await;
        let first = member(&cluster).await;
        let second = Arc::new(Listener::default());
        let topics = BTreeMap::from([("t".into(), OffsetReset::Earliest)]);
        let subscription = Subscription { group: "g".to_owned(), topics, partitions: 2 };
        let _second = cluster.join(subscription, Arc::<Listener>::clone(&second)).unwrap();
        while *second.0.lock().unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        let profile = FaultProfile::default();
        cluster.set_faults(fault.map_or(profile.clone(), |fault| profile.with(fault, 1.0)));
        // The second member has taken over partition 1.
        assert_eq!(commit_both(&cluster, &first).await.0.is_ok(), is_accepted);
        // An expelled member is of no generation.
        assert!(cluster.expel(0, SESSION));
        assert_eq!(commit_both(&cluster, &first).await.0, Err(TransportErrorKind::Rebalanced));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_producer_keeps_the_order_of_a_partition_and_loses_what_it_holds_when_it_is_dropped() {
    let (cluster, delivery) = (cluster().await, Delivery::with_offsets(Arc::default()));
    cluster.set_faults(FaultProfile::default().with(ClusterFault::SlowSend, 1.0));
    let sink = cluster.sink().unwrap();
    let topic = sink.topic("t").unwrap();
    let send = |partition: i32, payload: &[u8]| {
        let message = Outgoing { partition: Some(partition), payload: Some(payload), ..Outgoing::default() };
        topic.try_send(&message, &delivery).unwrap();
    };
    (0..5u8).for_each(|n| send(0, &[n]));
    assert_eq!((delivery.pending(), end(&cluster).await), (5, 0));
    sink.flush(SESSION).await.unwrap();
    assert_eq!((delivery.pending(), delivery.last_offset()), (0, Some(Offset(4))));
    let mut queue = cluster.tail(vec![(first(), StartAt::Earliest)], TailPace::Fast).await.unwrap().remove(0);
    let mut read: Vec<u8> = Vec::new();
    let polled = queue.poll_batch(&mut Context::from_waker(Waker::noop()), 9, &mut |m| read.extend(m.payload.unwrap()));
    assert!(polled.is_ready());
    assert_eq!(read, [0, 1, 2, 3, 4]);
    send(0, &[5]);
    drop((topic, sink));
    tokio::time::sleep(SESSION).await;
    assert_eq!(end(&cluster).await, 5);
}

#[tokio::test(start_paused = true)]
async fn sends_fail_with_and_without_effect() {
    for (fault, stored) in [(ClusterFault::FailedSend, 0), (ClusterFault::LostSendAnswer, 1)] {
        let (cluster, delivery) = (cluster().await, Delivery::new());
        cluster.set_faults(FaultProfile::default().with(fault, 1.0));
        fill(&cluster, 1, &delivery);
        assert_eq!(delivery.all().await.unwrap_err().kind, TransportErrorKind::Retriable);
        assert_eq!(end(&cluster).await, stored);
    }
}

#[tokio::test(start_paused = true)]
async fn reading_continues_after_an_error_and_a_refusal_drops_the_rest_until_a_seek() {
    for (fault, is_dropped) in [(ClusterFault::FetchError, false), (ClusterFault::FetchRefused, true)] {
        let cluster = cluster().await;
        fill(&cluster, 10, &Delivery::new());
        let mut queue = MemoryQueue::new(cluster.clone(), first(), Offset(0)).of_group();
        cluster.set_faults(FaultProfile::default().with(fault, 1.0));
        let mut before = Vec::new();
        let polled =
            queue.poll_batch(&mut Context::from_waker(Waker::noop()), 100, &mut |read| before.push(read.offset));
        assert!(matches!(polled, Poll::Ready(Err(_))) && before.len() < 10, "{fault:?}");
        cluster.set_faults(FaultProfile::default());
        let next = i64::try_from(before.len()).unwrap();
        if is_dropped {
            assert!(poll(&mut queue).is_none());
            queue.seek(Offset(next)).unwrap();
        }
        assert_eq!(poll(&mut queue).unwrap().unwrap(), (next..10).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn the_queue_of_a_member_resumes_by_the_policy_of_its_topic_when_its_message_was_deleted() {
    let cluster = cluster().await;
    fill(&cluster, 10, &Delivery::new());
    cluster.delete_records(BTreeMap::from([(first(), Offset(4))])).await.unwrap();
    let queue = |reset| MemoryQueue::new(cluster.clone(), first(), Offset(1)).resetting(reset);
    let (mut earliest, mut latest) = (queue(OffsetReset::Earliest), queue(OffsetReset::Latest));
    assert_eq!(poll(&mut earliest).unwrap().unwrap(), [4, 5, 6, 7, 8, 9]);
    assert!(poll(&mut latest).is_none());
    fill(&cluster, 1, &Delivery::new());
    assert_eq!(poll(&mut latest).unwrap().unwrap(), [10]);
    let error = poll(&mut queue(OffsetReset::None)).unwrap().unwrap_err();
    assert_eq!(error.kind, TransportErrorKind::OffsetOutOfRange, "{error}");
}
