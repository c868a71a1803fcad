//! The table workloads in this framework: counting, as a user would write it, in a worker embedded in this program.
//!
//! The broker, the data directory and the store are set by the environment, as for every app. All other settings have their
//! defaults, except for the shutdown timeout, so that a store that lags behind can catch up.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use faust::prelude::*;
use faust::{Counts, RestoreListener, RestoreProgress, Status, Worker, WorkerOptions};
use faust_bench::{BoxError, Meter, Tally, Usage, finish};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

static METER: Meter = Meter::new();

const USAGE: &str = "usage: bench-ours-tables COMMAND
  keyed TOPIC EVENTS      counts EVENTS events by key
  tumbling TOPIC EVENTS   counts EVENTS events by key and window of ten seconds
  restore TOPIC           restores the counts of an earlier `keyed` with the same BENCH_RUN
Environment variables: BENCH_RUN (part of the app's name), FAUST_BROKER, FAUST_DATADIR, FAUST_STORE.";

/// Interval at which the status of the worker is polled.
const LOOK: Duration = Duration::from_millis(2);

#[record]
struct Click {
    email: String,
    timestamp: String,
    uri: String,
    number: i64,
}

/// Counts by key.
#[agent]
async fn keyed(mut clicks: Stream<Click, String>, counts: Table<String, i64>) -> Result<()> {
    while let Some(event) = clicks.next_event().await {
        METER.event(event.partition());
        counts.update(event.key(), |count| *count += 1);
    }
    Ok(())
}

/// Counts by key and window.
#[agent]
async fn tumbling(
    mut clicks: Stream<Click, String>,
    #[table(window = tumbling("10s"))] counts: WindowedTable<String, i64>,
) -> Result<()> {
    while let Some(event) = clicks.next_event().await {
        METER.event(event.partition());
        counts.update(event.key(), |count| *count += 1);
    }
    Ok(())
}

fn main() -> ExitCode {
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN);
    log.init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // The same runtime as that of an app's `main()`.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.map_err(BoxError::from).and_then(|runtime| runtime.block_on(run(&arguments)));
    finish("bench-ours-tables", done)
}

async fn run(arguments: &[&str]) -> Result<Value, BoxError> {
    let name = format!("bench-{}", std::env::var("BENCH_RUN").unwrap_or_default());
    let app = App::new(name).from_process().setting("shutdown_timeout", "10m");
    match *arguments {
        ["keyed", topic, events] => {
            let app = app.only::<keyed>().agent_with::<keyed>(|options| options.topic(topic)).build()?;
            count(&app.start().await?, events.parse()?).await
        }
        ["tumbling", topic, events] => {
            let app = app.only::<tumbling>().agent_with::<tumbling>(|options| options.topic(topic)).build()?;
            count(&app.start().await?, events.parse()?).await
        }
        ["restore", topic] => {
            restore(&app.only::<keyed>().agent_with::<keyed>(|options| options.topic(topic)).build()?).await
        }
        _ => Err(USAGE.into()),
    }
}

/// Waits until all events have been processed, then stops the worker, so that the last commit is not delayed.
async fn count(worker: &Worker, events: u64) -> Result<Value, BoxError> {
    until(worker, Duration::from_millis(5), |_| METER.seen() >= events).await?;
    let measured = METER.measured().ok_or("no events")?;
    let mut busy = Busy::new(worker.status());
    worker.begin_stop();
    until_ended(worker, |status| busy.look(status)).await?;
    if busy.status.state_backlog > 0 {
        return Err("the store has not caught up".into());
    }
    let usage = Usage::now()?;
    Ok(json!({
        "processed_s": measured.took.as_secs_f64(),
        "sustained_s": busy.last.duration_since(measured.first).max(measured.took).as_secs_f64(),
        "max_stall_ms": measured.max_stall.as_secs_f64() * 1e3,
        "cpu_s": usage.cpu_s,
        "peak_rss_mb": usage.peak_rss_mb,
    }))
}

/// Records the last time at which a worker committed, stored or had to store something.
struct Busy {
    last: Instant,
    status: Status,
}

impl Busy {
    fn new(status: Status) -> Self {
        Self { last: Instant::now(), status }
    }

    fn look(&mut self, status: Status) {
        let work = |counts: &Counts| (counts.commits, counts.changelog, counts.stored);
        if work(&status.counts) != work(&self.status.counts) || self.status.state_backlog > 0 {
            self.last = Instant::now();
        }
        self.status = status;
    }
}

/// Starts a worker without local data, and waits until the tables are readable and then until the store has caught up.
async fn restore(app: &App) -> Result<Value, BoxError> {
    let heard = Arc::new(Heard::default());
    let worker = app.start_with(WorkerOptions::default().restore_listener(Arc::<Heard>::clone(&heard))).await?;
    until(&worker, LOOK, |status| status.ready).await?;
    until(&worker, LOOK, |status| status.state_backlog == 0).await?;
    let (caught_up, stored) = (Instant::now(), worker.status().counts.stored);
    let usage = Usage::now()?;
    let (began, readable, records) = heard.so_far().ok_or("nothing was restored")?;
    let mut tally = Tally::default();
    for (key, count) in worker.table::<String, i64>("counts")?.iter()? {
        tally.add(key.as_bytes(), 0, count);
    }
    worker.stop().await?;
    if stored < tally.keys() {
        return Err(format!("the store has {stored} of {} entries", tally.keys()).into());
    }
    Ok(json!({
        "records": records,
        "readable_s": readable.duration_since(began).as_secs_f64(),
        "caught_up_s": caught_up.duration_since(began).as_secs_f64(),
        "cpu_s": usage.cpu_s,
        "peak_rss_mb": usage.peak_rss_mb,
        "tally": tally.to_json(),
    }))
}

/// The start and end times of restores, and the number of restored records.
#[derive(Default)]
struct Heard {
    began: Mutex<Vec<Instant>>,
    ended: Mutex<Vec<(Instant, u64)>>,
}

impl Heard {
    /// Returns the first start, the last end and the total number of records.
    fn so_far(&self) -> Option<(Instant, Instant, u64)> {
        let (began, ended) = (hold(&self.began), hold(&self.ended));
        let last = ended.iter().map(|(at, _)| *at).max()?;
        Some((*began.iter().min()?, last, ended.iter().map(|(_, records)| records).sum()))
    }
}

impl RestoreListener for Heard {
    fn started(&self, _: &RestoreProgress) {
        hold(&self.began).push(Instant::now());
    }

    fn ended(&self, progress: &RestoreProgress) {
        hold(&self.ended).push((Instant::now(), progress.records));
    }
}

fn hold<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Polls the status of the worker until `holds` returns true.
async fn until(worker: &Worker, every: Duration, mut holds: impl FnMut(&Status) -> bool) -> Result<(), BoxError> {
    let ended = worker.wait();
    tokio::pin!(ended);
    while !holds(&worker.status()) {
        tokio::select! {
            ended = &mut ended => return Err(ended.map_or_else(BoxError::from, |()| "the worker has ended".into())),
            () = tokio::time::sleep(every) => {}
        }
    }
    Ok(())
}

/// Waits until the worker has stopped, calling `look` with its status in the meantime.
async fn until_ended(worker: &Worker, mut look: impl FnMut(Status)) -> Result<(), BoxError> {
    let ended = worker.wait();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            ended = &mut ended => {
                look(worker.status());
                return Ok(ended?);
            }
            () = tokio::time::sleep(LOOK) => look(worker.status()),
        }
    }
}
