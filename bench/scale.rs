//! The worker of `bench/scale`: a table and a window for each partition, with reports of its pauses.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use faust::prelude::*;
use faust_bench::{BoxError, finish, run_worker};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

const USAGE: &str = "usage: bench-scale APP TOPIC   runs a worker; prints a line of JSON every 50 ms";
const REPORT: Duration = Duration::from_millis(50);

/// Microseconds from the start of the process to the last event of any partition.
static LAST: AtomicU64 = AtomicU64::new(0);
/// The longest time without an event since the last report, in microseconds.
static PAUSE: AtomicU64 = AtomicU64::new(0);
static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

#[record]
struct Visit {
    email: String,
    uri: String,
}

/// Counts by page, and by page and window.
#[agent]
async fn count(
    mut visits: Stream<Visit, String>,
    #[table] totals: Table<String, i64>,
    #[table(window = tumbling("10s"), expires = "30s")] counts: WindowedTable<String, i64>,
) -> Result<()> {
    while let Some(event) = visits.next_event().await {
        totals.update(event.key(), |count| *count += 1);
        counts.update(event.key(), |count| *count += 1);
        note_event();
    }
    Ok(())
}

fn note_event() {
    let now = micros();
    let before = LAST.swap(now, Ordering::Relaxed);
    if before > 0 {
        PAUSE.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
    }
}

fn micros() -> u64 {
    u64::try_from(BEGAN.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn main() -> ExitCode {
    let _ = micros();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [app, topic] => work(app, topic).map(|()| String::new()),
        _ => Err(USAGE.into()),
    };
    finish("bench-scale", done)
}

/// Runs the worker until Ctrl-C.
fn work(app: &str, topic: &str) -> Result<(), BoxError> {
    let app = App::new(app).agent_with::<count>(|options| options.topic(topic));
    run_worker(app, REPORT, report)
}

#[allow(clippy::print_stdout, reason = "the output is read by `bench/scale`")]
fn report(status: &faust::Status) {
    // A pause that has not ended counts, too.
    let last = LAST.load(Ordering::Relaxed);
    let open = if last > 0 { micros().saturating_sub(last) } else { 0 };
    println!(
        "{}",
        json!({
            "at": micros(),
            "ready": status.ready,
            "assigned": status.assignment.len(),
            "restoring": status.restoring,
            "events": status.counts.events,
            "resumed": status.counts.tasks_resumed,
            "pause": PAUSE.swap(0, Ordering::Relaxed).max(open),
        })
    );
}
