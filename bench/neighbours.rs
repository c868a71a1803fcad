//! The worker of `bench/neighbours`: a fast agent, and one beside it on the same topic that takes a minute for an event.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use faust::prelude::*;
use faust_bench::{BoxError, finish, run_worker};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

const USAGE: &str =
    "usage: bench-neighbours APP TOPIC alone|awaits|blocks   runs a worker; prints a line of JSON every 100 ms";
const REPORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(60);
/// The partition in which `blocks` blocks its thread.
const BLOCKED: i32 = 0;

/// Events of the fast agent in the blocked partition, and in the others.
static EVENTS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

#[record]
struct Visit {
    email: String,
    uri: String,
}

/// Counts by page.
#[agent]
async fn fast(mut visits: Stream<Visit, String>, #[table] totals: Table<String, i64>) -> Result<()> {
    while let Some(event) = visits.next_event().await {
        totals.update(event.key(), |count| *count += 1);
        EVENTS[usize::from(event.partition() != BLOCKED)].fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Awaits for a minute in each event.
#[agent]
async fn awaits(mut visits: Stream<Visit, String>) -> Result<()> {
    while visits.next_event().await.is_some() {
        tokio::time::sleep(LONG).await;
    }
    Ok(())
}

/// Blocks its thread for a minute in each event of one partition.
#[agent]
async fn blocks(mut visits: Stream<Visit, String>) -> Result<()> {
    while let Some(event) = visits.next_event().await {
        if event.partition() == BLOCKED {
            std::thread::sleep(LONG);
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let app =
        |name: &str, topic: &'static str| App::new(name).only::<fast>().agent_with::<fast>(|agent| agent.topic(topic));
    // The name lives as long as the process.
    let topic = |name: &str| -> &'static str { Box::leak(name.to_owned().into_boxed_str()) };
    let done = match arguments[..] {
        [name, of, "alone"] => work(app(name, topic(of))),
        [name, of, "awaits"] => work(app(name, topic(of)).agent_with::<awaits>(|agent| agent.topic(topic(of)))),
        [name, of, "blocks"] => work(app(name, topic(of)).agent_with::<blocks>(|agent| agent.topic(topic(of)))),
        _ => Err(USAGE.into()),
    };
    finish("bench-neighbours", done.map(|()| String::new()))
}

/// Runs the worker until Ctrl-C.
fn work(app: faust::AppBuilder) -> Result<(), BoxError> {
    run_worker(app, REPORT, report)
}

#[allow(clippy::print_stdout, reason = "the output is read by `bench/neighbours`")]
fn report(status: &faust::Status) {
    let [blocked, others] = EVENTS.each_ref().map(|events| events.load(Ordering::Relaxed));
    println!("{}", json!({ "blocked": blocked, "others": others, "commits": status.counts.commits }));
}
