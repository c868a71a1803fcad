//! `tables`: lists the tables of the app with their types, windows, changelogs and agents, or the workers that keep them.

use std::time::Duration;

use faust_core::directory::TableReplicas;
use faust_core::plan::{Plan, TablePlan};
use faust_core::time::parse_duration;
use serde::Serialize;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

/// Options of `tables`.
#[derive(clap::Args, Debug)]
pub(crate) struct TablesArgs {
    /// Show the worker of each partition, and the standbys with their lag, instead of the declarations
    #[arg(long)]
    replicas: bool,
    /// Fail if the broker does not respond within this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "replicas")]
    timeout: Option<Duration>,
}

#[derive(Serialize)]
struct TableRow {
    name: String,
    key: String,
    value: String,
    window: Option<String>,
    changelog: String,
    agents: Vec<String>,
    hooks: Vec<String>,
    help: String,
}

/// A partition of a table, as printed with `--replicas --json`.
#[derive(Serialize)]
struct PartitionRow {
    table: String,
    partition: i32,
    worker: Option<String>,
    standbys: Vec<StandbyRow>,
}

#[derive(Serialize)]
struct StandbyRow {
    worker: String,
    /// Changelog offsets between the standby and the last commit.
    lag: Option<u64>,
}

pub(crate) async fn run(args: TablesArgs, mut context: Context) -> Result<(), Failure> {
    let resolved = args.replicas.then(|| context.resolve()).transpose()?;
    let (app, mut out) = context.build()?;
    let (plan, failures) = app.partial_plan().await?;
    failures.iter().for_each(|why| out.note(format!("{why}; its tables are left out")));
    if let Some(resolved) = resolved {
        // Behind the plan: its agents may take long, and the timeout is for the broker.
        let client = Client::find(resolved, args.timeout, &out).await?;
        return replicas(client, &plan, &mut out).await;
    }
    let rows: Vec<TableRow> = plan.tables().map(row).collect();
    out.list(
        "Tables",
        &rows,
        &[
            ("name", |row| row.name.clone()),
            ("key", |row| row.key.clone()),
            ("value", |row| row.value.clone()),
            ("window", |row| row.window.clone().unwrap_or_default()),
            ("changelog", |row| row.changelog.clone()),
            ("agents", |row| row.agents.iter().map(|agent| format!("@{agent}")).collect::<Vec<_>>().join(", ")),
            ("hooks", |row| row.hooks.join(", ")),
            ("help", |row| row.help.clone()),
        ],
    )
}

/// Prints who keeps the partitions of the tables.
async fn replicas(mut client: Client, plan: &Plan, out: &mut Output) -> Result<(), Failure> {
    let running = client.running_app(plan).await?;
    let found = running.map(|running| running.replicas(plan)).unwrap_or_default();
    if found.is_empty() {
        out.note("no running worker has a partition of a table");
    }
    let rows: Vec<PartitionRow> = found.into_iter().map(partition_row).collect();
    out.list(
        "Replicas",
        &rows,
        &[
            ("table", |row| row.table.clone()),
            ("partition", |row| row.partition.to_string()),
            ("worker", |row| row.worker.clone().unwrap_or_default()),
            ("standbys", |row| row.standbys.iter().map(StandbyRow::shown).collect::<Vec<_>>().join(", ")),
        ],
    )
}

fn partition_row(replicas: TableReplicas) -> PartitionRow {
    let TableReplicas { table, partition, worker, standbys } = replicas;
    let standbys = standbys.into_iter().map(|(worker, lag)| StandbyRow { worker, lag }).collect();
    PartitionRow { table, partition, worker, standbys }
}

impl StandbyRow {
    fn shown(&self) -> String {
        let Self { worker, lag } = self;
        lag.map_or_else(|| format!("{worker} (begins)"), |lag| format!("{worker} (lag {lag})"))
    }
}

fn row(table: &TablePlan) -> TableRow {
    TableRow {
        name: table.name().to_owned(),
        key: without_paths(table.key_type()),
        value: without_paths(table.value_type()),
        window: table.window().map(|window| window.to_string()),
        changelog: table.changelog().to_owned(),
        agents: table.agents().to_vec(),
        hooks: table.hooks().map(str::to_owned).collect(),
        help: table.help().to_owned(),
    }
}

/// Removes the paths from a type name: returns `Vec<Order>` for `alloc::vec::Vec<shop::Order>`.
fn without_paths(name: &str) -> String {
    let (mut text, mut rest) = (String::new(), name);
    while let Some(at) = rest.find(|c: char| !c.is_alphanumeric() && c != '_') {
        let (word, after) = rest.split_at(at);
        match after.strip_prefix("::") {
            Some(after) => rest = after,
            None => {
                let length = after.chars().next().map_or(0, char::len_utf8);
                text.push_str(word);
                text.push_str(&after[..length]);
                rest = &after[length..];
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_shown_without_their_paths() {
        let types = [
            ("i64", "i64"),
            ("alloc::string::String", "String"),
            ("alloc::vec::Vec<(shop::Order, alloc::string::String)>", "Vec<(Order, String)>"),
            ("std::collections::HashMap<u8, [my_shop::v1::Order; 2]>", "HashMap<u8, [Order; 2]>"),
            ("()", "()"),
        ];
        for (name, shown) in types {
            assert_eq!(without_paths(name), shown);
        }
    }
}
