//! The programs of `bench/rebalance`: a feeder of all partitions, a worker with a table, and a bare consumer of the same topic.
//!
//! The worker and the consumer print in which milliseconds each partition had an event, so that the pauses of a partition are
//! found across the processes that had it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use faust::prelude::*;
use faust_bench::{BoxError, client, finish, run_worker, send};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

const USAGE: &str = "usage: bench-rebalance COMMAND
  feed BOOTSTRAP TOPIC PARTITIONS MS   sends a message to each partition every MS milliseconds
  work APP TOPIC                       runs a worker with a table, with the settings of the environment
  read BOOTSTRAP TOPIC NAME=VALUE..    runs a consumer with these properties of librdkafka";

/// Interval of the reports. A process that is killed loses its last one.
const REPORT: Duration = Duration::from_millis(25);
/// Number of keys of each partition.
const KEYS: u64 = 50;

/// The milliseconds since the epoch in which a partition had an event, since the last report.
static SEEN: Mutex<BTreeMap<i32, Vec<u64>>> = Mutex::new(BTreeMap::new());

#[agent]
async fn count(mut numbers: Stream<i64, String>, #[table] totals: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        totals.update(event.key(), |count| *count += 1);
        note(event.partition());
    }
    Ok(())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

fn note(partition: i32) {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let times = seen.entry(partition).or_default();
    let now = now();
    if times.last() != Some(&now) {
        times.push(now);
    }
}

#[allow(clippy::print_stdout, reason = "the output is read by `bench/rebalance`")]
fn report(resumed: u64) {
    let seen = std::mem::take(&mut *SEEN.lock().unwrap_or_else(PoisonError::into_inner));
    println!("{}", json!({ "seen": seen, "resumed": resumed }));
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["feed", bootstrap, topic, partitions, every] => feed(bootstrap, topic, partitions, every),
        ["work", app, topic] => work(app, topic),
        ["read", bootstrap, topic, ref properties @ ..] => read(bootstrap, topic, properties),
        _ => Err(USAGE.into()),
    };
    finish("bench-rebalance", done.map(|()| String::new()))
}

/// Sends messages until the process is killed.
fn feed(bootstrap: &str, topic: &str, partitions: &str, every: &str) -> Result<(), BoxError> {
    let producer: BaseProducer = client(bootstrap).set("linger.ms", "1").create()?;
    let (partitions, every): (i32, _) = (partitions.parse()?, Duration::from_millis(every.parse()?));
    let mut due = Instant::now();
    for round in 0_u64.. {
        for partition in 0..partitions {
            let key = format!("p{partition}-{}", round % KEYS);
            send(&producer, BaseRecord::to(topic).partition(partition).key(&key).payload("1"))?;
        }
        producer.poll(Duration::ZERO);
        due += every;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Runs the worker until Ctrl-C.
fn work(app: &str, topic: &str) -> Result<(), BoxError> {
    let app = App::new(app).agent_with::<count>(|options| options.topic(topic));
    run_worker(app, REPORT, |status| report(status.counts.tasks_resumed))
}

/// Runs the consumer until Ctrl-C. It closes then, which leaves the group unless its membership is static.
fn read(bootstrap: &str, topic: &str, properties: &[&str]) -> Result<(), BoxError> {
    let mut config = client(bootstrap);
    for property in properties {
        let (name, value) = property.split_once('=').ok_or_else(|| format!("`{property}` is not NAME=VALUE"))?;
        config.set(name, value);
    }
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[topic])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let interrupted = runtime.spawn(tokio::signal::ctrl_c());
    let mut reported = Instant::now();
    while !interrupted.is_finished() {
        if let Some(Ok(message)) = consumer.poll(REPORT) {
            note(message.partition());
        }
        if reported.elapsed() >= REPORT {
            reported = Instant::now();
            report(0);
        }
    }
    Ok(())
}
