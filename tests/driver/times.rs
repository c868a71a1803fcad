//! Event times that Kafka would refuse or change, that are ahead of the clock, or that cannot be read.

use std::time::Duration;

use faust::prelude::*;
use faust::testing::{TestDriver, TestMessage, WorkerId};
use faust::transport::{Admin, NewTopic};
use faust::{AppBuilder, EVENT_TIME, WindowSpec};

const HOUR: i64 = 60 * 60 * 1000;
/// The first millisecond of the year 2100.
const YEAR_2100: i64 = 4_102_444_800_000;

/// Starts one worker on one partition.
fn start(app: AppBuilder) -> (TestDriver, WorkerId) {
    let mut driver = TestDriver::new(app.setting("topic_partitions", 1)).unwrap();
    let worker = driver.start_worker().unwrap();
    (driver, worker)
}

/// Starts one worker. The topic exists with these configurations, and one partition.
fn start_beside(app: AppBuilder, topic: &str, configs: &[(&str, &str)]) -> (TestDriver, WorkerId) {
    let mut driver = TestDriver::new(app.setting("topic_partitions", 1)).unwrap();
    create(&driver, topic, configs);
    let worker = driver.start_worker().unwrap();
    (driver, worker)
}

fn create(driver: &TestDriver, topic: &str, configs: &[(&str, &str)]) {
    let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let topic = NewTopic { name: topic.to_owned(), partitions: 1, replication: 1, configs };
    futures_util::FutureExt::now_or_never(driver.cluster().create(vec![topic])).unwrap().unwrap();
}

fn error(driver: &mut TestDriver, worker: WorkerId) -> String {
    match driver.ended(worker) {
        Some(Err(error)) => error.to_string(),
        other => panic!("the worker has not failed: {other:?}"),
    }
}

/// The number of events ahead of the clock, of late events and of closed windows.
fn counts(driver: &TestDriver, worker: WorkerId) -> (u64, u64, u64) {
    let counts = driver.status(worker).unwrap().counts;
    (counts.events_ahead, counts.late_events, counts.windows_closed)
}

#[record(timestamp = at)]
struct Reading {
    sensor: String,
    at: i64,
}

fn reading(at: i64) -> Reading {
    Reading { sensor: "a".to_owned(), at }
}

fn send(driver: &mut TestDriver, times: &[i64]) {
    let now = driver.now();
    for at in times {
        driver.send_with("readings", &RawKey::NONE, &reading(*at), |m| m.timestamp(now).header("trace", "t")).unwrap();
    }
    driver.run_until_idle();
}

/// Sends the time and the names of the headers of every event, behind two topics and without the record's field.
#[agent(topic = "readings")]
async fn timing(readings: Stream<Reading>, #[topic("times")] out: Topic<String, (i64, Vec<String>)>) -> Result<()> {
    let mut sensors =
        readings.group_by("sensor", |reading| reading.sensor.clone()).map(|reading| reading.sensor).through("sensors");
    while let Some(event) = sensors.next_event().await {
        let names = event.headers().iter().map(|(name, _)| name.to_owned()).collect();
        out.send(event.key(), &(event.timestamp().0, names)).await?;
    }
    Ok(())
}

