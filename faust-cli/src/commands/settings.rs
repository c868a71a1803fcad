//! `settings`: lists the effective settings and the source of each.

use faust_core::config::Explained;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;

/// Options of `settings`.
#[derive(clap::Args, Debug)]
pub(crate) struct SettingsArgs {
    /// Also show the purpose, format and default of each setting
    #[arg(long)]
    explain: bool,
}

#[derive(Serialize)]
struct SettingRow {
    name: String,
    value: String,
    layer: &'static str,
    origin: String,
    env: String,
    default: &'static str,
    form: &'static str,
    example: &'static str,
    help: &'static str,
}

pub(crate) fn run(args: SettingsArgs, mut context: Context) -> Result<(), Failure> {
    let rows: Vec<SettingRow> = context.resolve()?.explain().into_iter().map(row).collect();
    if !args.explain || context.out.json {
        return context.out.list(
            "Settings",
            &rows,
            &[("name", |row| row.name.clone()), ("value", |row| row.value.clone()), ("from", |row| row.origin.clone())],
        );
    }
    for row in rows {
        context.out.text(explain(&row))?;
    }
    Ok(())
}

fn row(line: Explained) -> SettingRow {
    let def = line.def;
    let env = def.map_or_else(|| env_of_kafka(&line.name), |def| def.env());
    let text = |text: Option<&'static str>| text.unwrap_or_default();
    SettingRow {
        env,
        layer: line.origin.layer(),
        origin: line.origin.to_string(),
        default: text(def.map(|def| def.default)),
        form: def.map_or("format of librdkafka", |def| def.form),
        example: text(def.map(|def| def.example)),
        help: def.map_or("A setting of librdkafka.", |def| def.doc),
        name: line.name,
        value: line.value,
    }
}

/// Returns the environment variable for a setting of librdkafka.
fn env_of_kafka(name: &str) -> String {
    format!("FAUST_{}", name.to_ascii_uppercase().replace('.', "_"))
}

/// Formats a setting for `--explain`.
fn explain(row: &SettingRow) -> String {
    let SettingRow { name, value, origin, env, default, form, example, help, .. } = row;
    let value = if value.is_empty() { "(unset)" } else { value };
    let default = if default.is_empty() { "unset".to_owned() } else { format!("`{default}`") };
    let example = if example.is_empty() { String::new() } else { format!(", such as `{example}`") };
    format!("{name} = {value}  ({origin})\n    {help}\n    {form}{example}; default {default}; {env}\n")
}
