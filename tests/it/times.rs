//! Event times over librdkafka: those that Kafka refuses or changes, and stream times of a release without a limit.

use faust::prelude::*;

use crate::harness::{Cluster, Message};

const HOUR: i64 = 60 * 60 * 1000;
/// The first millisecond of the year 2100.
const YEAR_2100: i64 = 4_102_444_800_000;

#[record(timestamp = at)]
struct Reading {
    sensor: String,
    at: i64,
}

fn readings(times: &[i64]) -> Vec<Message> {
    times.iter().map(|at| Message::of(format!(r#"{{"sensor":"a","at":{at}}}"#))).collect()
}

/// Sends the time of every event and the number of its headers, behind a topic and without the record's field.
#[agent(topic = "ti-readings")]
async fn timing(readings: Stream<Reading>, #[topic("ti-times")] out: Topic<String, (i64, usize)>) -> Result<()> {
    let mut sensors = readings.group_by("sensor", |reading| reading.sensor.clone()).map(|reading| reading.sensor);
    while let Some(event) = sensors.next_event().await {
        out.send(event.key(), &(event.timestamp().0, event.headers().len())).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_event_time_passes_a_group_by_unchanged() {
    let cluster = Cluster::start().await;
    cluster.create("ti-readings", 1).await;
    cluster.create("ti-times", 1).await;
    let now = Timestamp::now().0;
    let times = [now - 1, 1, 0, -1, -2, i64::MIN, now + 2 * HOUR, YEAR_2100, i64::MAX, now - HOUR];
    cluster.produce("ti-readings", readings(&times)).await;
    let worker = cluster.run(cluster.app("ti-group").only::<timing>()).await;
    let read = cluster.read_count("ti-times", times.len()).await;
    worker.stop().await.unwrap();
    let read: Vec<_> = read.iter().map(Message::text).collect();
    assert_eq!(read, times.map(|at| format!("[{at},0]")));
}

#[agent(topic = "ti-windows")]
async fn windowed(
    mut readings: Stream<Reading>,
    #[table(window = tumbling("10s"), expires = "10s")] counts: WindowedTable<String, u64>,
) {
    while let Some(reading) = readings.next().await {
        counts.update(&reading.sensor, |count| *count += 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committed_stream_time_of_the_year_2100_makes_no_event_late() {
    let cluster = Cluster::start().await;
    cluster.create("ti-windows", 1).await;
    let app = || cluster.app("ti-windows").only::<windowed>();
    let now = Timestamp::now().0;
    // A worker that does not limit stream time, like those of earlier releases.
    let worker = cluster.run(app().setting("stream_time_max_ahead", "36500d")).await;
    cluster.produce("ti-windows", readings(&[YEAR_2100, now])).await;
    cluster.wait_done(&cluster.id("ti-windows"), "ti-windows", 2).await;
    assert_eq!(worker.status().counts.late_events, 1);
    worker.stop().await.unwrap();
    drop(worker);

    let worker = cluster.run(app()).await;
    cluster.produce("ti-windows", readings(&[now, now + 1])).await;
    cluster.wait_done(&cluster.id("ti-windows"), "ti-windows", 4).await;
    let counts = worker.status().counts;
    worker.stop().await.unwrap();
    assert_eq!((counts.late_events, counts.events_ahead), (0, 0));
}
