//! `tables`: lists the tables of the app with their types, windows, changelogs and agents.

use faust_core::plan::TablePlan;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;

/// Options of `tables`: none.
#[derive(clap::Args, Debug)]
pub(crate) struct TablesArgs {}

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

pub(crate) async fn run(_: TablesArgs, context: Context) -> Result<(), Failure> {
    let (app, mut out) = context.build()?;
    let (plan, failures) = app.partial_plan().await?;
    failures.iter().for_each(|why| out.note(format!("{why}; its tables are left out")));
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
