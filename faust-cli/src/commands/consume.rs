//! `consume TOPIC`: prints the messages of a topic, one per line.

use std::collections::BTreeSet;
use std::time::Duration;

use faust_core::app::AppBuilder;
use faust_core::config::closest;
use faust_core::dead_letter;
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
/// Length from which a name that is a part of another is taken for similar.
const SHORTEST_PART: usize = 3;
/// Maximum number of topics that the error of a missing one lists.
const SHOWN_TOPICS: usize = 5;
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
    let partitions = partitions(&args, &mut client, &out).await?;
    let windows = if args.keys || out.json { windows(&args.topic, app).await } else { None };
    let start = if args.from_beginning { StartAt::Earliest } else { StartAt::Latest };
    let from = (0..partitions).map(|partition| (TopicPartition::new(args.topic.as_str(), partition), start)).collect();
    let admin = client.transport.admin()?;
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
        // The timeout is that of the next message: it does not count from the start.
        client.set_timeout(timer.left());
        match read {
            Ok(Some(Read::Message(partition, message))) => {
                print(&mut out, &args, windows, &partition, &message)?;
                printed += 1;
                timer.restart();
            }
            Ok(Some(Read::End(partition))) => timer.reached_end(partition.partition),
            Ok(None) if client.transport.outage().cause().is_some() => {
                // Waits until the broker answers, and reports that.
                client.retry(|| admin.topics(Some(vec![args.topic.clone()]))).await?;
            }
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

/// Returns the number of partitions of the topic. Waits until the topic exists, at most for `--timeout`.
///
/// # Errors
/// Fails if the topic does not exist after `--timeout`.
async fn partitions(args: &ConsumeArgs, client: &mut Client, out: &Output) -> Result<i32, Failure> {
    let admin = client.transport.admin()?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut missing = None;
    loop {
        let found = match client.retry(|| admin.topics(Some(vec![args.topic.clone()]))).await {
            Ok(found) => found,
            // The broker has answered before: unless it is away now, it is not slow.
            Err(error) if client.transport.outage().cause().is_some() => return Err(error),
            Err(error) => return Err(missing.map_or(error, Failure::error)),
        };
        if let Some(partitions) = found.get(&args.topic) {
            return Ok(*partitions);
        }
        if missing.is_none() {
            let topics = client.retry(|| admin.topics(None)).await.unwrap_or_default();
            let text = missing_topic(&args.topic, topics.keys().map(String::as_str));
            out.note(format!("{text}; waiting for it"));
            missing = Some(text);
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Failure::error(missing.unwrap_or_default()));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Describes a topic that does not exist, with the existing one that was probably meant, or some of them.
fn missing_topic<'a>(topic: &str, existing: impl Iterator<Item = &'a str>) -> String {
    let existing: Vec<_> = existing.filter(|name| !name.starts_with("__")).collect();
    let part = |name: &&&str| name.contains(topic) || (name.len() >= SHORTEST_PART && topic.contains(**name));
    let similar = closest(topic, existing.iter().copied()).or_else(|| existing.iter().find(part).copied());
    let hint = match (similar, existing.len()) {
        (Some(similar), _) => format!("did you mean `{similar}`?"),
        (None, 0) => "the broker has no topics".to_owned(),
        (None, 1..=SHOWN_TOPICS) => format!("the broker has `{}`", existing.join("`, `")),
        (None, count) => format!("the broker has {count} others, which the command `topics` lists"),
    };
    format!("topic `{topic}` does not exist ({hint})")
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
    if let Some(rejection) = rejection(message) {
        // Behind the messages that are still buffered.
        out.flush()?;
        out.note(rejection);
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

/// Describes why a message is in a dead-letter topic, and where it was read; `None` for other messages.
fn rejection(message: &OwnedMessage) -> Option<String> {
    let header = |name| message.headers.get_str(name);
    let why = header(dead_letter::ERROR)?;
    let agent = header(dead_letter::AGENT).unwrap_or("?");
    let place = match (header(dead_letter::TOPIC), header(dead_letter::PARTITION), header(dead_letter::OFFSET)) {
        (Some(topic), Some(partition), Some(offset)) => format!("{topic}[{partition}] offset {offset}"),
        _ => "an unknown place".to_owned(),
    };
    Some(format!("rejected by agent `{agent}` from {place}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_topic_is_named_with_the_one_that_was_meant() {
        let text = |topic: &str, existing: &[&str]| missing_topic(topic, existing.iter().copied());
        assert_eq!(text("ordres", &["orders", "cups"]), "topic `ordres` does not exist (did you mean `orders`?)");
        assert!(text("dead-letter", &["a", "shop-dead-letter"]).contains("did you mean `shop-dead-letter`?"));
        assert!(text("x", &["__consumer_offsets"]).ends_with("(the broker has no topics)"));
        assert!(text("tea", &["cups", "notes"]).ends_with("(the broker has `cups`, `notes`)"));
        let many = ["aa", "bb", "cc", "dd", "ee", "ff"];
        assert!(text("tea", &many).ends_with("(the broker has 6 others, which the command `topics` lists)"));
    }
}
