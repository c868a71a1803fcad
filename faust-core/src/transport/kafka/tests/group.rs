//! Groups: assignments, start offsets, revocations that wait for the listener, and unavailable brokers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::cluster::{Cluster, Event, Events, at, read_numbers, within};
use crate::config::OffsetReset;
use crate::error::TransportErrorKind;
use crate::message::Offset;
use crate::transport::kafka::{GroupProtocol, KafkaConfig, KafkaTransport};
use crate::transport::port::*;
use crate::transport::{Delivery, TransactionErrorKind};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_reads_commits_and_resumes_from_its_committed_offset() {
    for cluster in Cluster::each(1).await {
        cluster.fill(0, 0..1000).await;
        let (group, mut events) = cluster.join();
        let mut assigned = events.assigned().await.remove(0);
        assert_eq!((assigned.start, &assigned.committed), (Offset(0), &None));
        assert_eq!(read_numbers(&mut assigned, 600).await, (0..600).collect::<Vec<_>>());
        assert_eq!(assigned.queue.end(), None);
        let partition = assigned.partition.clone();
        group.commit(BTreeMap::from([(partition.clone(), at(300, "v1;cut=7;ä"))])).await.unwrap();
        drop(assigned);
        within("leaving", group.leave()).await;
        let error = group.commit(BTreeMap::from([(partition.clone(), at(400, ""))])).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Rebalanced, "{error}");

        let admin = cluster.transport().admin().unwrap();
        let committed = admin.committed(&cluster.group, vec![partition.clone()]).await.unwrap();
        assert_eq!(committed, BTreeMap::from([(partition, at(300, "v1;cut=7;ä"))]));

        let (group, mut events) = cluster.join();
        let mut assigned = events.assigned().await.remove(0);
        assert_eq!((assigned.start, assigned.committed.take()), (Offset(300), Some(at(300, "v1;cut=7;ä"))));
        assert_eq!(read_numbers(&mut assigned, 700).await, (300..1000).collect::<Vec<_>>());
        assigned.queue.seek(Offset(10)).unwrap();
        assert_eq!(read_numbers(&mut assigned, 990).await, (10..1000).collect::<Vec<_>>());
        let end = std::future::poll_fn(|cx| {
            let read = assigned.queue.poll_batch(cx, 1, &mut |message| panic!("{message:?}"));
            if assigned.queue.end() == Some(Offset(1000)) { std::task::Poll::Ready(()) } else { read.map(|_| ()) }
        });
        within("the end", end).await;
        drop(assigned);
        within("leaving", group.leave()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_deleted_once_its_members_have_left() {
    for cluster in Cluster::kafkas(1).await {
        cluster.fill(0, 0..10).await;
        let admin = cluster.transport().admin().unwrap();
        let members = async || {
            let exists = admin.groups().await.unwrap().contains(&cluster.group);
            exists.then_some(admin.members(&cluster.group).await.unwrap())
        };
        let (group, mut events) = cluster.join();
        let assigned = events.assigned().await.remove(0);
        let partition = assigned.partition.clone();
        group.commit(BTreeMap::from([(partition.clone(), at(3, ""))])).await.unwrap();
        assert_eq!(members().await, Some(1));
        let error = admin.delete_group(&cluster.group).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Fatal, "{error}");
        drop(assigned);
        within("leaving", group.leave()).await;
        assert_eq!(members().await, Some(0));
        admin.delete_group(&cluster.group).await.unwrap();
        admin.delete_group(&cluster.group).await.unwrap();
        assert_eq!(members().await, None);
        assert_eq!(admin.committed(&cluster.group, vec![partition]).await.unwrap(), BTreeMap::new());
        assert_eq!(admin.members(&cluster.group).await.unwrap(), 0);
    }
}

/// Law: an assignment that waits for an open transaction says so, and continues once another producer has ended that.
#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_waits_for_pending_offsets_until_their_producer_is_fenced() {
    for cluster in Cluster::kafkas(1).await {
        let (group, mut events) = cluster.join();
        let assigned = events.assigned().await.remove(0);
        let partition = assigned.partition.clone();
        group.commit(BTreeMap::from([(partition.clone(), at(3, "before"))])).await.unwrap();
        let (transport, id) = (cluster.transport(), format!("{}-id", cluster.group));
        let producer = transport.transactions(&id).await.unwrap();
        producer.begin().await.unwrap();
        let offsets = BTreeMap::from([(partition.clone(), at(7, "pending"))]);
        producer.send_offsets(group.membership().unwrap(), offsets).await.unwrap();
        drop(assigned);
        within("leaving", group.leave()).await;

        let (group, mut events) = cluster.join();
        let pending = events.until("pending offsets", |event| match event {
            Event::OffsetsPending(partitions) => Some(partitions),
            Event::Assigned(partitions) => panic!("{partitions:?} are assigned although their offsets are pending"),
            _ => None,
        });
        assert_eq!(pending.await, [partition]);
        let successor = transport.transactions(&id).await.unwrap();
        let assigned = events.assigned().await.remove(0);
        assert_eq!(assigned.committed, Some(at(3, "before")));
        let error = producer.commit().await.unwrap_err();
        assert_eq!(error.kind, TransactionErrorKind::Lost, "{error}");
        drop((assigned, successor));
        within("leaving", group.leave()).await;
    }
}

