//! The commands, one file each with its options and implementation, and the dispatch to them.

mod agents;
pub(crate) mod broker;
mod clean_versions;
mod completion;
mod consume;
mod doctor;
mod model;
mod models;
mod recover;
mod reset;
mod send;
mod settings;
mod skip;
mod tables;
mod topics;
mod topology;
mod upgrade_check;
mod worker;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Failure;

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
    /// Check the machine, the broker, the rights and the topics of the app
    ///
    /// It changes nothing but the app's topic `<app>-control`: a record in it, which workers ignore, shows the broker's time.
    Doctor(doctor::DoctorArgs),
    /// Skip an event that an agent fails at each time
    Skip(skip::SkipArgs),
    /// Commit the positions again after the group's offsets have expired
    Recover(recover::RecoverArgs),
    /// Compare the plan of the running workers with that of this program, before an upgrade
    UpgradeCheck(upgrade_check::UpgradeCheckArgs),
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
            Self::Doctor(args) => doctor::run(args, context).await,
            Self::Skip(args) => skip::run(args, context).await,
            Self::Recover(args) => recover::run(args, context).await,
            Self::UpgradeCheck(args) => upgrade_check::run(args, context).await,
            Self::Reset(args) => reset::run(args, context).await,
            Self::CleanVersions(args) => clean_versions::run(args, context).await,
            Self::Broker(args) => broker::run(args, context).await,
            Self::Completion(args) => completion::run(&args, command_line, context),
        }
    }
}
