//! The options that all commands share, and the parser of `NAME=VALUE` arguments.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

/// Options that all commands share.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    #[cfg_attr(
        feature = "embedded",
        doc = "Kafka broker to connect to; without one, the worker starts an embedded broker"
    )]
    #[cfg_attr(not(feature = "embedded"), doc = "Kafka broker to connect to")]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(crate) broker: Option<String>,
    /// Directory for the data of the embedded broker and of the stores
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) datadir: Option<String>,
    /// Settings file to read instead of `faust.toml`
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set any other setting; `settings` lists them all
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Print JSON instead of tables and text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print only data and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Log level; by default info for `worker` and `broker`, warn for all other commands
    #[arg(short, long, global = true, value_enum, ignore_case = true)]
    pub(crate) loglevel: Option<LogLevel>,
    /// Format of log lines
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Pretty)]
    pub(crate) log_format: LogFormat,
    /// Print help
    #[arg(short, long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
}

/// A log level, under the name that Faust gives it.
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

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Human-readable text, colored on a terminal
    Pretty,
    /// One JSON object per line
    Json,
}

/// Splits `name=value`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as name=value".to_owned()),
    }
}
