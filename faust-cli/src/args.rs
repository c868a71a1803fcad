//! The command line: the global options, the commands, and the dispatch to each command.

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};

use crate::commands::{
    agents, broker, clean_versions, completion, consume, model, models, reset, send, settings, tables, topics,
    topology, worker,
};
use crate::context::Context;
use crate::failure::Failure;
use crate::global::Global;

const STYLES: Styles =
    Styles::styled().header(AnsiColor::Green.on_default().bold()).literal(AnsiColor::Cyan.on_default().bold());

/// A command with its options and the global options.
#[derive(Debug, Parser)]
#[command(version, flatten_help = true, disable_help_flag = true, disable_help_subcommand = true, styles = STYLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A command with its options. The help lists the commands in this order.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the app: process its topics until stopped
    Worker(worker::WorkerArgs),
    /// Send a message to a topic
    Send(send::SendArgs),
    /// Print the messages of a topic
    Consume(consume::ConsumeArgs),
    /// List the topics of the broker and their roles in the app
    Topics(topics::TopicsArgs),
    /// List the agents
    Agents(agents::AgentsArgs),
    /// List the tables
    Tables(tables::TablesArgs),
    /// List the records
    Models(models::ModelsArgs),
    /// Show the fields of a record
    Model(model::ModelArgs),
    /// Show how topics, agents and tables are connected
    Topology(topology::TopologyArgs),
    /// Show the settings and the source of each value
    Settings(settings::SettingsArgs),
    /// Remove the local state of the tables; the next worker restores it
    Reset(reset::ResetArgs),
    /// Remove the state, topics and groups of older versions of the app
    CleanVersions(clean_versions::CleanVersionsArgs),
    /// Run only the embedded broker, until stopped
    #[cfg_attr(not(feature = "embedded"), command(hide = true))]
    Broker(broker::BrokerArgs),
    /// Print a shell completion script
    Completion(completion::CompletionArgs),
}

impl Command {
    /// Returns true if the command runs until it is stopped. Its log is then the main output, shown from level info.
    pub(crate) fn is_worker(&self) -> bool {
        matches!(self, Self::Worker(_) | Self::Broker(_))
    }

    /// Runs the command. `command_line` is the definition of the whole command line, for shell completion.
    ///
    /// # Errors
    /// The command has failed, or it cannot write its output.
    pub(crate) async fn run(self, command_line: clap::Command, context: Context) -> Result<(), Failure> {
        match self {
            Self::Worker(args) => worker::run(args, context).await,
            Self::Send(args) => send::run(args, context).await,
            Self::Consume(args) => consume::run(args, context).await,
            Self::Topics(args) => topics::run(args, context).await,
            Self::Agents(args) => agents::run(args, context),
            Self::Tables(args) => tables::run(args, context).await,
            Self::Models(args) => models::run(args, context),
            Self::Model(args) => model::run(&args, context),
            Self::Topology(args) => topology::run(args, context).await,
            Self::Settings(args) => settings::run(args, context),
            Self::Reset(args) => reset::run(args, context).await,
            Self::CleanVersions(args) => clean_versions::run(args, context).await,
            Self::Broker(args) => broker::run(args, context).await,
            Self::Completion(args) => completion::run(&args, command_line, context),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use clap::CommandFactory;

    use super::*;
    use crate::global::LogLevel;

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
    fn global_options_are_accepted_before_and_after_the_command() {
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
