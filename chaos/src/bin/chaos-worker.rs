//! The program under test: a worker as users write it, whose outputs can be recomputed from its input.

use std::time::{SystemTime, UNIX_EPOCH};

use faust::prelude::*;

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

/// An output for one event of the input.
#[record]
struct Output {
    /// Offset of the event in the input.
    from: i64,
    /// The start of the agent that has sent it, see [`run_id`].
    run: u64,
    value: i64,
}

/// The count of a window that has closed.
#[record]
struct WindowCount {
    /// Start of the window in milliseconds since 1970.
    start: i64,
    count: i64,
}

/// The state of a group.
#[record]
#[derive(Default)]
struct Group {
    count: i64,
    sum: i64,
}

/// The state of a group after an event, as it is sent.
#[record]
struct GroupOutput {
    run: u64,
    count: i64,
    sum: i64,
}

/// Number of groups.
const GROUPS: i64 = 97;

/// Returns a number for one start of an agent on a partition: the time in microseconds, and the process. The outputs of one
/// start must be consecutive; another one begins again at an earlier event.
fn run_id() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (u64::try_from(now.as_micros()).unwrap_or_default() << 16) | u64::from(std::process::id() & 0xffff)
}

/// Copies each event.
#[agent(topic = "chaos.input")]
async fn echo(mut events: Stream<i64, String>, #[topic("chaos.echo")] out: Topic<String, Output>) -> Result<()> {
    let run = run_id();
    while let Some(event) = events.next_event().await {
        out.send(event.key(), &Output { from: event.offset().0, run, value: *event.value() }).await?;
    }
    Ok(())
}

/// Counts the events of each key.
#[agent(topic = "chaos.input")]
async fn count(
    mut events: Stream<i64, String>,
    counts: Table<String, i64>,
    #[topic("chaos.count")] out: Topic<String, Output>,
) -> Result<()> {
    let run = run_id();
    while let Some(event) = events.next_event().await {
        counts.update(event.key(), |count| *count += 1);
        let value = counts.get(event.key());
        out.send(event.key(), &Output { from: event.offset().0, run, value }).await?;
    }
    Ok(())
}

/// Adds up the values of each key.
#[agent(topic = "chaos.input")]
async fn sum(
    mut events: Stream<i64, String>,
    sums: Table<String, i64>,
    #[topic("chaos.sum")] out: Topic<String, Output>,
) -> Result<()> {
    let run = run_id();
    while let Some(event) = events.next_event().await {
        sums.update(event.key(), |sum| *sum += event.value());
        let value = sums.get(event.key());
        out.send(event.key(), &Output { from: event.offset().0, run, value }).await?;
    }
    Ok(())
}

/// Keeps the smallest value of each key.
#[agent(topic = "chaos.input")]
async fn min(
    mut events: Stream<i64, String>,
    minima: Table<String, i64>,
    #[topic("chaos.min")] out: Topic<String, Output>,
) -> Result<()> {
    let run = run_id();
    while let Some(event) = events.next_event().await {
        let value = minima.find(event.key()).map_or(*event.value(), |least| least.min(*event.value()));
        minima.set(event.key(), value);
        out.send(event.key(), &Output { from: event.offset().0, run, value }).await?;
    }
    Ok(())
}

/// Keeps the largest value of each key.
#[agent(topic = "chaos.input")]
async fn max(
    mut events: Stream<i64, String>,
    maxima: Table<String, i64>,
    #[topic("chaos.max")] out: Topic<String, Output>,
) -> Result<()> {
    let run = run_id();
    while let Some(event) = events.next_event().await {
        let value = maxima.find(event.key()).map_or(*event.value(), |most| most.max(*event.value()));
        maxima.set(event.key(), value);
        out.send(event.key(), &Output { from: event.offset().0, run, value }).await?;
    }
    Ok(())
}

/// Counts the events of each key in windows.
#[agent(topic = "chaos.input")]
async fn windows(
    mut events: Stream<i64, String>,
    #[table(window = tumbling("5s"), expires = "1s")] windowed: WindowedTable<String, i64>,
) {
    while let Some(event) = events.next_event().await {
        windowed.update(event.key(), |count| *count += 1);
    }
}

/// Sends the final count of each window.
#[window_close(table = "windowed")]
async fn closed(
    key: String,
    window: Window,
    count: i64,
    #[topic("chaos.windows")] out: Topic<String, WindowCount>,
) -> Result<()> {
    out.send(&key, &WindowCount { start: window.start().as_millis(), count }).await?;
    Ok(())
}

/// Counts the events of each group, and adds up their values, behind a repartition topic.
#[agent(topic = "chaos.input")]
async fn group(
    events: Stream<i64, String>,
    groups: Table<String, Group>,
    #[topic("chaos.groups")] out: Topic<String, GroupOutput>,
) -> Result<()> {
    let run = run_id();
    let mut events = events.group_by("by", |value| format!("g{}", value % GROUPS));
    while let Some(event) = events.next_event().await {
        let value = *event.value();
        let key = format!("g{}", value % GROUPS);
        groups.update(&key, |group| {
            group.count += 1;
            group.sum += value;
        });
        let Group { count, sum } = groups.get(&key);
        out.send(&key, &GroupOutput { run, count, sum }).await?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("chaos").main()
}
