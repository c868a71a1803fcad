//! The command line of an app, linked into the user's own binary: `worker`, `send`, `consume` and the lists.
//!
//! A binary of its own could not do it: agents are found at link time, so only the program that has them can run them.

mod args;
mod client;
mod commands;
mod context;
mod failure;
mod logging;
mod output;
mod removal;
mod signals;

use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use faust_core::app::AppBuilder;
use faust_core::worker::Worker;

use args::Cli;
use context::Context;

/// Something to do beside a worker, for as long as it runs. The worker does not end when this does.
pub type Beside = Box<dyn for<'a> FnOnce(&'a Worker) -> Pin<Box<dyn Future<Output = ()> + 'a>>>;

/// Reads the command line and does what it says; the value is the process's exit code.
///
/// 0 is success, 1 a failure, 2 a command line that cannot be understood, 130 an end forced by a second Ctrl-C.
pub fn main(app: AppBuilder) -> ExitCode {
    main_beside(app, Box::new(|_| Box::pin(std::future::ready(()))))
}

/// As [`main`], and the command `worker` does something else beside its work, such as filling a topic.
pub fn main_beside(app: AppBuilder, beside: Beside) -> ExitCode {
    let command = Cli::command().name(program()).about(format!("The stream processing app `{}`.", app.id()));
    if std::env::args_os().len() <= 1 {
        return output::help(command);
    }
    let matches = command.get_matches();
    let Cli { global, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    output::quiet_broken_pipe();
    let log = logging::install(&global, command.is_worker());
    let context = Context::new(app, beside, &global, log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::failed(&failure::Failure::error(format!("tokio cannot start: {error}"))),
    };
    let ended = runtime.block_on(commands::run(command, context));
    // What a command left running (a read that waits, a thread of librdkafka's) must not hold up the end.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output::failed(&failure),
    }
}

/// The name this program was called by, for the help.
fn program() -> String {
    let path = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    path.file_stem().map_or_else(|| "app".to_owned(), |name| name.to_string_lossy().into_owned())
}
