//! `consume TOPIC`: prints the messages of a topic, one a line.

use std::collections::BTreeSet;
use std::time::Duration;

use faust_core::app::AppBuilder;
use faust_core::message::OwnedMessage;
use faust_core::time::{Timestamp, parse_duration};
use faust_core::transport::{Read, StartAt, TopicPartition};
use faust_core::window::key::split_changelog_key;
use faust_core::window::{Window, WindowSpec};
use serde::Serialize;
use tokio::time::Instant;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

/// How often the timeout is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What a partition may take to be read to its end, beside the timeout.
const FIRST_READ: Duration = Duration::from_secs(10);

/// What to read, and how much of it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The topic to read
    topic: String,
    /// Begin with the oldest message instead of what comes from now on
    #[arg(long)]
    from_beginning: bool,
    /// End after so many messages
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// Print each message's key and a tab before it; for a windowed table's changelog, the window is behind the key
    #[arg(long)]
    keys: bool,
    /// End when no message has come for this long; with -n and fewer messages that is a failure
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// What is said of a message with `--json`.
#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

pub(crate) async fn run(args: Args, mut context: Context) -> Result<(), Failure> {
    let mut client = Client::find(context.resolve()?, args.timeout, &context.out).await?;
    let (app, mut out) = context.unchecked();
    let Some(partitions) = partitions(&args, &mut client, &out).await? else {
        return over(&args, 0);
    };
    let windows = if args.keys || out.json { windows(&args.topic, app).await } else { None };
    let start = if args.from_beginning { StartAt::Earliest } else { StartAt::Latest };
    let from = (0..partitions).map(|partition| (TopicPartition::new(args.topic.as_str(), partition), start)).collect();
    let mut reader = client.transport.read(from)?;
    let (mut printed, mut silence) = (0, Silence::new(args.timeout, partitions));
    while args.count.is_none_or(|count| printed < count) {
        // Printed lines are kept back only while more are already there.
        let read = match reader.next(Duration::from_millis(1)).await {
            Ok(None) => {
                out.flush()?;
                match silence.left() {
                    Some(Duration::ZERO) => return over(&args, printed),
                    left => reader.next(left.map_or(LOOK, |left| left.min(LOOK))).await,
                }
            }
            read => read,
        };
        match read {
            Ok(Some(Read::Message(partition, message))) => {
                print(&mut out, &args, windows, &partition, &message)?;
                printed += 1;
                silence.broken();
            }
            Ok(Some(Read::End(partition))) => silence.end_of(partition.partition),
            Ok(None) => {}
            Err(error) => client.after(error).await?,
        }
    }
    out.flush()
}

/// The windows of the table that the topic keeps, if it does: they are part of its keys. An app with faults still wants
/// to see its topics, so then there are none.
async fn windows(topic: &str, app: AppBuilder) -> Option<WindowSpec> {
    let plan = app.build().ok()?.plan().await.ok()?;
    plan.tables().find(|table| table.changelog() == topic)?.window()
}

/// How long no message has come. Counts from when all partitions have been read to their ends: a broker that takes its
/// time to deliver what it has is not silent.
struct Silence {
    timeout: Option<Duration>,
    since: Instant,
    unread: BTreeSet<i32>,
}

impl Silence {
    fn new(timeout: Option<Duration>, partitions: i32) -> Self {
        Self { timeout, since: Instant::now(), unread: (0..partitions).collect() }
    }

    fn broken(&mut self) {
        self.since = Instant::now();
    }

    fn end_of(&mut self, partition: i32) {
        if self.unread.remove(&partition) && self.unread.is_empty() {
            self.since = Instant::now();
        }
    }

    /// What is left of the timeout; nothing without one.
    fn left(&self) -> Option<Duration> {
        let patience = if self.unread.is_empty() { Duration::ZERO } else { FIRST_READ };
        self.timeout.map(|timeout| (timeout + patience).saturating_sub(self.since.elapsed()))
    }
}

/// How many partitions the topic has; waits for the topic, as long as `--timeout` allows.
async fn partitions(args: &Args, client: &mut Client, out: &Output) -> Result<Option<i32>, Failure> {
    let admin = client.transport.admin()?;
    let began = Instant::now();
    let mut told = false;
    loop {
        let names = Some(vec![args.topic.clone()]);
        let found = client.retry(|| admin.topics(names.clone())).await?;
        if let Some(partitions) = found.get(&args.topic) {
            return Ok(Some(*partitions));
        }
        if args.timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            return Ok(None);
        }
        if !told {
            told = true;
            out.note(format!("topic `{}` does not exist yet; waiting for it", args.topic));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The end by `--timeout`: what was promised with `-n` is missing, or nothing was.
fn over(args: &Args, printed: u64) -> Result<(), Failure> {
    match args.count {
        Some(count) if printed < count => {
            Err(Failure::error(format!("timed out after {printed} of {count} messages of topic `{}`", args.topic)))
        }
        _ => Ok(()),
    }
}

fn print(
    out: &mut Output,
    args: &Args,
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

/// A key of a windowed table's changelog ends with the start of its window.
fn key_and_window(key: Option<&[u8]>, windows: Option<WindowSpec>) -> (Option<&[u8]>, Option<Window>) {
    match (windows, key.and_then(split_changelog_key)) {
        (Some(windows), Some((key, start))) => {
            let size = i64::try_from(windows.size().as_millis()).unwrap_or(i64::MAX);
            (Some(key), Some(Window::new(start, Timestamp(start.0.saturating_add(size)))))
        }
        _ => (key, None),
    }
}
