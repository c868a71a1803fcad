//! The programs used by `bench/soak`: a feeder that always sends new keys, and a worker that counts them in windows.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use faust::prelude::*;
use faust_bench::{BoxError, Click, run_worker, send};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

const USAGE: &str = "usage: bench-soak COMMAND
  feed BOOTSTRAP TOPIC RATE   sends RATE clicks per second, exactly two for each page
  work TOPIC                  counts them by page and window of ten seconds; prints a line of JSON every five seconds";

/// Interval at which the feeder sends.
const BEAT: Duration = Duration::from_millis(10);
const REPORT: Duration = Duration::from_secs(5);

#[record]
struct Visit {
    email: String,
    uri: String,
}

/// Counts by page and window.
#[agent]
async fn count(
    mut visits: Stream<Visit, String>,
    #[table(window = tumbling("10s"), expires = "30s")] counts: WindowedTable<String, i64>,
) -> Result<()> {
    while let Some(event) = visits.next_event().await {
        counts.update(event.key(), |count| *count += 1);
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["feed", bootstrap, topic, rate] => feed(bootstrap, topic, rate),
        ["work", topic] => work(topic),
        _ => Err(USAGE.into()),
    };
    finish(done)
}

/// Sends clicks until the process is killed.
fn feed(bootstrap: &str, topic: &str, rate: &str) -> Result<(), BoxError> {
    let rate: f64 = rate.parse()?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("partitioner", "murmur2_random").set("linger.ms", "5");
    let producer: BaseProducer = config.create()?;
    let (began, mut index) = (Instant::now(), 0);
    loop {
        // The number of clicks due is computed from the total elapsed time, so that a delayed beat is compensated.
        let due = (began.elapsed().as_secs_f64() * rate) as u64;
        while index < due {
            let click = Click::on_page(index, index / 2);
            let payload = serde_json::to_vec(&click)?;
            send(&producer, BaseRecord::to(topic).key(&click.uri).payload(&payload))?;
            index += 1;
        }
        producer.poll(BEAT);
        std::thread::sleep(BEAT);
    }
}

/// Runs the worker until Ctrl-C.
fn work(topic: &str) -> Result<(), BoxError> {
    let app = App::new("soak").agent_with::<count>(|options| options.topic(topic));
    run_worker(app, REPORT, report)
}

#[allow(clippy::print_stdout, reason = "the output is read by `bench/soak`")]
fn report(status: &faust::Status) {
    let counts = &status.counts;
    println!(
        "{}",
        json!({
            "events": counts.events,
            "windows_closed": counts.windows_closed,
            "late": counts.late_events,
            "commits": counts.commits,
            "backlog": status.state_backlog,
            "memory": status.state_memory,
        })
    );
}

#[allow(clippy::print_stderr, reason = "a program for the terminal")]
fn finish(done: Result<(), BoxError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-soak: {error}");
            ExitCode::FAILURE
        }
    }
}
