//! The command line of the program `faust`: the commands that need no agents, and thus no program of the user.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use faust_core::app::App;

use crate::commands::broker;
use crate::context::Context;
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::project::{FaustSource, generate};
use crate::{logging, run_to_end};

/// Create stream processing projects, and run a broker for them.
///
/// All other commands are part of each project's own program: run `cargo run` in the project.
#[derive(Debug, Parser)]
#[command(name = "faust", version, flatten_help = true, disable_help_flag = true, disable_help_subcommand = true)]
struct Tool {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: ToolCommand,
}

#[derive(Debug, Subcommand)]
enum ToolCommand {
    /// Create a project: a record, an agent, a test on the driver, settings, Dockerfile and CI file
    New(NewArgs),
    /// Run the embedded broker, until stopped
    #[cfg_attr(not(feature = "embedded"), command(hide = true))]
    Broker(broker::BrokerArgs),
}

/// Options of `new`.
#[derive(clap::Args, Debug)]
struct NewArgs {
    /// Directory to create; its last part is the name of the project
    name: PathBuf,
    /// Depend on Faust by the URL of its git repository
    #[arg(long, value_name = "URL", conflicts_with = "path")]
    git: Option<String>,
    /// Depend on Faust by the path of its clone on this machine
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// Runs the program `faust`: parses the command line, runs the command, and returns the exit code of the process.
///
/// The exit code is 0 for success, 1 for a failure, 2 for an invalid command line, and 130 if a second Ctrl-C has
/// forced the process to exit.
pub fn tool() -> ExitCode {
    if std::env::args_os().len() <= 1 {
        return output::help(Tool::command());
    }
    let Tool { global, command } = Tool::parse();
    output::quiet_broken_pipe();
    match command {
        ToolCommand::New(args) => match new(args, &Output::new(global.json, global.quiet)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => output::failed(&failure),
        },
        ToolCommand::Broker(args) => {
            let log = logging::install(&global, true);
            let app = App::new("faust");
            let context = Context::new(app, Box::new(|_| Box::pin(std::future::ready(()))), &global, log);
            run_to_end(broker::run(args, context))
        }
    }
}

fn new(args: NewArgs, out: &Output) -> Result<(), Failure> {
    let source = FaustSource::choose(args.git, args.path).map_err(Failure::error)?;
    generate(&args.name, &source).map_err(Failure::error)?;
    let name = args.name.display();
    match source {
        FaustSource::Git(url) => out.note(format!("created `{name}`, which depends on {url}")),
        FaustSource::Directory(path) => out.note(format!(
            "created `{name}`, which depends on the clone {}; to build it elsewhere, depend by `git` (see its Cargo.toml)",
            path.display()
        )),
    }
    out.note(format!("next: cd {name} && cargo test && cargo run -- worker"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Tool::command().debug_assert();
    }
}
