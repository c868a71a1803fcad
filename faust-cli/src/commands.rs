//! The commands, one file each.

pub(crate) mod agents;
pub(crate) mod broker;
pub(crate) mod clean_versions;
pub(crate) mod completion;
pub(crate) mod consume;
pub(crate) mod model;
pub(crate) mod models;
pub(crate) mod reset;
pub(crate) mod send;
pub(crate) mod settings;
pub(crate) mod tables;
pub(crate) mod topics;
pub(crate) mod topology;
pub(crate) mod worker;

use crate::args::Command;
use crate::context::Context;
use crate::failure::Failure;

/// Does what the command says.
pub(crate) async fn run(command: Command, context: Context) -> Result<(), Failure> {
    match command {
        Command::Worker(args) => worker::run(args, context).await,
        Command::Send(args) => send::run(args, context).await,
        Command::Consume(args) => consume::run(args, context).await,
        Command::Topics(args) => topics::run(args, context).await,
        Command::Agents(args) => agents::run(args, context),
        Command::Tables(args) => tables::run(args, context).await,
        Command::Models(args) => models::run(args, context),
        Command::Model(args) => model::run(&args, context),
        Command::Topology(args) => topology::run(args, context).await,
        Command::Settings(args) => settings::run(args, context),
        Command::Reset(args) => reset::run(args, context).await,
        Command::CleanVersions(args) => clean_versions::run(args, context).await,
        Command::Broker(args) => broker::run(args, context).await,
        Command::Completion(args) => completion::run(&args, context),
    }
}
