//! `topics`: lists the topics of the broker and of the app with their partitions, messages and roles.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use faust_core::app::AppBuilder;
use faust_core::time::parse_duration;
use serde::Serialize;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

/// Options of `topics`.
#[derive(clap::Args, Debug)]
pub(crate) struct TopicsArgs {
    /// Fail if the broker does not respond within this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Serialize)]
struct TopicRow {
    topic: String,
    partitions: Option<i32>,
    messages: Option<u64>,
    role: Option<String>,
}

pub(crate) async fn run(args: TopicsArgs, mut context: Context) -> Result<(), Failure> {
    let mut client = Client::find(context.resolve()?, args.timeout, &context.out).await?;
    let (app, mut out) = context.unchecked();
    let admin = client.transport.admin()?;
    let topics = client.retry(|| admin.topics(None)).await?;
    let messages = client.messages(&topics).await?;
    let roles = roles(app, &out).await;
    let names: BTreeSet<&String> = topics.keys().chain(roles.keys()).collect();
    let row = |name: &String| TopicRow {
        topic: name.clone(),
        partitions: topics.get(name).copied(),
        messages: messages.get(name).copied(),
        role: roles.get(name).cloned(),
    };
    let rows: Vec<TopicRow> = names.into_iter().map(row).collect();
    out.list(
        "Topics",
        &rows,
        &[
            ("topic", |row| row.topic.clone()),
            ("partitions", |row| row.partitions.map_or("(missing)".to_owned(), |count| count.to_string())),
            ("messages", |row| row.messages.map_or(String::new(), |count| count.to_string())),
            ("role", |row| row.role.clone().unwrap_or_default()),
        ],
    )
}

/// Returns the role of each of the app's topics. If the app has faults, reports them and returns no roles, because the
/// topics of the broker can be listed even so.
async fn roles(app: AppBuilder, out: &Output) -> BTreeMap<String, String> {
    let plan = async { app.build()?.partial_plan().await };
    match plan.await {
        Ok((plan, failures)) => {
            failures.iter().for_each(|why| out.note(format!("{why}; the roles of its topics are unknown")));
            plan.topics().map(|topic| (topic.name().to_owned(), topic.role().to_string())).collect()
        }
        Err(error) => {
            out.note(format!("the roles of topics are unknown, because the app has faults: {error}"));
            BTreeMap::new()
        }
    }
}
