//! The program used by `bench/hops`: a worker whose last stage is behind some `group_by`s, and a feeder in the same process, so that
//! one clock measures the time from sending an event to its arrival at that stage.

use std::process::ExitCode;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use faust::prelude::*;
use faust_bench::{BoxError, finish, send};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

const USAGE: &str = "usage: bench-hops HOPS BOOTSTRAP TOPIC RATE EVENTS
  sends EVENTS events at RATE per second to TOPIC, and prints how long they took to the stage behind HOPS (0, 1 or 2) `group_by`s
Environment variables: FAUST_BROKER, FAUST_DATADIR, FAUST_STORE, FAUST_PROCESSING_GUARANTEE.";

/// Number of events that are sent first, and not measured.
const WARM_UP: usize = 400;
/// Maximum time for the arrival of an event.
const WITHIN: Duration = Duration::from_secs(60);
const KEYS: i64 = 1000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The latencies in microseconds, in the order of arrival.
static LATENCIES: Mutex<Vec<i64>> = Mutex::new(Vec::new());

fn now() -> i64 {
    i64::try_from(START.elapsed().as_micros()).unwrap_or(i64::MAX)
}

fn arrived(sent: i64) {
    LATENCIES.lock().unwrap_or_else(PoisonError::into_inner).push(now() - sent);
}

fn count() -> usize {
    LATENCIES.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// Counts the times of events by a key.
#[agent]
async fn none(mut times: Stream<i64, String>, counts: Table<i64, i64>) -> Result<()> {
    while let Some(sent) = times.next().await {
        arrived(sent);
        counts.update(&(sent % KEYS), |count| *count += 1);
    }
    Ok(())
}

/// Like [`none`], behind a `group_by`.
#[agent]
async fn one(times: Stream<i64, String>, counts: Table<i64, i64>) -> Result<()> {
    let mut times = times.group_by("one", |sent| sent % KEYS);
    while let Some(event) = times.next_event().await {
        arrived(*event.value());
        counts.update(event.key(), |count| *count += 1);
    }
    Ok(())
}

/// Like [`none`], behind two `group_by`s.
#[agent]
async fn two(times: Stream<i64, String>, counts: Table<i64, i64>) -> Result<()> {
    let mut times = times.group_by("one", |sent| sent / 7 % KEYS).group_by("two", |sent| sent % KEYS);
    while let Some(event) = times.next_event().await {
        arrived(*event.value());
        counts.update(event.key(), |count| *count += 1);
    }
    Ok(())
}

fn main() -> ExitCode {
    LazyLock::force(&START);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
    log.with_max_level(tracing_subscriber::filter::LevelFilter::WARN).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.map_err(BoxError::from).and_then(|runtime| runtime.block_on(run(&arguments)));
    finish("bench-hops", done)
}

async fn run(arguments: &[String]) -> Result<Value, BoxError> {
    let [hops, bootstrap, topic, rate, events] = arguments else { return Err(USAGE.into()) };
    let (rate, events): (f64, usize) = (rate.parse()?, events.parse()?);
    let app = App::new(topic.as_str()).from_process();
    let app = match hops.as_str() {
        "0" => app.only::<none>().agent_with::<none>(|options| options.topic(topic.as_str())),
        "1" => app.only::<one>().agent_with::<one>(|options| options.topic(topic.as_str())),
        "2" => app.only::<two>().agent_with::<two>(|options| options.topic(topic.as_str())),
        _ => return Err(USAGE.into()),
    };
    let worker = app.build()?.start().await?;
    let total = WARM_UP + events;
    let (bootstrap, topic) = (bootstrap.clone(), topic.clone());
    let feeder = std::thread::spawn(move || feed(&bootstrap, &topic, rate, total).map_err(|error| error.to_string()));
    let deadline = Instant::now() + Duration::from_secs_f64(total as f64 / rate) + WITHIN;
    while count() < total {
        if Instant::now() > deadline {
            return Err(format!("{} of {total} events arrived within {WITHIN:?}", count()).into());
        }
        tokio::select! {
            ended = worker.wait() => return Err(format!("the worker has ended: {ended:?}").into()),
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
    feeder.join().map_err(|_| "the feeder has panicked")??;
    worker.stop().await?;
    let mut latencies = LATENCIES.lock().unwrap_or_else(PoisonError::into_inner).split_off(WARM_UP);
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    Ok(json!({ "events": latencies.len(), "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99) }))
}

/// Sends the present time, again and again.
fn feed(bootstrap: &str, topic: &str, rate: f64, total: usize) -> Result<(), BoxError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("partitioner", "murmur2_random").set("linger.ms", "0");
    let producer: BaseProducer = config.create()?;
    let began = Instant::now();
    for index in 0..total {
        let due = began + Duration::from_secs_f64(index as f64 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let (key, payload) = (index.to_string(), now().to_string());
        send(&producer, BaseRecord::to(topic).key(&key).payload(payload.as_bytes()))?;
        producer.poll(Duration::ZERO);
    }
    producer.flush(WITHIN)?;
    Ok(())
}
