//! The reference of the table workloads: counting, written by hand for speed, in one thread.
//!
//! It uses `BaseConsumer::poll`, `from_utf8` and `from_str` into the struct, and std's `HashMap`: no changelog, no store, no
//! commits. The librdkafka settings and the allocator are those of the framework.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use faust_bench::{
    BoxError, Click, Measured, Meter, Tally, Usage, WINDOW_MS, assign, consumer_settings, finish, to_the_ends,
};
use rdkafka::Message;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

const USAGE: &str = "usage: bench-loop-tables BOOTSTRAP COMMAND
  keyed TOPIC EVENTS      counts EVENTS events by key
  tumbling TOPIC EVENTS   counts EVENTS events by key and window of ten seconds
  restore CHANGELOG       reads a changelog of counts to its end";

/// Delay before the first event, in which librdkafka prefetches messages.
const READ_AHEAD: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [bootstrap, "keyed", topic, events] => keyed(bootstrap, topic, events),
        [bootstrap, "tumbling", topic, events] => tumbling(bootstrap, topic, events),
        [bootstrap, "restore", changelog] => restore(bootstrap, changelog),
        _ => Err(USAGE.into()),
    };
    finish("bench-loop-tables", done)
}

fn keyed(bootstrap: &str, topic: &str, events: &str) -> Result<Value, BoxError> {
    let mut counts: HashMap<String, i64> = HashMap::new();
    let measured = each_click(bootstrap, topic, events.parse()?, |key, _| match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => {
            counts.insert(key.to_owned(), 1);
        }
    })?;
    let usage = Usage::now()?;
    let mut tally = Tally::default();
    counts.iter().for_each(|(key, count)| tally.add(key.as_bytes(), 0, *count));
    Ok(report(measured, usage, tally))
}

fn tumbling(bootstrap: &str, topic: &str, events: &str) -> Result<Value, BoxError> {
    let mut counts: HashMap<(String, i64), i64> = HashMap::new();
    let measured = each_click(bootstrap, topic, events.parse()?, |key, time| {
        *counts.entry((key.to_owned(), time - time % WINDOW_MS)).or_default() += 1;
    })?;
    let usage = Usage::now()?;
    let mut tally = Tally::default();
    counts.iter().for_each(|((key, window), count)| tally.add(key.as_bytes(), *window, *count));
    Ok(report(measured, usage, tally))
}

/// Decodes `events` events and calls `count` with the key and timestamp of each.
fn each_click(
    bootstrap: &str,
    topic: &str,
    events: u64,
    mut count: impl FnMut(&str, i64),
) -> Result<Measured, BoxError> {
    let consumer: BaseConsumer = consumer_settings(bootstrap, "50").create()?;
    assign(&consumer, topic)?;
    // A worker opens its tables between its assignment and its first event, while librdkafka prefetches messages.
    std::thread::sleep(READ_AHEAD);
    let meter = Meter::new();
    let mut left = events;
    while left > 0 {
        let Some(message) = next(&consumer)? else { continue };
        meter.event(message.partition());
        let click: Click = serde_json::from_str(std::str::from_utf8(message.payload().unwrap_or_default())?)?;
        std::hint::black_box(&click);
        let time = message.timestamp().to_millis().ok_or("a message has no timestamp")?;
        count(std::str::from_utf8(message.key().unwrap_or_default())?, time);
        left -= 1;
    }
    meter.measured().ok_or_else(|| "no events".into())
}

fn restore(bootstrap: &str, changelog: &str) -> Result<Value, BoxError> {
    let consumer: BaseConsumer = consumer_settings(bootstrap, "10").create()?;
    let mut counts: HashMap<String, i64> = HashMap::new();
    let mut records = 0_u64;
    let began = Instant::now();
    let partitions = assign(&consumer, changelog)?;
    to_the_ends(&consumer, partitions, |message| {
        records += 1;
        let key = std::str::from_utf8(message.key().unwrap_or_default())?;
        match message.payload() {
            None => drop(counts.remove(key)),
            Some(value) => drop(counts.insert(key.to_owned(), std::str::from_utf8(value)?.parse()?)),
        }
        Ok(())
    })?;
    let took = began.elapsed();
    let usage = Usage::now()?;
    let mut tally = Tally::default();
    counts.iter().for_each(|(key, count)| tally.add(key.as_bytes(), 0, *count));
    Ok(json!({
        "records": records,
        "readable_s": took.as_secs_f64(),
        "cpu_s": usage.cpu_s,
        "peak_rss_mb": usage.peak_rss_mb,
        "tally": tally.to_json(),
    }))
}

fn next(consumer: &BaseConsumer) -> Result<Option<BorrowedMessage<'_>>, KafkaError> {
    match consumer.poll(Duration::from_millis(100)) {
        None | Some(Err(KafkaError::PartitionEOF(_))) => Ok(None),
        Some(message) => message.map(Some),
    }
}

fn report(measured: Measured, usage: Usage, tally: Tally) -> Value {
    json!({
        "processed_s": measured.took.as_secs_f64(),
        "max_stall_ms": measured.max_stall.as_secs_f64() * 1e3,
        "cpu_s": usage.cpu_s,
        "peak_rss_mb": usage.peak_rss_mb,
        "tally": tally.to_json(),
    })
}
