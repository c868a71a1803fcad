//! `reset`: removes the local state of the tables; with `--topics`, also the topics and the group from which the app
//! would resume.

use std::time::Duration;

use faust_core::app::AppBuilder;
use faust_core::config::Settings;
use faust_core::local::LocalState;
use faust_core::local::WorkerDir;
use faust_core::time::parse_duration;

use crate::client::Client;
use crate::consent::Consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::removal::{Removal, ensure_no_members};

/// Options of `reset`.
#[derive(clap::Args, Debug)]
pub(crate) struct ResetArgs {
    /// Also delete the changelogs, repartition topics and committed offsets, so that the app starts over. All other
    /// topics are kept, including the dead letters
    #[arg(long)]
    topics: bool,
    #[command(flatten)]
    consent: Consent,
    /// Fail if the broker does not respond within this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

pub(crate) async fn run(args: ResetArgs, mut context: Context) -> Result<(), Failure> {
    let resolved = context.resolve()?;
    let settings = resolved.settings.clone();
    // The locks prevent workers from starting in these directories until the command has completed.
    let _workers = WorkerDir::take_all(&settings.datadir)?;
    let mut removal = Removal { state: LocalState::find(&settings.datadir)?, ..Removal::default() };
    removal.state.retain(|state| state.version() == settings.version);
    let mut client = match args.topics {
        true => Some(Client::find(resolved, args.timeout, &context.out).await?),
        false => None,
    };
    let (app, mut out) = context.unchecked();
    if let Some(client) = &mut client {
        add_broker_state(&mut removal, app, &settings, client).await?;
    }
    removal.carry_out(&args.consent, client, &mut out).await
}

/// Adds the group and the topics that the broker holds for this version of the app.
async fn add_broker_state(
    removal: &mut Removal,
    app: AppBuilder,
    settings: &Settings,
    client: &mut Client,
) -> Result<(), Failure> {
    let plan = app.build()?.plan().await?;
    let admin = client.transport.admin()?;
    let (group, version) = (settings.group(), settings.version);
    ensure_no_members(&group, client).await?;
    if client.retry(|| admin.groups()).await?.contains(&group) {
        removal.groups.push((version, group));
    }
    let own: Vec<String> = plan.own_topics().into_iter().map(str::to_owned).collect();
    if !own.is_empty() {
        let existing = client.retry(|| admin.topics(Some(own.clone()))).await?;
        removal.topics.extend(existing.into_keys().map(|topic| (version, topic)));
    }
    Ok(())
}
