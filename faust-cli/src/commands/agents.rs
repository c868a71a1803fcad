//! `agents`: lists the agents of the app with their topics, sinks and descriptions.

use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;

/// Options of `agents`: none.
#[derive(clap::Args, Debug)]
pub(crate) struct AgentsArgs {}

#[derive(Serialize)]
struct AgentRow {
    name: String,
    topics: Vec<String>,
    sinks: Vec<String>,
    help: String,
    file: String,
    line: u32,
}

pub(crate) fn run(_: AgentsArgs, context: Context) -> Result<(), Failure> {
    let (app, mut out) = context.build()?;
    let rows: Vec<AgentRow> = app.agents().into_iter().map(row).collect();
    out.list(
        "Agents",
        &rows,
        &[
            ("name", |row| format!("@{}", row.name)),
            ("topic", |row| row.topics.join(", ")),
            ("sinks", |row| row.sinks.join(", ")),
            ("help", |row| row.help.clone()),
        ],
    )
}

fn row(agent: faust_core::app::AgentInfo) -> AgentRow {
    AgentRow {
        name: agent.name.to_string(),
        topics: agent.topics.iter().map(ToString::to_string).collect(),
        sinks: agent.sinks.iter().map(ToString::to_string).collect(),
        help: agent.help.to_string(),
        file: agent.file.to_string(),
        line: agent.line,
    }
}
