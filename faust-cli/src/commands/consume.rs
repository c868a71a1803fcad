//! `consume TOPIC`: prints the messages of a topic, one per line.

use std::collections::BTreeSet;
use std::time::Duration;

use faust_core::app::AppBuilder;
use faust_core::message::{Offset, OwnedMessage};
use faust_core::time::parse_duration;
use faust_core::transport::{PROMPT, Read, StartAt, TopicPartition};
use faust_core::window::key::split_changelog_key;
use faust_core::window::{Window, WindowSpec};
use serde::Serialize;
use tokio::time::Instant;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

/// Interval at which the timeout is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time to read all partitions to their ends, in addition to the timeout.
const FIRST_READ: Duration = Duration::from_secs(10);

/// Options of `consume`.
#[derive(clap::Args, Debug)]
pub(crate) struct ConsumeArgs {
    /// Topic to read
    topic: String,
    /// Start with the oldest message instead of new messages only
    #[arg(long)]
    from_beginning: bool,
    /// Exit after this number of messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Print the key and a tab before each message; in the changelog of a windowed table, the window follows the key
    #[arg(long)]
    keys: bool,
    /// Exit when no message has arrived for this time; with -n and fewer messages, this is an error
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// A message as printed with `--json`.
#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: Offset,
    timestamp: i64,
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

pub(crate) async fn run(args: ConsumeArgs, mut context: Context) -> Result<(), Failure> {
    let mut client = Client::find(context.resolve()?, args.timeout, &context.out).await?;
    let (app, mut out) = context.unchecked();
    let Some(partitions) = partitions(&args, &mut client, &out).await? else {
        return timed_out(&args, 0);
    };
    let windows = if args.keys || out.json { windows(&args.topic, app).await } else { None };
    let start = if args.from_beginning { StartAt::Earliest } else { StartAt::Latest };
    let from = (0..partitions).map(|partition| (TopicPartition::new(args.topic.as_str(), partition), start)).collect();
    let mut reader = client.transport.read(from, PROMPT)?;
    let (mut printed, mut timer) = (0, IdleTimer::new(args.timeout, partitions));
    while args.count.is_none_or(|count| printed < count) {
        // Printed lines stay buffered only while more messages are available at once.
        let read = match reader.next(Duration::from_millis(1)).await {
            Ok(None) => {
                out.flush()?;
                match timer.left() {
                    Some(Duration::ZERO) => return timed_out(&args, printed),
                    left => reader.next(left.map_or(CHECK_INTERVAL, |left| left.min(CHECK_INTERVAL))).await,
                }
            }
            read => read,
        };
        match read {
            Ok(Some(Read::Message(partition, message))) => {
                print(&mut out, &args, windows, &partition, &message)?;
                printed += 1;
                timer.restart();
            }
            Ok(Some(Read::End(partition))) => timer.reached_end(partition.partition),
            Ok(None) => {}
            Err(error) => client.after(error).await?,
        }
    }
    out.flush()
}

/// Returns the window of the table if the topic is the changelog of a windowed table: its keys contain windows. Returns
/// `None` if the app has faults, because its topics can be read even so.
async fn windows(topic: &str, app: AppBuilder) -> Option<WindowSpec> {
    let (plan, _) = app.build().ok()?.partial_plan().await.ok()?;
    plan.tables().find(|table| table.changelog() == topic)?.window()
}

/// Time since the last message, for `--timeout`. It restarts once all partitions have been read to their ends; until then
/// `FIRST_READ` is added to the timeout, because a broker may be slow to deliver existing messages.
struct IdleTimer {
    timeout: Option<Duration>,
    since: Instant,
    unread: BTreeSet<i32>,
}

impl IdleTimer {
    fn new(timeout: Option<Duration>, partitions: i32) -> Self {
        Self { timeout, since: Instant::now(), unread: (0..partitions).collect() }
    }

    /// Restarts the timer after a message.
    fn restart(&mut self) {
        self.since = Instant::now();
    }

    /// Records that a partition has been read to its end.
    fn reached_end(&mut self, partition: i32) {
        if self.unread.remove(&partition) && self.unread.is_empty() {
            self.since = Instant::now();
        }
    }

    /// Returns the time left until the timeout, or `None` if there is no timeout.
    fn left(&self) -> Option<Duration> {
        let extra = if self.unread.is_empty() { Duration::ZERO } else { FIRST_READ };
        self.timeout.map(|timeout| (timeout + extra).saturating_sub(self.since.elapsed()))
    }
}

/// Returns the number of partitions of the topic. Waits until the topic exists, and returns `None` after `--timeout`.
async fn partitions(args: &ConsumeArgs, client: &mut Client, out: &Output) -> Result<Option<i32>, Failure> {
    let admin = client.transport.admin()?;
    let began = Instant::now();
    let mut reported = false;
    loop {
        let names = Some(vec![args.topic.clone()]);
        let found = client.retry(|| admin.topics(names.clone())).await?;
        if let Some(partitions) = found.get(&args.topic) {
            return Ok(Some(*partitions));
        }
        if args.timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            return Ok(None);
        }
        if !reported {
            reported = true;
            out.note(format!("topic `{}` does not exist yet; waiting for it", args.topic));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Returns the result of the command after `--timeout`: an error if `-n` asked for more messages than were printed.
fn timed_out(args: &ConsumeArgs, printed: u64) -> Result<(), Failure> {
    match args.count {
        Some(count) if printed < count => {
            Err(Failure::error(format!("timed out after {printed} of {count} messages of topic `{}`", args.topic)))
        }
        _ => Ok(()),
    }
}

/// Prints a message.
fn print(
    out: &mut Output,
    args: &ConsumeArgs,
    windows: Option<WindowSpec>,
    partition: &TopicPartition,
    message: &OwnedMessage,
) -> Result<(), Failure> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (key, window) = key_and_window(message.key.as_deref(), windows);
    if out.json {
        let headers = message.headers.iter().map(|(name, value)| (name.to_owned(), value.map(text)));
        return out.object(&Line {
            topic: &partition.topic,
            partition: partition.partition,
            offset: message.offset,
            timestamp: message.timestamp.as_millis(),
            key: key.map(text),
            window,
            value: message.payload.as_deref().map(text),
            headers: headers.collect(),
        });
    }
    let value = message.payload.as_deref().unwrap_or(b"null");
    match args.keys {
        true => {
            let window = window.map_or_else(String::new, |window| format!(" {window}"));
            out.line(&[key.unwrap_or(b"null"), window.as_bytes(), b"\t", value])
        }
        false => out.line(&[value]),
    }
}

/// Splits a key of a windowed table's changelog, which ends with the start of its window.
fn key_and_window(key: Option<&[u8]>, windows: Option<WindowSpec>) -> (Option<&[u8]>, Option<Window>) {
    match (windows, key.and_then(split_changelog_key)) {
        (Some(windows), Some((key, start))) => (Some(key), Some(windows.window_at(start))),
        _ => (key, None),
    }
}
