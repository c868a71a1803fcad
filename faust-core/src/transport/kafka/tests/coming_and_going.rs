//! Members that join and leave under load: together they read every message, and none twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::cluster::{Cluster, at, within};
use crate::config::OffsetReset;
use crate::error::TransportError;
use crate::message::Offset;
use crate::transport::Delivery;
use crate::transport::kafka::GroupProtocol;
use crate::transport::port::*;

const PARTITIONS: i32 = 4;

/// The partition and offset of each message that any member has read.
type Ledger = Arc<watch::Sender<Vec<(i32, Offset)>>>;

/// A reading task with the channel that stops it.
type ReadingTask = (oneshot::Sender<()>, JoinHandle<Offset>);

/// A listener that reads its assigned partitions and commits them when they are revoked.
struct ReadState {
    ledger: Ledger,
    group: watch::Receiver<Option<Arc<dyn Group>>>,
    assigned: watch::Sender<usize>,
    tasks: Mutex<BTreeMap<TopicPartition, ReadingTask>>,
    runtime: tokio::runtime::Handle,
}

impl crate::transport::port::Sealed for ReadState {}

impl GroupListener for ReadState {
    fn assigned(&self, partitions: Vec<Assigned>) {
        self.assigned.send_modify(|count| *count += partitions.len());
        for assigned in partitions {
            let (stop, stopped) = oneshot::channel();
            let partition = assigned.partition.clone();
            let task = self.runtime.spawn(read(assigned, stopped, Arc::clone(&self.ledger)));
            self.tasks.lock().unwrap().insert(partition, (stop, task));
        }
    }

    fn revoked(&self, partitions: Vec<TopicPartition>, lost: bool) -> BoxFuture<'static, ()> {
        assert!(!lost, "no member exceeds its timeouts");
        let mut tasks = self.tasks.lock().unwrap();
        let tasks: Vec<_> = partitions.into_iter().map(|gone| (gone.clone(), tasks.remove(&gone).unwrap())).collect();
        let mut group = self.group.clone();
        async move {
            let mut offsets = BTreeMap::new();
            for (partition, (stop, task)) in tasks {
                // The task may have ended already.
                stop.send(()).ok();
                offsets.insert(partition, at(task.await.unwrap().0, ""));
            }
            let group = group.wait_for(Option::is_some).await.unwrap().clone().unwrap();
            group.commit(offsets).await.unwrap();
        }
        .boxed()
    }

    fn failed(&self, error: TransportError) {
        panic!("{error}");
    }

    fn connection(&self, _: bool, _: &str) {}
}

async fn read(mut assigned: Assigned, mut stopped: oneshot::Receiver<()>, ledger: Ledger) -> Offset {
    let (mut next, partition) = (assigned.start, assigned.partition.partition);
    loop {
        let mut offsets = Vec::new();
        tokio::select! {
            _ = &mut stopped => return next,
            read = std::future::poll_fn(|cx| assigned.queue.poll_batch(cx, 64, &mut |message| offsets.push(message.offset))) => {
                read.unwrap();
            }
        }
        next = offsets.last().map_or(next, |last| last.next());
        ledger.send_modify(|ledger| ledger.extend(offsets.into_iter().map(|offset| (partition, offset))));
    }
}

/// Joins the group. The receiver holds the total number of assigned partitions.
fn join(cluster: &Cluster, ledger: &Ledger) -> (Arc<dyn Group>, watch::Receiver<usize>) {
    let ((joined, group), (assigned, count)) = (watch::channel(None), watch::channel(0));
    let (ledger, runtime) = (Arc::clone(ledger), tokio::runtime::Handle::current());
    let listener = ReadState { ledger, group, assigned, tasks: Mutex::default(), runtime };
    let topics = BTreeMap::from([(Arc::clone(&cluster.topic), OffsetReset::Earliest)]);
    let subscription = Subscription { group: cluster.group.clone(), topics, partitions: 4 };
    let group = cluster.transport().join(subscription, Arc::new(listener)).unwrap();
    joined.send_replace(Some(Arc::clone(&group)));
    (group, count)
}

/// Sends to all partitions in turn until `enough`; returns the number of messages per partition.
async fn feed(cluster: &Cluster, enough: &AtomicBool) -> i64 {
    let sink = cluster.transport().sink().unwrap();
    let (topic, delivery) = (sink.topic(&cluster.topic).unwrap(), Delivery::new());
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let mut each = 0;
    while !enough.load(Ordering::Relaxed) {
        pace.tick().await;
        for partition in (0..20).flat_map(|_| 0..PARTITIONS) {
            let message = Outgoing { partition: Some(partition), payload: Some(b"x"), ..Outgoing::default() };
            topic.try_send(&message, &delivery).unwrap();
        }
        each += 20;
    }
    within("delivery", delivery.all()).await.unwrap();
    each
}

async fn come_and_go(cluster: &Cluster, rounds: usize) {
    let ledger: Ledger = Arc::new(watch::Sender::new(Vec::new()));
    let at_least = |count: usize| {
        let mut ledger = ledger.subscribe();
        async move { within("messages", ledger.wait_for(|ledger| ledger.len() >= count)).await.map(|_| ()).unwrap() }
    };
    let (first, mut firsts) = join(cluster, &ledger);
    let enough = AtomicBool::new(false);
    let come_and_go = async {
        within("an assignment", firsts.wait_for(|count| *count > 0)).await.unwrap();
        for _ in 0..rounds {
            let (second, mut seconds) = join(cluster, &ledger);
            within("an assignment", seconds.wait_for(|count| *count > 0)).await.unwrap();
            let read = ledger.borrow().len();
            at_least(read + 1000).await;
            within("leaving", second.leave()).await;
        }
        enough.store(true, Ordering::Relaxed);
    };
    let (each, ()) = tokio::join!(feed(cluster, &enough), come_and_go);
    let expected: Vec<_> = (0..PARTITIONS).flat_map(|p| (0..each).map(move |offset| (p, Offset(offset)))).collect();
    at_least(expected.len()).await;
    within("leaving", first.leave()).await;

    let mut read = ledger.borrow().clone();
    read.sort_unstable();
    assert_eq!(read.len(), expected.len(), "none twice");
    assert!(read == expected, "none lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_read_twice_while_members_come_and_go() {
    for cluster in Cluster::kafkas(PARTITIONS).await {
        come_and_go(&cluster, 5).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_read_twice_where_the_broker_assigns() {
    for mut cluster in Cluster::kafkas(PARTITIONS).await {
        cluster.config.group_protocol = GroupProtocol::Consumer;
        come_and_go(&cluster, 2).await;
    }
}