/// Configurations of topics, and the times before and after the clock that their timestamps can carry.
type Case = (&'static [(&'static str, &'static str)], Option<(i64, i64)>);

#[test]
fn any_event_time_passes_a_group_by_unchanged() {
    const BOUNDS: &[(&str, &str)] =
        &[("message.timestamp.before.max.ms", "3600000"), ("message.timestamp.after.max.ms", "60000")];
    let cases: [Case; 4] = [
        // The topics are created by the worker, or with Kafka's defaults.
        (&[], Some((i64::MAX, HOUR / 2))),
        (&[("cleanup.policy", "delete")], Some((i64::MAX, HOUR / 2))),
        (BOUNDS, Some((HOUR / 2, 30_000))),
        (&[("message.timestamp.type", "LogAppendTime")], None),
    ];
    for (configs, carries) in cases {
        let app = App::new("times").only::<timing>().setting("topic_partitions", 1);
        let mut driver = TestDriver::new(app.setting("repartition_purge_interval", "1d")).unwrap();
        let topics = ["times-timing-sensor-repartition", "sensors"];
        topics.iter().filter(|_| !configs.is_empty()).for_each(|topic| create(&driver, topic, configs));
        let worker = driver.start_worker().unwrap();
        let now = driver.now().0;
        let near = [now, now + 1, now + HOUR / 2, now + HOUR / 2 + 1, now + 2 * HOUR, now - HOUR / 2, now - HOUR];
        let times = [&near[..], &[1, 0, -1, i64::MIN, YEAR_2100, i64::MAX]].concat();
        send(&mut driver, &times);
        driver.advance(Duration::from_secs(30));
        assert!(driver.ended(worker).is_none());
        let read = driver.read::<String, (i64, Vec<String>)>("times").unwrap();
        let expected: Vec<_> = times.iter().map(|at| ("a".to_owned(), (*at, vec!["trace".to_owned()]))).collect();
        assert_eq!(read, expected);
        for topic in topics {
            let carried = |m: &TestMessage| m.headers.get(EVENT_TIME).is_some();
            let carried: Vec<_> = driver.messages(topic).unwrap().iter().map(carried).collect();
            let is_kept = |at: i64| {
                carries.is_some_and(|(before, after)| at > 0 && at >= now.saturating_sub(before) && at <= now + after)
            };
            let expected: Vec<_> = times.iter().map(|at| !is_kept(*at)).collect();
            assert_eq!(carried, expected, "{topic} {configs:?}: ordinary times need no header");
        }
    }
}

#[agent(topic = "readings")]
async fn windowed(
    readings: Stream<Reading>,
    #[table(window = tumbling("10s"), expires = "10s")] counts: WindowedTable<String, u64>,
) -> Result<()> {
    let mut readings = readings.group_by("sensor", |reading| reading.sensor.clone());
    while let Some(event) = readings.next_event().await {
        counts.update(event.key(), |count| *count += 1);
    }
    Ok(())
}

#[test]
fn an_event_of_the_year_2100_makes_no_later_event_late() {
    let (mut driver, worker) = start(App::new("times").only::<windowed>());
    let now = driver.now().0;
    // The window of the first event closes with the last one.
    send(&mut driver, &[now, YEAR_2100, i64::MAX, i64::MIN, now + 1, now + 30_000]);
    let future = WindowSpec::tumbling(Duration::from_secs(10)).unwrap().current(Timestamp(YEAR_2100));
    let table = driver.windowed_table::<String, u64>("counts").unwrap();
    assert_eq!(table.find("a", future), Some(1), "it is counted in its own window");
    // Both stages hold two events back. The one of 292 million years ago is late.
    assert_eq!(counts(&driver, worker), (4, 1, 1));
    driver.commit();
    driver.crash(worker);
    driver.advance(Duration::from_secs(60));
    let worker = driver.start_worker().unwrap();
    send(&mut driver, &[now + 30_001, now + 60_000]);
    assert_eq!(counts(&driver, worker), (0, 0, 1), "the committed stream time is that of the events before");
}

#[test]
fn windows_close_if_all_events_are_ahead_of_the_clock() {
    let (mut driver, worker) = start(App::new("times").only::<windowed>().setting("stream_time_max_ahead", "10s"));
    for _ in 0..12 {
        let ahead = driver.now().0 + 20_000;
        send(&mut driver, &[ahead]);
        driver.advance(Duration::from_secs(10));
    }
    let (ahead, late, closed) = counts(&driver, worker);
    assert_eq!((ahead, late), (24, 0));
    assert!(closed >= 8, "{closed} of 12 windows are closed");
}

#[test]
fn the_setting_moves_the_limit_of_stream_time() {
    let (mut driver, worker) = start(App::new("times").only::<windowed>().setting("stream_time_max_ahead", "3h"));
    let now = driver.now().0;
    send(&mut driver, &[now, now + 2 * HOUR, now + 1]);
    assert_eq!(counts(&driver, worker), (0, 1, 1));
}

#[agent(topic = "readings")]
async fn batched(
    readings: Stream<Reading>,
    #[table(window = tumbling("10s"), expires = "10s")] batches: WindowedTable<String, u64>,
) -> Result<()> {
    let mut readings = readings.take(3, Duration::from_secs(1));
    while let Some(batch) = readings.next_events().await {
        for event in &batch {
            batches.at(event).update(&event.value().sensor, |count| *count += 1);
        }
    }
    Ok(())
}

#[test]
fn stream_time_follows_the_other_events_of_a_batch() {
    let (mut driver, worker) = start(App::new("times").only::<batched>());
    let now = driver.now().0;
    send(
        &mut driver,
        &[now, YEAR_2100, now + 1, now + 30_000, YEAR_2100, now + 30_001, now + 2, now + 30_002, now + 3],
    );
    assert_eq!(counts(&driver, worker), (2, 2, 1), "the window of the first batch is closed by the second");
}

/// Sends every reading on with its own time. A failure is reported instead.
#[agent(topic = "readings")]
async fn sending(
    mut readings: Stream<Reading>,
    #[topic("sent")] out: Topic<RawKey, Reading>,
    #[topic("failed")] failed: Topic<RawKey, String>,
) -> Result<()> {
    while let Some(reading) = readings.next().await {
        if let Err(error) = out.send(&RawKey::NONE, &reading).await {
            failed.send(&RawKey::NONE, &error.to_string()).await?;
        }
    }
    Ok(())
}

#[test]
fn a_timestamp_that_a_topic_does_not_accept_fails_the_send() {
    let app = App::new("times").only::<sending>();
    let (mut driver, worker) = start_beside(app, "sent", &[("message.timestamp.after.max.ms", "3600000")]);
    let now = driver.now().0;
    let refused = [0, -1, i64::MIN, now + HOUR + 1, i64::MAX];
    send(&mut driver, &[now, now + HOUR, 1]);
    send(&mut driver, &refused);
    let sent: Vec<_> = driver.messages("sent").unwrap().iter().map(|message| message.timestamp.0).collect();
    assert_eq!(sent, [now, now + HOUR, 1], "accepted timestamps are sent unchanged");
    let failed = driver.read::<RawKey, String>("failed").unwrap();
    assert_eq!(failed.len(), refused.len());
    for ((_, error), at) in failed.iter().zip(refused) {
        let limit = if at > now { "(`message.timestamp.after.max.ms` is 1h)" } else { "is not after 1970-01-01" };
        let parts = ["sending to `sent`", &format!("timestamp {at}"), limit, "`on_timestamp_error`", EVENT_TIME];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    assert_eq!(driver.status(worker).unwrap().counts.timestamps_replaced, 0);
}

#[test]
fn the_limits_of_a_topic_are_those_of_its_configuration() {
    let limits = [("message.timestamp.before.max.ms", "3600000"), ("message.timestamp.after.max.ms", "86400000")];
    let (mut driver, _) = start_beside(App::new("times").only::<sending>(), "sent", &limits);
    let now = driver.now().0;
    let times = [now - HOUR, now - HOUR - 1, now + 24 * HOUR, now + 24 * HOUR + 1];
    send(&mut driver, &times);
    let sent: Vec<_> = driver.messages("sent").unwrap().iter().map(|message| message.timestamp.0).collect();
    assert_eq!(sent, [now - HOUR, now + 24 * HOUR]);
    let failed = driver.read::<RawKey, String>("failed").unwrap();
    assert_eq!(failed.len(), 2);
    for ((_, error), part) in failed.iter().zip(["`message.timestamp.before.max.ms` is 1h", "after.max.ms` is 1d"]) {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_timestamp_can_be_replaced_and_is_kept_in_a_header() {
    let app = App::new("times").only::<sending>().setting("on_timestamp_error", "replace");
    let (mut driver, worker) = start_beside(app, "sent", &[("message.timestamp.after.max.ms", "3600000")]);
    let now = driver.now().0;
    let times = [now, 0, -1, now + HOUR, now + HOUR + 1];
    send(&mut driver, &times);
    let carried = |m: &TestMessage| Some(i64::from_be_bytes(m.headers.get(EVENT_TIME)?.try_into().unwrap()));
    let sent: Vec<_> = driver.messages("sent").unwrap().iter().map(|m| (m.timestamp.0, carried(m))).collect();
    let replaced = |at| (now, Some(at));
    assert_eq!(sent, [(now, None), replaced(0), replaced(-1), (now + HOUR, None), replaced(now + HOUR + 1)]);
    assert_eq!(driver.status(worker).unwrap().counts.timestamps_replaced, 3);
}

#[test]
fn a_topic_with_the_broker_s_timestamps_accepts_all() {
    let append_time = [("message.timestamp.type", "LogAppendTime")];
    let (mut driver, _) = start_beside(App::new("times").only::<sending>(), "sent", &append_time);
    let now = driver.now().0;
    send(&mut driver, &[now - HOUR, 0, YEAR_2100]);
    let sent = driver.messages("sent").unwrap();
    assert_eq!(sent.iter().map(|m| (m.timestamp.0, m.headers.len())).collect::<Vec<_>>(), [(now, 0); 3]);
}

#[test]
fn a_topic_that_the_worker_creates_accepts_all_times_after_1970() {
    for policy in ["fail", "replace"] {
        let app = App::new("times").only::<sending>().setting("on_timestamp_error", policy);
        let (mut driver, worker) = start(app);
        let times = [1, YEAR_2100, i64::MAX];
        send(&mut driver, &times);
        let sent: Vec<_> = driver.messages("sent").unwrap().iter().map(|message| message.timestamp.0).collect();
        assert_eq!(sent, times);
        assert_eq!(driver.status(worker).unwrap().counts.timestamps_replaced, 0);
    }
}

/// Passes every reading on through the operator and the sink.
#[agent(topic = "readings", sink = "copies")]
async fn copying(reading: Reading) -> Reading {
    reading
}

#[test]
fn a_worker_stops_with_the_reason_if_a_sink_does_not_accept_a_timestamp() {
    let (mut driver, worker) = start(App::new("times").only::<copying>().setting("agent_failure", "stop"));
    send(&mut driver, &[0]);
    driver.advance(Duration::from_secs(60));
    let error = error(&mut driver, worker);
    assert!(error.contains("sending to `copies`") && error.contains("`on_timestamp_error`"), "{error}");
}

#[record(timestamp = at)]
struct Log {
    #[serde(rename = "@time")]
    at: Option<String>,
    count: u64,
}

#[record(timestamp = millis)]
struct Tick {
    millis: u64,
}

#[agent(topic = "logs")]
async fn logging(mut logs: Stream<Log>, #[topic("times")] out: Topic<RawKey, i64>) -> Result<()> {
    while let Some(event) = logs.next_event().await {
        out.send(&RawKey::NONE, &event.timestamp().0).await?;
    }
    Ok(())
}

#[test]
fn a_time_that_cannot_be_read_is_a_decode_error() {
    let (mut driver, worker) = start(App::new("times").only::<logging>());
    let now = driver.now().0;
    for text in [r#"{"@time":"1970-01-01T00:00:01Z","count":1}"#, r#"{"@time":"noon","count":1}"#, r#"{"count":1}"#] {
        let bytes: serde_json::Value = serde_json::from_str(text).unwrap();
        driver.send("logs", &RawKey::NONE, &bytes).unwrap();
    }
    driver.run_until_idle();
    let times: Vec<_> = driver.read::<RawKey, i64>("times").unwrap().into_iter().map(|(_, time)| time).collect();
    assert_eq!(times, [1000, now], "an absent field stands for the time of the message");
    let letters = driver.messages("times-dead-letter").unwrap();
    let reasons: Vec<_> = letters.iter().map(|letter| letter.headers.get_str("faust-error").unwrap()).collect();
    assert_eq!(reasons, ["value: @time: expected a time like `2026-11-28T12:00:00Z`, found \"noon\""]);
    assert_eq!(driver.status(worker).unwrap().counts.dead_letters, 1);
}

#[test]
fn a_record_with_an_unreadable_time_cannot_be_sent() {
    let (mut driver, _) = start(App::new("times").only::<logging>());
    let error = driver.send("logs", &RawKey::NONE, &Tick { millis: u64::MAX }).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot encode the timestamp for topic `logs`: millis: 18446744073709551615 milliseconds are out of range"
    );
    let at = |millis: u64| Tick { millis };
    driver.send_with("logs", &RawKey::NONE, &at(u64::MAX), |message| message.timestamp(Timestamp(1))).unwrap();
}

#[test]
fn a_dead_letter_keeps_its_time() {
    let (mut driver, _) = start(App::new("times").only::<logging>());
    let now = driver.now().0;
    for at in [now - HOUR, now + HOUR] {
        driver.send_with("logs", &RawKey::NONE, &1i64, |message| message.timestamp(Timestamp(at))).unwrap();
    }
    driver.run_until_idle();
    let letters = driver.messages("times-dead-letter").unwrap();
    let carried: Vec<_> = letters.iter().map(|m| (m.timestamp.0, m.headers.get(EVENT_TIME))).collect();
    assert_eq!(carried, [(now - HOUR, None), (now, Some(&(now + HOUR).to_be_bytes()[..]))]);
}

#[agent(topic = "readings")]
async fn numbering(readings: Stream<Reading>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    let mut readings = readings.group_by("sensor", |reading| reading.sensor.clone());
    while let Some(reading) = readings.next().await {
        out.send(&RawKey::NONE, &reading.at).await?;
    }
    Ok(())
}

#[test]
fn an_event_ahead_of_the_clock_does_not_stop_the_worker() {
    let (mut driver, worker) = start(App::new("times").only::<numbering>());
    let now = driver.now().0;
    let times = [now, now + 2 * HOUR, now + 1];
    send(&mut driver, &times);
    driver.advance(Duration::from_secs(30));
    assert!(driver.ended(worker).is_none());
    let out: Vec<_> = driver.read::<RawKey, i64>("out").unwrap().into_iter().map(|(_, at)| at).collect();
    assert_eq!(out, times);
}
