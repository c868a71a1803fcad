//! `reset`: removes the tables that this machine keeps; with `--topics`, all that lets the app go on where it was.

use std::time::Duration;

use faust_core::app::AppBuilder;
use faust_core::config::Settings;
use faust_core::local::LocalState;
use faust_core::local::WorkerDir;
use faust_core::time::parse_duration;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::removal::{Consent, Removal, without_members};

/// How far to go back.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Start over: also delete the app's changelogs, repartition topics and committed offsets. Topics that others fill
    /// or read and dead letters stay
    #[arg(long)]
    topics: bool,
    #[command(flatten)]
    consent: Consent,
    /// Give up when the broker does not answer in this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

pub(crate) async fn run(args: Args, mut context: Context) -> Result<(), Failure> {
    let resolved = context.resolve()?;
    let settings = resolved.settings.clone();
    // Until the end no worker starts in these directories.
    let _workers = WorkerDir::take_all(&settings.datadir)?;
    let mut removal = Removal { state: LocalState::find(&settings.datadir)?, ..Removal::default() };
    removal.state.retain(|state| state.version() == settings.version);
    let mut client = match args.topics {
        true => Some(Client::find(resolved, args.timeout, &context.out).await?),
        false => None,
    };
    let (app, mut out) = context.unchecked();
    if let Some(client) = &mut client {
        on_the_broker(&mut removal, app, &settings, client).await?;
    }
    removal.carry_out(&args.consent, client, &mut out).await
}

/// Adds what the broker has of this app and version.
async fn on_the_broker(
    removal: &mut Removal,
    app: AppBuilder,
    settings: &Settings,
    client: &mut Client,
) -> Result<(), Failure> {
    let plan = app.build()?.plan().await?;
    let admin = client.transport.admin()?;
    let (group, version) = (settings.group(), settings.version);
    let groups = client.retry(|| admin.groups()).await?;
    without_members(&group, &groups, settings)?;
    if groups.contains_key(&group) {
        removal.groups.push((version, group));
    }
    let own: Vec<String> = plan.own_topics().into_iter().map(str::to_owned).collect();
    if !own.is_empty() {
        let existing = client.retry(|| admin.topics(Some(own.clone()))).await?;
        removal.topics.extend(existing.into_keys().map(|topic| (version, topic)));
    }
    Ok(())
}
