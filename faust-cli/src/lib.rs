//! The command line of an app, linked into the user's own binary: `worker`, `send`, `consume` and the lists.
//!
//! A separate binary could not run the agents: they are discovered at link time, so only the program that contains them
//! can run them.

mod failure;
mod output;
mod global;
mod logging;
mod signals;
mod context;
mod client;
mod consent;
mod removal;
mod ready_file;
mod commands;
mod args;
mod project;
mod tool;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use faust_core::app::AppBuilder;

use args::Cli;
use context::Context;
use failure::Failure;

pub use context::Background;
pub use tool::tool;

/// Parses the command line, runs the command, and returns the exit code of the process.
///
/// The exit code is 0 for success, 1 for a failure, 2 for an invalid command line, and 130 if a second Ctrl-C has
/// forced the process to exit.
pub fn main(app: AppBuilder) -> ExitCode {
    main_with_background(app, Box::new(|_| Box::pin(std::future::ready(()))))
}

/// Like [`main`], but the command `worker` also runs `background`, such as a producer of sample data.
pub fn main_with_background(app: AppBuilder, background: Background) -> ExitCode {
    if tokio::runtime::Handle::try_current().is_ok() {
        return output::failed(&Failure::error(
            "`main` of an app starts a Tokio runtime of its own, and was called within another: remove `#[tokio::main]` and \
             `async` from the program's `main`, or start a worker with `start().await` instead",
        ));
    }
    let command_line = Cli::command().name(program()).about(format!("The stream processing app `{}`.", app.id()));
    if std::env::args_os().len() <= 1 {
        return output::help(command_line);
    }
    let matches = command_line.clone().get_matches();
    let Cli { global, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    output::quiet_broken_pipe();
    let log = logging::install(&global, command.is_worker());
    let context = Context::new(app, background, &global, log);
    run_to_end(command.run(command_line, context))
}

/// Runs a command on a runtime of its own, and returns the exit code of the process.
fn run_to_end(command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::failed(&Failure::error(format!("cannot start the tokio runtime: {error}"))),
    };
    let result = runtime.block_on(command);
    // Work that a command has left behind (a blocking read, a librdkafka thread) must not delay the exit.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output::failed(&failure),
    }
}

/// Returns the name under which the program was started, for the help.
fn program() -> String {
    let path = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    path.file_stem().map_or_else(|| "app".to_owned(), |name| name.to_string_lossy().into_owned())
}
