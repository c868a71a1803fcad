//! Event times that cannot be read.

use faust::AppBuilder;
use faust::prelude::*;
use faust::testing::{TestDriver, WorkerId};

/// Starts one worker on one partition.
fn start(app: AppBuilder) -> (TestDriver, WorkerId) {
    let mut driver = TestDriver::new(app.setting("topic_partitions", 1)).unwrap();
    let worker = driver.start_worker().unwrap();
    (driver, worker)
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
