//! Creates, fills and deletes the topics of the table workloads, and summarizes the contents of changelogs.

use std::collections::HashMap;
use std::process::ExitCode;

use faust_bench::{
    BoxError, Click, Tally, WINDOW_MS, WITHIN, assign, client, consumer_settings, finish, mix, send, to_the_ends,
};
use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

const USAGE: &str = "usage: bench-keyed BOOTSTRAP COMMAND
  create TOPIC PARTITIONS [CONFIG=VALUE..]
  delete PREFIX              deletes all topics whose names start with PREFIX
  fill TOPIC EVENTS KEYS ORDER
                             sends clicks keyed by their URI, always the same for the same numbers. ORDER is `uniform`, or
                             `in-turn`: every key once, in shuffled order, then again. Prints the tally of their counts
  tally CHANGELOG keyed|tumbling
                             prints the tally of a changelog of counts";

/// Timestamp of the first event, a multiple of every window size. Each event is one millisecond after the previous one.
const EPOCH: i64 = 1_700_000_000_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [bootstrap, "create", topic, partitions, ref config @ ..] => create(bootstrap, topic, partitions, config),
        [bootstrap, "delete", prefix] => delete(bootstrap, prefix),
        [bootstrap, "fill", topic, events, keys, order] => {
            Order::named(order, events, keys).and_then(|order| fill(bootstrap, topic, order))
        }
        [bootstrap, "tally", changelog, "keyed"] => tally(bootstrap, changelog, |key| Ok((key, 0))),
        [bootstrap, "tally", changelog, "tumbling"] => tally(bootstrap, changelog, split_window),
        _ => Err(USAGE.into()),
    };
    finish("bench-keyed", done)
}

fn create(bootstrap: &str, topic: &str, partitions: &str, config: &[&str]) -> Result<Value, BoxError> {
    let mut new = NewTopic::new(topic, partitions.parse()?, TopicReplication::Fixed(1));
    for pair in config {
        let (name, value) = pair.split_once('=').ok_or(USAGE)?;
        new = new.set(name, value);
    }
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create()?;
    let created = wait(admin.create_topics([&new], &AdminOptions::new()))??;
    check(created)
}

fn delete(bootstrap: &str, prefix: &str) -> Result<Value, BoxError> {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create()?;
    let metadata = admin.inner().fetch_metadata(None, WITHIN)?;
    let names = metadata.topics().iter().map(|topic| topic.name());
    let names: Vec<_> = names.filter(|name| name.starts_with(prefix)).collect();
    if names.is_empty() {
        return Ok(json!({}));
    }
    let deleted = wait(admin.delete_topics(&names, &AdminOptions::new()))??;
    check(deleted)
}

fn check(results: Vec<rdkafka::admin::TopicResult>) -> Result<Value, BoxError> {
    for result in results {
        result.map_err(|(topic, error)| format!("topic `{topic}`: {error}"))?;
    }
    Ok(json!({}))
}

fn wait<T>(answer: impl Future<Output = T>) -> Result<T, BoxError> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?.block_on(answer))
}

/// The order of the keys of the events.
enum Order {
    Uniform { events: u64, keys: u64 },
    InTurn { events: u64, keys: Vec<u64> },
}

impl Order {
    fn named(order: &str, events: &str, keys: &str) -> Result<Self, BoxError> {
        let (events, keys) = (events.parse()?, keys.parse()?);
        match order {
            "uniform" => Ok(Self::Uniform { events, keys }),
            "in-turn" => Ok(Self::InTurn { events, keys: (0..keys).collect() }),
            _ => Err(USAGE.into()),
        }
    }

    /// Calls `event` with the index and the key of each event.
    fn each(self, mut event: impl FnMut(u64, u64) -> Result<(), BoxError>) -> Result<(), BoxError> {
        match self {
            Self::Uniform { events, keys } => (0..events).try_for_each(|index| event(index, mix(!index) % keys)),
            Self::InTurn { events, mut keys } => {
                let count = keys.len() as u64;
                for index in 0..events {
                    // A Fisher-Yates shuffle: each key of a turn is drawn from the remaining ones.
                    let turn = (index % count) as usize;
                    let drawn = turn as u64 + mix(!index) % (count - turn as u64);
                    keys.swap(turn, drawn as usize);
                    event(index, keys[turn])?;
                }
                Ok(())
            }
        }
    }
}

fn fill(bootstrap: &str, topic: &str, order: Order) -> Result<Value, BoxError> {
    let mut config = client(bootstrap);
    config.set("enable.idempotence", "true").set("linger.ms", "20").set("partitioner", "murmur2_random");
    let producer: BaseProducer = config.create()?;
    let mut counts: HashMap<(u64, i64), i64> = HashMap::new();
    order.each(|index, page| {
        let time = EPOCH + i64::try_from(index)?;
        *counts.entry((page, time - time % WINDOW_MS)).or_default() += 1;
        let click = Click::on_page(index, page);
        let payload = serde_json::to_vec(&click)?;
        send(&producer, BaseRecord::to(topic).key(&click.uri).payload(&payload).timestamp(time))
    })?;
    producer.flush(WITHIN)?;
    let (mut keyed, mut tumbling) = (Tally::default(), Tally::default());
    let mut totals: HashMap<u64, i64> = HashMap::new();
    for ((page, window), count) in counts {
        *totals.entry(page).or_default() += count;
        tumbling.add(Click::on_page(0, page).uri.as_bytes(), window, count);
    }
    totals.into_iter().for_each(|(page, count)| keyed.add(Click::on_page(0, page).uri.as_bytes(), 0, count));
    Ok(json!({ "keyed": keyed.to_json(), "tumbling": tumbling.to_json() }))
}

/// Splits a changelog's key into the table's key and the start of its window.
type Split = fn(&[u8]) -> Result<(&[u8], i64), BoxError>;

fn tally(bootstrap: &str, changelog: &str, split: Split) -> Result<Value, BoxError> {
    let consumer: BaseConsumer = consumer_settings(bootstrap, "10").create()?;
    let partitions = assign(&consumer, changelog)?;
    let mut counts: HashMap<Vec<u8>, i64> = HashMap::new();
    to_the_ends(&consumer, partitions, |message| {
        let key = message.key().unwrap_or_default();
        match message.payload() {
            None => drop(counts.remove(key)),
            Some(value) => drop(counts.insert(key.to_vec(), std::str::from_utf8(value)?.parse()?)),
        }
        Ok(())
    })?;
    let mut tally = Tally::default();
    for (key, count) in &counts {
        let (key, window) = split(key)?;
        tally.add(key, window, *count);
    }
    Ok(tally.to_json())
}

fn split_window(key: &[u8]) -> Result<(&[u8], i64), BoxError> {
    let (key, window) = faust::window::key::split_changelog_key(key).ok_or("a changelog key has no window")?;
    Ok((key, window.as_millis()))
}
