//! `recover`: commits the positions again that the changelogs name, after the group's offsets have expired or were deleted, or
//! a topic was created again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use faust_core::message::Offset;
use faust_core::task::{LastCommits, PresentLogs, last_commits};
use faust_core::time::parse_duration;
use faust_core::transport::{Committed, TopicPartition, Watermarks};
use serde::Serialize;

use crate::client::Client;
use crate::consent::Consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::removal::ensure_no_members;

/// Options of `recover`.
#[derive(clap::Args, Debug)]
pub(crate) struct RecoverArgs {
    /// Start in partitions whose position no changelog names, because they are read without a table
    #[arg(long, value_enum, value_name = "START")]
    others: Option<Others>,
    #[command(flatten)]
    consent: Consent,
    /// Fail if the broker does not respond within this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// The start in partitions without a known position.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Others {
    /// Everything is processed again; tables behind a `group_by` count it twice
    Earliest,
    /// Messages that have arrived since the last commit are not processed
    Latest,
}

#[derive(Serialize)]
struct RecoveredRow {
    topic: String,
    partition: i32,
    offset: i64,
    behind: u64,
    from: &'static str,
}

pub(crate) async fn run(args: RecoverArgs, mut context: Context) -> Result<(), Failure> {
    let mut client = Client::find(context.resolve()?, args.timeout, &context.out).await?;
    let settings = client.settings.clone();
    let (app, mut out) = context.build()?;
    let plan = app.plan().await?;
    let group = settings.group();
    let admin = client.transport.admin()?;
    ensure_no_members(&group, &mut client).await?;
    let report = |records| out.note(format!("read {records} records of changelogs"));
    let found = last_commits(&plan, &*client.transport, report).await?;

    let all: Vec<_> = found.commits.keys().chain(&found.unknown).cloned().collect();
    let committed = client.retry(|| admin.committed(&group, all.clone())).await?;
    let marks = client.retry(|| admin.watermarks(all.clone())).await?;
    let topics: BTreeSet<_> = all.iter().map(|partition| partition.topic.to_string()).collect();
    // Without ids, the topics are taken for the same as at the last commit.
    let topic_ids = client.retry(|| admin.topic_ids(topics.iter().cloned().collect())).await.unwrap_or_default();
    let logs = PresentLogs { topic_ids, bounds: marks };
    let found = found.missing(&plan, &committed, &logs);
    let marks = logs.bounds;
    let commits = commits(&args, &found, &marks)?;
    let rows: Vec<RecoveredRow> =
        commits.iter().map(|(partition, commit)| row(partition, commit, &found, &marks)).collect();
    if rows.is_empty() && !out.json {
        out.note(format!("there is nothing to recover: the offsets of group `{group}` are committed"));
        return Ok(());
    }
    out.list(
        "To be committed",
        &rows,
        &[
            ("topic", |row| row.topic.clone()),
            ("partition", |row| row.partition.to_string()),
            ("offset", |row| row.offset.to_string()),
            ("messages behind it", |row| row.behind.to_string()),
            ("according to", |row| row.from.to_owned()),
        ],
    )?;
    if rows.is_empty() {
        return Ok(());
    }
    out.note("events behind these offsets are processed next; if agents have processed some of them before, without a change of their tables, the messages they sent for them are sent again; if the last worker was killed during its last commit, messages that it sent for the last events before these offsets may be missing");
    args.consent.ask(&out, "Commit these offsets?", "nothing was committed")?;
    client.retry(|| admin.commit(&group, commits.clone())).await?;
    out.note(format!("committed {} offsets", commits.len()));
    Ok(())
}

/// Returns the offsets to commit.
fn commits(
    args: &RecoverArgs,
    found: &LastCommits,
    marks: &Watermarks,
) -> Result<BTreeMap<TopicPartition, Committed>, Failure> {
    let mut commits = found.commits.clone();
    // An empty partition has only one position.
    let is_empty = |partition: &&TopicPartition| marks.get(*partition).is_some_and(|(low, high)| low == high);
    let open: Vec<_> = found.unknown.iter().filter(|partition| !is_empty(partition)).collect();
    let Some(others) = args.others else {
        return match open.first() {
            None => Ok(commits),
            Some(first) => Err(Failure::error(format!(
                "the position in {} partitions is not in a changelog, such as {first}, because they are read without a table: choose `--others latest` to leave out what has arrived since the last commit, or `--others earliest` to process everything again",
                open.len()
            ))),
        };
    };
    for partition in open {
        let (low, high) = marks.get(partition).copied().unwrap_or_default();
        let offset = match others {
            Others::Earliest => low,
            Others::Latest => high,
        };
        commits.insert(partition.clone(), Committed::at(offset));
    }
    Ok(commits)
}

fn row(partition: &TopicPartition, commit: &Committed, found: &LastCommits, marks: &Watermarks) -> RecoveredRow {
    let high = marks.get(partition).map_or(Offset(0), |(_, high)| *high);
    RecoveredRow {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        offset: commit.offset.0,
        behind: high.since(commit.offset),
        from: match partition {
            _ if found.replaced.contains(partition) => "new log",
            _ if found.commits.contains_key(partition) => "changelog",
            _ => "--others",
        },
    }
}
