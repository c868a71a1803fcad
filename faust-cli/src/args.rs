//! What can be written on the command line.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    agents, broker, clean_versions, completion, consume, model, models, reset, send, settings, tables, topics,
    topology, worker,
};

const STYLES: Styles =
    Styles::styled().header(AnsiColor::Green.on_default().bold()).literal(AnsiColor::Cyan.on_default().bold());

/// A command and the options that all commands have.
#[derive(Debug, Parser)]
#[command(version, flatten_help = true, disable_help_flag = true, disable_help_subcommand = true, styles = STYLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that all commands have.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The Kafka to connect to; without one, the worker brings its own broker
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(crate) broker: Option<String>,
    /// Where the embedded broker and the stores live
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) datadir: Option<String>,
    /// A file of settings, instead of `faust.toml`
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Any other setting; `settings` lists them
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but data and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// What to log: info for `worker` and `broker`, warn for the others
    #[arg(short, long, global = true, value_enum, ignore_case = true)]
    pub(crate) loglevel: Option<LogLevel>,
    /// How to log
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Pretty)]
    pub(crate) log_format: LogFormat,
    /// Print this
    #[arg(short, long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
}

/// Faust's names for the levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    #[value(alias = "critical")]
    Crit,
    Error,
    #[value(alias = "warning")]
    Warn,
    Info,
    Debug,
    Trace,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people; coloured on a terminal
    Pretty,
    /// One object a line
    Json,
}

/// The commands, in the order in which one meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the app: read its topics and process them until stopped
    Worker(worker::Args),
    /// Send a message to a topic
    Send(send::Args),
    /// Print the messages of a topic
    Consume(consume::Args),
    /// List the broker's topics and what they are to this app
    Topics(topics::Args),
    /// List the agents
    Agents(agents::Args),
    /// List the tables
    Tables(tables::Args),
    /// List the records
    Models(models::Args),
    /// Show the fields of a record
    Model(model::Args),
    /// Show how topics and agents hang together
    Topology(topology::Args),
    /// Show the settings and where each came from
    Settings(settings::Args),
    /// Remove the tables that this machine keeps; the next worker restores them
    Reset(reset::Args),
    /// Remove what older versions of the app have left: tables, topics and groups
    CleanVersions(clean_versions::Args),
    /// Run the embedded broker alone, until stopped
    Broker(broker::Args),
    /// Print a script that completes this command line in a shell
    Completion(completion::Args),
}

impl Command {
    /// Whether it runs until it is stopped, so that its log is what one sees of it.
    pub(crate) fn is_worker(&self) -> bool {
        matches!(self, Self::Worker(_) | Self::Broker(_))
    }
}

/// Splits `name=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as name=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_shows_every_command_with_its_options() {
        let help = Cli::command().render_help().to_string();
        let commands = [
            "worker",
            "send",
            "consume",
            "topics",
            "agents",
            "tables",
            "models",
            "model",
            "topology",
            "settings",
            "reset",
            "clean-versions",
            "broker",
            "completion",
        ];
        let options = [
            "--until-idle",
            "--from-beginning",
            "--timestamp",
            "--repeat",
            "--keys",
            "--mermaid",
            "--topics",
            "--yes",
            "--set",
            "--json",
        ];
        for word in commands.iter().chain(&options) {
            assert!(help.contains(word), "{word} is missing in:\n{help}");
        }
    }

    #[test]
    fn options_of_all_commands_stand_before_or_after_the_command() {
        for line in [["app", "--broker", "a:1", "agents"], ["app", "agents", "--broker", "a:1"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap().global.broker.as_deref(), Some("a:1"));
        }
        let cli = Cli::try_parse_from(["app", "worker", "-l", "INFO", "--set", "version=2", "--set", "kafka.a.b=c=d"])
            .unwrap();
        assert_eq!(cli.global.loglevel, Some(LogLevel::Info));
        let pairs = [("version".to_owned(), "2".to_owned()), ("kafka.a.b".to_owned(), "c=d".to_owned())];
        assert_eq!(cli.global.set, pairs);
        assert!(Cli::try_parse_from(["app", "worker", "--set", "version"]).is_err());
        for line in [["app", "-h"], ["app", "--help"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap_err().kind(), clap::error::ErrorKind::DisplayHelp);
        }
    }
}
