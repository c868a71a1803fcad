//! `clean-versions`: removes what older versions of the app have left on this machine and on the broker.

use std::collections::BTreeSet;
use std::time::Duration;

use faust_core::config::Settings;
use faust_core::local::{LocalState, version_of_group, version_of_topic};
use faust_core::plan::{Plan, TopicPlan};
use faust_core::time::parse_duration;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::removal::{Consent, Removal, without_members};

/// Whether to ask.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    consent: Consent,
    /// Give up when the broker does not answer in this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

pub(crate) async fn run(args: Args, mut context: Context) -> Result<(), Failure> {
    let mut client = Client::find(context.resolve()?, args.timeout, &context.out).await?;
    let settings = client.settings.clone();
    let (app, mut out) = context.unchecked();
    let plan = app.build()?.plan().await?;
    let admin = client.transport.admin()?;
    let groups = client.retry(|| admin.groups()).await?;
    let topics = client.retry(|| admin.topics(None)).await?;

    let is_older = |version: &u32| *version < settings.version;
    let mut removal = Removal { state: LocalState::find(&settings.datadir)?, ..Removal::default() };
    removal.state.retain(|state| is_older(&state.version()));
    for group in groups.keys() {
        if let Some(version) = version_of_group(&settings.id, group).filter(is_older) {
            without_members(group, &groups, &settings)?;
            removal.groups.push((version, group.clone()));
        }
    }
    let (ours, doubtful) = older_topics(&plan, &settings, topics.into_keys());
    removal.topics = ours;
    if !doubtful.is_empty() {
        out.note(format!(
            "left alone, since they may be of another app whose id begins with `{}-`: {}; delete them by hand if they are of version 1",
            settings.id,
            doubtful.join(", ")
        ));
    }
    removal.carry_out(&args.consent, Some(client), &mut out).await
}

/// The topics of older versions, and those that may be of version 1: its names have no mark, so for certain it had only
/// those that the app would still give.
fn older_topics(
    plan: &Plan,
    settings: &Settings,
    topics: impl Iterator<Item = String>,
) -> (Vec<(u32, String)>, Vec<String>) {
    let current: BTreeSet<&str> = plan.topics().map(TopicPlan::name).collect();
    let group = settings.group();
    let first = |topic: &str| topic.strip_prefix(group.as_str()).map(|rest| format!("{}{rest}", settings.id));
    let firsts: BTreeSet<String> = plan.own_topics().into_iter().filter_map(first).collect();
    let (mut ours, mut doubtful) = (Vec::new(), Vec::new());
    for topic in topics.filter(|topic| !current.contains(topic.as_str())) {
        match version_of_topic(&settings.id, &topic) {
            Some(1) if settings.version > 1 && !firsts.contains(&topic) => doubtful.push(topic),
            Some(version) if version < settings.version => ours.push((version, topic)),
            _ => {}
        }
    }
    (ours, doubtful)
}
