//! The command line: the global options and a command.

use clap::Parser;
use clap::builder::styling::{AnsiColor, Styles};

use crate::commands::Command;
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
        let mut command_line = Cli::command();
        let help = command_line.render_help().to_string();
        let commands = command_line.get_subcommands().filter(|command| !command.is_hide_set());
        let commands: Vec<_> = commands.map(clap::Command::get_name).collect();
        // Those of the first release stay; a new one need not be added here.
        for name in [
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
        ] {
            assert!(commands.contains(&name), "`{name}` is missing: {commands:?}");
        }
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
