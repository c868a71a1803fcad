//! `completion SHELL`: prints a completion script for a shell, generated from the definition of the command line.

use clap::Command;
use clap_complete::Shell;

use crate::context::Context;
use crate::failure::Failure;

/// Options of `completion`.
#[derive(clap::Args, Debug)]
pub(crate) struct CompletionArgs {
    /// Shell to print the script for
    shell: Shell,
}

pub(crate) fn run(args: &CompletionArgs, mut command_line: Command, mut context: Context) -> Result<(), Failure> {
    let program = command_line.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command_line, program, &mut script);
    context.out.text(String::from_utf8_lossy(&script))
}