/// The list of groups shows those of this protocol as empty.
#[tokio::test(flavor = "multi_thread")]
async fn members_are_counted_where_the_broker_assigns() {
    for mut cluster in Cluster::kafkas(1).await {
        cluster.config.group_protocol = GroupProtocol::Consumer;
        let admin = cluster.transport().admin().unwrap();
        let (group, mut events) = cluster.join();
        drop(events.assigned().await);
        assert_eq!(admin.members(&cluster.group).await.unwrap(), 1);
        within("leaving", group.leave()).await;
        assert_eq!(admin.members(&cluster.group).await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_from_outside_once_the_members_have_left() {
    for cluster in Cluster::kafkas(1).await {
        cluster.fill(0, 0..10).await;
        let admin = cluster.transport().admin().unwrap();
        let (group, mut events) = cluster.join();
        let assigned = events.assigned().await.remove(0);
        let partition = assigned.partition.clone();
        let moved = BTreeMap::from([(partition.clone(), at(4, "by hand"))]);
        group.commit(BTreeMap::from([(partition.clone(), at(3, "its own"))])).await.unwrap();
        let error = admin.commit(&cluster.group, moved.clone()).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Fatal, "{error}");
        assert!(error.to_string().contains("it has members"), "{error}");
        drop(assigned);
        within("leaving", group.leave()).await;
        let committed = async || admin.committed(&cluster.group, vec![partition.clone()]).await.unwrap();
        assert_eq!(committed().await[&partition], at(3, "its own"));
        admin.commit(&cluster.group, moved.clone()).await.unwrap();
        assert_eq!(committed().await, moved);
        // A group that has never had a member.
        let other = format!("{}-other", cluster.group);
        admin.commit(&other, moved.clone()).await.unwrap();
        assert_eq!(admin.committed(&other, vec![partition.clone()]).await.unwrap(), moved);
    }
}

/// The epochs of owners rest on the generations.
#[tokio::test(flavor = "multi_thread")]
async fn each_owner_is_assigned_in_a_later_generation() {
    for cluster in Cluster::each(2).await {
        let (first, mut events) = cluster.join();
        let assigned = events.assigned().await;
        let (generation, nonce) = (assigned[0].generation, assigned[0].nonce);
        assert!(generation > 0);
        assert!(assigned.iter().all(|assigned| assigned.generation == generation));
        drop(assigned);
        let (second, mut others) = cluster.join();
        let taken = others.assigned().await;
        assert!(taken[0].generation > generation, "{} after {generation}", taken[0].generation);
        assert_ne!(taken[0].nonce, nonce);
        drop(taken);
        within("leaving", second.leave()).await;
        within("leaving", first.leave()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_the_broker_refuses_is_reported_alone() {
    // The mock cluster accepts every offset.
    for cluster in Cluster::kafkas(1).await {
        let (group, mut events) = cluster.join();
        let assigned = events.assigned().await.remove(0);
        let (known, unknown) = (assigned.partition.clone(), TopicPartition::new("no-such-topic", 0));
        let offsets = BTreeMap::from([(known.clone(), at(3, "")), (unknown.clone(), at(1, ""))]);
        let refused = group.commit(offsets).await.unwrap();
        assert_eq!(refused.keys().collect::<Vec<_>>(), [&unknown]);
        let of_both = cluster
            .transport()
            .admin()
            .unwrap()
            .committed(&cluster.group, vec![known.clone(), unknown.clone()])
            .await
            .unwrap();
        assert_eq!(of_both.into_iter().map(|(of, at)| (of, at.offset.0)).collect::<Vec<_>>(), [(known, 3)]);
        let error = group.commit(BTreeMap::from([(unknown, at(1, ""))])).await.unwrap_err();
        assert!(error.is_retriable(), "{error}");
        drop(assigned);
        within("leaving", group.leave()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_queue_is_woken_when_a_message_arrives() {
    for cluster in Cluster::each(1).await {
        let (group, mut events) = cluster.join();
        let mut assigned = events.assigned().await.remove(0);
        for number in 0..20 {
            let (read, ()) = tokio::join!(read_numbers(&mut assigned, 1), cluster.fill(0, [number]));
            assert_eq!(read, [number]);
        }
        drop(assigned);
        within("leaving", group.leave()).await;
    }
}

/// A task that continues in the next generation holds the queue of the former one until then.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_an_earlier_assignment_takes_neither_messages_nor_wake_ups_from_its_successor() {
    for cluster in Cluster::kafkas(2).await {
        let (first, mut events) = cluster.join();
        let mut former = events.assigned().await;
        let (second, others) = cluster.join();
        let mut mine = events.assigned_of(1).await.remove(0);
        let partition = mine.partition.partition;
        former.retain(|former| former.partition.partition == partition);
        let mut former = former.remove(0);

        cluster.fill(partition, 0..100).await;
        let mut taken = 0;
        let read = std::future::poll_fn(|cx| {
            let by_former = former.queue.poll_batch(cx, 100, &mut |message| panic!("{message:?}"));
            assert!(by_former.is_pending());
            while let std::task::Poll::Ready(count) = mine.queue.poll_batch(cx, 100, &mut |_| ()) {
                taken += count.unwrap();
            }
            if taken == 100 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        within("messages", read).await;
        former.queue.seek(Offset(0)).unwrap();
        drop(former);
        // Without wake-ups, each takes until the next tick of the group's thread, and all together too long.
        let in_turn = async {
            for number in 0..90 {
                let (read, ()) = tokio::join!(read_numbers(&mut mine, 1), cluster.fill(partition, [number]));
                assert_eq!(read, [number]);
            }
        };
        within("messages in turn", in_turn).await;
        drop((mine, others));
        within("leaving", second.leave()).await;
        within("leaving", first.leave()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_waits_for_the_listener_and_its_commit() {
    for cluster in Cluster::each(2).await {
        cluster.fill(0, 0..10).await;
        let (release, hold) = oneshot::channel();
        let (first, mut events) = cluster.join_holding(Some(hold));
        let assigned = events.assigned().await;
        assert_eq!(assigned.len(), 2);

        let (second, mut others) = cluster.join();
        let (revoked, lost) = events.revoked().await;
        assert_eq!((revoked.len(), lost), (2, false));
        let offsets: BTreeMap<_, _> =
            assigned.iter().map(|assigned| (assigned.partition.clone(), at(5, "revoked"))).collect();
        drop(assigned);
        // Unlike Kafka, the mock cluster rejects commits during a rebalance.
        let committed = if cluster.mock.is_some() {
            0
        } else {
            first.commit(offsets).await.map(|refused| if refused.is_empty() { 5 } else { -1 }).unwrap()
        };
        others.until("connection", |event| matches!(event, Event::ConnectionWatch(true)).then_some(())).await;
        assert!(others.rest().is_empty(), "nothing is assigned before the first member has released its partitions");
        release.send(()).unwrap();

        let (mine, theirs) = (events.assigned_of(1).await, others.assigned_of(1).await);
        for assigned in mine.iter().chain(&theirs) {
            // The log of partition 1 is empty: offset 5 is not in it.
            let start = if assigned.partition.partition == 0 { committed } else { 0 };
            let found = assigned.committed.as_ref().map_or(0, |found| found.offset.0);
            assert_eq!((assigned.start.0, found), (start, committed));
        }
        drop((mine, theirs));
        within("leaving", second.leave()).await;
        // The second member's partition is assigned to the first again.
        events.assigned_of(2).await;
        within("leaving", first.leave()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surplus_member_is_assigned_nothing_until_another_leaves() {
    for cluster in Cluster::each(1).await {
        let (first, mut events) = cluster.join();
        assert_eq!(events.assigned().await.len(), 1);
        let (second, mut others) = cluster.join();
        let (mut one, other) = (events.assigned().await.len(), others.assigned().await.len());
        while one + other != 1 {
            // One partition has only one owner: the first member has not processed the last rebalance yet.
            one = events.assigned().await.len();
        }
        let (has, has_not, mut waiting) = if one == 1 { (first, second, others) } else { (second, first, events) };
        within("leaving", has.leave()).await;
        waiting.assigned_of(1).await;
        within("leaving", has_not.leave()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_reset_policy_a_missing_offset_is_an_error() {
    let mut cluster = Cluster::mock(1);
    cluster.reset = OffsetReset::None;
    let (group, mut events) = cluster.join();
    let error = events
        .until("failure", |event| match event {
            Event::Failed(error) => Some(error),
            _ => None,
        })
        .await;
    assert_eq!(error.kind, TransportErrorKind::OffsetOutOfRange, "{error}");
    within("leaving", group.leave()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_member_keeps_its_partitions_until_its_session_times_out() {
    for cluster in Cluster::each(1).await {
        let (first, mut events) = cluster.join();
        drop(events.assigned().await);
        first.abandon();
        within("the end of the thread", first.leave()).await;
        assert!(!events.rest().iter().any(|event| matches!(event, Event::Revoked(..))), "a crash revokes nothing");
        let (second, mut others) = cluster.join();
        assert_eq!(others.assigned().await.len(), 1);
        within("leaving", second.leave()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_waits_for_unavailable_brokers() {
    let cluster = Cluster::mock(1);
    let mock = cluster.mock.as_ref().unwrap();
    let (group, mut events) = cluster.join();
    let mut assigned = events.assigned().await.remove(0);
    let sink = cluster.transport().sink().unwrap();
    let topic = sink.topic(&cluster.topic).unwrap();

    mock.broker_down(1).unwrap();
    events.until("loss of the connection", |event| matches!(event, Event::ConnectionWatch(false)).then_some(())).await;
    let delivery = Delivery::new();
    topic.try_send(&Outgoing { payload: Some(b"1"), ..Outgoing::default() }, &delivery).unwrap();
    let flushed = sink.flush(Duration::from_millis(300)).await;
    assert!(flushed.unwrap_err().is_retriable());

    mock.broker_up(1).unwrap();
    events.until("connection", |event| matches!(event, Event::ConnectionWatch(true)).then_some(())).await;
    within("delivery", delivery.all()).await.unwrap();
    assert_eq!(read_numbers(&mut assigned, 1).await, [1]);
    drop(assigned);
    within("leaving", group.leave()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_starts_without_brokers_waits_and_may_leave() {
    let cluster = Cluster::mock(1);
    cluster.mock.as_ref().unwrap().broker_down(1).unwrap();
    let (group, mut events) = cluster.join();
    events.until("loss of the connection", |event| matches!(event, Event::ConnectionWatch(false)).then_some(())).await;
    within("leaving", group.leave()).await;
}

/// Returns a group member of two topics of ten messages, with their partitions in this order.
async fn joined(cluster: &Cluster, topics: [(&Arc<str>, OffsetReset); 2]) -> (Arc<dyn Group>, Events, Vec<Assigned>) {
    let topics_by_name = topics.map(|(topic, reset)| (Arc::clone(topic), reset)).into();
    let subscription = Subscription { group: cluster.group.clone(), topics: topics_by_name, partitions: 2 };
    let (group, mut events) = cluster.subscribe(subscription);
    let mut assigned = events.assigned().await;
    assigned.sort_by_key(|one| topics.iter().position(|(topic, _)| *topic == &one.partition.topic));
    (group, events, assigned)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_topic_starts_and_resumes_by_its_own_reset_policy() {
    for cluster in Cluster::kafkas(1).await {
        let internal = cluster.beside("-internal").await;
        for topic in [&cluster, &internal] {
            topic.fill(0, 0..10).await;
        }
        let policies = [(&cluster.topic, OffsetReset::Latest), (&internal.topic, OffsetReset::Earliest)];
        let (group, _events, mut assigned) = joined(&cluster, policies).await;
        assert_eq!(assigned.iter().map(|one| one.start.0).collect::<Vec<_>>(), [10, 0]);
        assert_eq!(read_numbers(&mut assigned[1], 10).await, (0..10).collect::<Vec<_>>());

        // Retention passes the positions of both.
        let admin = cluster.transport().admin().unwrap();
        for (one, topic) in assigned.iter_mut().zip([&cluster, &internal]) {
            topic.fill(0, 10..20).await;
            read_numbers(one, 10).await;
            admin.delete_records(BTreeMap::from([(one.partition.clone(), Offset(15))])).await.unwrap();
            one.queue.seek(Offset(12)).unwrap();
        }
        assert_eq!(read_numbers(&mut assigned[1], 5).await, (15..20).collect::<Vec<_>>());
        // The end is looked up at some time after the seek: messages sent before are skipped.
        let mut read = Vec::new();
        for number in 20.. {
            cluster.fill(0, [number]).await;
            let one = read_numbers(&mut assigned[0], 1);
            if let Ok(numbers) = tokio::time::timeout(Duration::from_millis(500), one).await {
                read = numbers;
                break;
            }
        }
        assert!(read[0] >= 20, "{read:?}");
        drop(assigned);
        within("leaving", group.leave()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_behind_the_log_start_resumes_by_its_reset_policy() {
    for cluster in Cluster::kafkas(1).await {
        cluster.fill(0, 0..1000).await;
        let (group, mut events) = cluster.join();
        let mut assigned = events.assigned().await.remove(0);
        read_numbers(&mut assigned, 1000).await;
        let admin = cluster.transport().admin().unwrap();
        admin.delete_records(BTreeMap::from([(assigned.partition.clone(), Offset(600))])).await.unwrap();
        for gone in [599, 10] {
            assigned.queue.seek(Offset(gone)).unwrap();
            assert_eq!(read_numbers(&mut assigned, 400).await, (600..1000).collect::<Vec<_>>());
        }
        // No message is left: the end is after the position by more than one.
        admin.delete_records(BTreeMap::from([(assigned.partition.clone(), Offset(1000))])).await.unwrap();
        assigned.queue.seek(Offset(700)).unwrap();
        let end = std::future::poll_fn(|cx| {
            assert!(assigned.queue.poll_batch(cx, 1, &mut |message| panic!("{message:?}")).is_pending());
            assigned.queue.end().map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        });
        assert_eq!(within("the end", end).await, Offset(1000));
        assert!(!assigned.queue.is_held());
        drop(assigned);
        within("leaving", group.leave()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_and_the_cause_of_an_outage_are_known() {
    // Port 1 is never used; the second address cannot be resolved.
    for (address, cause) in [("127.0.0.1:1", "Connection refused"), ("unknown.invalid:9", "Failed to resolve")] {
        let mut config = KafkaConfig::new(address);
        config.request_timeout = Duration::from_secs(1);
        let transport = KafkaTransport::new(config);
        assert_eq!(transport.outage().to_string(), address);
        let error = transport.admin().unwrap().topics(None).await.unwrap_err();
        assert!(error.is_retriable(), "{error}");
        let outage = transport.outage().to_string();
        assert!(outage.starts_with(address) && outage.contains(cause), "{outage}");
    }
    let cluster = Cluster::mock(1);
    let transport = cluster.transport();
    cluster.mock.as_ref().unwrap().broker_down(1).unwrap();
    let admin = transport.admin().unwrap();
    let topics = || admin.topics(None);
    assert!(
        within("a failure", tokio::time::timeout(Duration::from_secs(3), topics())).await.map_or(true, |r| r.is_err())
    );
    assert!(transport.outage().cause().is_some());
    cluster.mock.as_ref().unwrap().broker_up(1).unwrap();
    within("an answer", async { while topics().await.is_err() {} }).await;
    assert_eq!(transport.outage().cause(), None);
}

/// librdkafka may miss that the group's coordinator is ready, and then waits for the whole timeout of a look-up. This is rare.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_offsets_are_found_without_waiting_for_the_timeout() {
    for cluster in Cluster::kafkas(1).await {
        let mut config = cluster.config.clone();
        config.request_timeout = Duration::from_secs(20);
        let admin = KafkaTransport::new(config).admin().unwrap();
        let partition = TopicPartition::new(Arc::clone(&cluster.topic), 0);
        for round in 0..25 {
            let look_up = || admin.committed(&cluster.group, vec![partition.clone()]);
            let found = futures_util::future::join_all((0..4).map(|_| look_up())).await;
            found.into_iter().for_each(|found| assert_eq!(found.expect("an answer"), BTreeMap::new(), "{round}"));
        }
    }
}
