//! `completion SHELL`: a script for the shell, made from the same description as the help.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::context::Context;
use crate::failure::Failure;

/// For which shell.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The shell that will read it
    shell: Shell,
}

pub(crate) fn run(args: &Args, mut context: Context) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), crate::program(), &mut script);
    context.out.text(String::from_utf8_lossy(&script))
}
