//! `skip`: moves the position of an agent behind an event that it fails at each time.

use std::str::FromStr;
use std::time::Duration;

use faust_core::config::Settings;
use faust_core::message::{Offset, OwnedMessage};
use faust_core::plan::{EventToSkip, Plan, event_to_skip};
use faust_core::time::parse_duration;
use faust_core::transport::{PROMPT, Read, StartAt, TopicPartition};
use serde::Serialize;

use crate::client::Client;
use crate::consent::Consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::removal::ensure_no_members;

/// Maximum time to wait for the message that is shown before the question.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Number of characters of a key or value that are shown.
const SHOWN: usize = 200;

/// Options of `skip`.
#[derive(clap::Args, Debug)]
pub(crate) struct SkipArgs {
    /// Topic and partition of the event, as in the worker's log: `orders[3]`
    #[arg(value_name = "TOPIC[PARTITION]")]
    partition: PartitionArg,
    /// Offset of the event
    offset: i64,
    /// Agent that skips the event, if it is the next event of several
    #[arg(long)]
    agent: Option<String>,
    #[command(flatten)]
    consent: Consent,
    /// Fail if the broker does not respond within this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// A partition in the form `topic[3]`.
#[derive(Clone, Debug)]
struct PartitionArg(TopicPartition);

impl FromStr for PartitionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.strip_suffix(']').and_then(|text| text.rsplit_once('['));
        let parsed = parts.and_then(|(topic, number)| Some((topic, number.parse().ok()?)));
        match parsed {
            Some((topic, number)) if !topic.is_empty() && number >= 0 => Ok(Self(TopicPartition::new(topic, number))),
            _ => Err("write the topic with the partition in brackets, such as `orders[3]`".to_owned()),
        }
    }
}

#[derive(Serialize)]
struct SkippedRow {
    topic: String,
    partition: i32,
    offset: i64,
    agent: String,
    key: Option<String>,
    value: Option<String>,
}

pub(crate) async fn run(args: SkipArgs, mut context: Context) -> Result<(), Failure> {
    let mut client = Client::find(context.resolve()?, args.timeout, &context.out).await?;
    let settings = client.settings.clone();
    let (app, mut out) = context.build()?;
    let (plan, failures) = app.partial_plan().await?;
    failures.iter().for_each(|why| out.note(format!("{why}; it is left out")));
    let (partition, offset) = (args.partition.0.clone(), Offset(args.offset));
    let event = find(&mut client, &plan, &settings, (&partition, offset), args.agent.as_deref()).await?;
    let message = read(&mut client, &partition, offset).await?;
    show(&mut out, &partition, offset, &event, message.as_ref())?;
    args.consent.ask(&out, &format!("Skip this event for agent `{}`?", event.agent), "nothing was skipped")?;
    let admin = client.transport.admin()?;
    client.retry(|| admin.commit(&settings.group(), event.commit.clone())).await?;
    out.note(format!("agent `{}` continues behind offset {offset} of {partition}", event.agent));
    Ok(())
}

/// Finds the event among the next events of the agents, according to their commits.
async fn find(
    client: &mut Client,
    plan: &Plan,
    settings: &Settings,
    (partition, offset): (&TopicPartition, Offset),
    agent: Option<&str>,
) -> Result<EventToSkip, Failure> {
    let admin = client.transport.admin()?;
    let group = settings.group();
    ensure_no_members(&group, client).await?;
    let topics = client.retry(|| admin.topics(Some(vec![partition.topic.to_string()]))).await?;
    match topics.get(&*partition.topic) {
        None => return Err(Failure::error(format!("topic `{}` does not exist", partition.topic))),
        Some(count) if partition.partition >= *count => {
            return Err(Failure::error(format!("topic `{}` has only {count} partitions, from 0", partition.topic)));
        }
        Some(_) => {}
    }
    let together = plan.read_together(&partition.topic).into_iter();
    let partitions: Vec<_> = together.map(|topic| TopicPartition::new(topic, partition.partition)).collect();
    let commits = client.retry(|| admin.committed(&group, partitions.clone())).await?;
    let marks = client.retry(|| admin.watermarks(vec![partition.clone()])).await?;
    let low = marks.get(partition).map(|(low, _)| *low).unwrap_or_default();
    // Without an id, the topic is taken for the same as at the last commit.
    let ids = client.retry(|| admin.topic_ids(vec![partition.topic.to_string()])).await.unwrap_or_default();
    let topic_id = ids.get(&*partition.topic).map(String::as_str).unwrap_or_default();
    let start = (low, topic_id, settings.consumer_auto_offset_reset);
    Ok(event_to_skip(plan, (partition, offset), agent, &commits, start)?)
}

/// Reads the message at this offset. Returns `None` if there is none, or if it does not arrive in time.
async fn read(
    client: &mut Client,
    partition: &TopicPartition,
    offset: Offset,
) -> Result<Option<OwnedMessage>, Failure> {
    let mut reader = client.transport.read([(partition.clone(), StartAt::Offset(offset))].into(), PROMPT)?;
    match reader.next(READ_WITHIN).await? {
        Some(Read::Message(_, message)) => Ok(Some(message).filter(|message| message.offset == offset)),
        Some(Read::End(_)) | None => Ok(None),
    }
}

/// Shows the event.
fn show(
    out: &mut Output,
    partition: &TopicPartition,
    offset: Offset,
    event: &EventToSkip,
    message: Option<&OwnedMessage>,
) -> Result<(), Failure> {
    let text = |bytes: &[u8]| -> String {
        let text = String::from_utf8_lossy(bytes);
        let mut shown: String = text.chars().take(SHOWN).collect();
        if shown.len() < text.len() {
            shown.push_str("...");
        }
        shown
    };
    let row = SkippedRow {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        offset: offset.0,
        agent: event.agent.to_string(),
        key: message.and_then(|message| message.key.as_deref()).map(text),
        value: message.and_then(|message| message.payload.as_deref()).map(text),
    };
    if message.is_none() {
        out.note(format!("the message at offset {offset} of {partition} cannot be read; it may have been deleted"));
    }
    out.list(
        "To be skipped",
        &[row],
        &[
            ("topic", |row| row.topic.clone()),
            ("partition", |row| row.partition.to_string()),
            ("offset", |row| row.offset.to_string()),
            ("agent", |row| row.agent.clone()),
            ("key", |row| row.key.clone().unwrap_or_default()),
            ("value", |row| row.value.clone().unwrap_or_default()),
        ],
    )
}
