//! Event times over librdkafka: those that Kafka refuses or changes.

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
