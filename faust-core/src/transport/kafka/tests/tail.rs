//! Tails: they read each partition to its end, and report offsets that are not in the log.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Range;
use std::task::Poll;

use futures_util::future::join_all;

use super::cluster::{Cluster, within};
use crate::error::{TransportError, TransportErrorKind};
use crate::message::Offset;
use crate::transport::Delivery;
use crate::transport::port::*;

/// Returns the numbers of the offsets read before the partition's end.
async fn to_the_end(queue: &mut dyn PartitionQueue) -> Result<Vec<i64>, TransportError> {
    let mut offsets = Vec::new();
    let end = poll_fn(|cx| {
        loop {
            match queue.poll_batch(cx, 1000, &mut |message| offsets.push(message.offset.0)) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                _ if queue.end().is_some() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    within("the end", end).await.map(|()| offsets)
}

fn partition(cluster: &Cluster, number: i32) -> TopicPartition {
    TopicPartition::new(&*cluster.topic, number)
}

async fn tail(cluster: &Cluster, from: &[(i32, StartAt)]) -> Vec<Box<dyn PartitionQueue>> {
    let from = from.iter().map(|(number, at)| (partition(cluster, *number), *at)).collect();
    within("opening", cluster.transport().tail(from, TailPace::Fast)).await.unwrap()
}

/// Clusters whose partition 0 has 1000 messages, 1 has none, 2 has the last 200 of 500, and 3 has none left of 10.
async fn various() -> Vec<Cluster> {
    let clusters = Cluster::kafkas(4).await;
    for cluster in &clusters {
        for (number, count) in [(0, 1000), (2, 500), (3, 10)] {
            cluster.fill(number, 0..count).await;
        }
        let before = BTreeMap::from([(partition(cluster, 2), Offset(300)), (partition(cluster, 3), Offset(10))]);
        cluster.transport().admin().unwrap().delete_records(before).await.unwrap();
    }
    clusters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_reads_everything_and_reports_the_ends() {
    let expected = |ranges: [Range<i64>; 4]| ranges.map(Iterator::collect::<Vec<_>>);
    for cluster in various().await {
        let earliest = [2, 0, 3, 1].map(|number| (number, StartAt::Earliest));
        let mut queues = tail(&cluster, &earliest).await;
        let read = join_all(queues.iter_mut().map(|queue| to_the_end(&mut **queue))).await;
        let read: Vec<_> = read.into_iter().map(Result::unwrap).collect();
        assert_eq!(read, expected([300..500, 0..1000, 10..10, 0..0]));

        let from = [(0, 995), (3, 10), (1, 0)].map(|(number, offset)| (number, StartAt::Offset(Offset(offset))));
        let from: Vec<_> = from.into_iter().chain([(2, StartAt::Latest)]).collect();
        let mut queues = tail(&cluster, &from).await;
        let read = join_all(queues.iter_mut().map(|queue| to_the_end(&mut **queue))).await;
        let read: Vec<_> = read.into_iter().map(Result::unwrap).collect();
        assert_eq!(read, expected([995..1000, 10..10, 0..0, 500..500]));
        assert!(tail(&cluster, &[]).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_continues_after_an_end_while_other_queues_are_dropped() {
    for cluster in various().await {
        let mut queues = tail(&cluster, &[(0, StartAt::Latest), (1, StartAt::Earliest), (2, StartAt::Earliest)]).await;
        let mut queue = queues.remove(1);
        assert!(to_the_end(&mut *queue).await.unwrap().is_empty());
        // All messages share one producer, because a new one takes half a second to start.
        let sink = cluster.transport().sink().unwrap();
        let (topic, delivery) = (sink.topic(&cluster.topic).unwrap(), Delivery::new());
        for offset in 0..20 {
            let next = poll_fn(|cx| {
                let mut read = None;
                let polled = queue.poll_batch(cx, 1, &mut |message| read = Some(message.offset));
                polled.map(|count| count.map(|_| read))
            });
            let (read, ()) = tokio::join!(within("the message", next), async {
                topic.try_send(&Outgoing { partition: Some(1), ..Outgoing::default() }, &delivery).unwrap();
            });
            assert_eq!(read.unwrap(), Some(Offset(offset)));
            queues.pop();
        }
        queue.seek(Offset(5)).unwrap();
        assert_eq!(to_the_end(&mut *queue).await.unwrap(), (5..20).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_out_of_range_is_an_error_and_a_seek_recovers_from_it() {
    for cluster in various().await {
        for (number, outside, start, count) in [(2, 299, 300, 200), (2, 501, 490, 10), (1, 1, 0, 0), (3, 0, 10, 0)] {
            let mut queue = tail(&cluster, &[(number, StartAt::Offset(Offset(outside)))]).await.remove(0);
            let error = to_the_end(&mut *queue).await.unwrap_err();
            assert_eq!(error.kind, TransportErrorKind::OffsetOutOfRange, "{error}");
            queue.seek(Offset(start)).unwrap();
            assert_eq!(to_the_end(&mut *queue).await.unwrap().len(), count);
        }
    }
}
