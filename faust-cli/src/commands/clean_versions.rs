//! `clean-versions`: removes the state of older versions of the app from this machine, and their topics and groups from
//! the broker.

use std::collections::BTreeSet;
use std::time::Duration;

use faust_core::config::Settings;
use faust_core::local::{LocalState, version_of_group, version_of_topic};
use faust_core::plan::{Plan, TopicPlan};
use faust_core::time::parse_duration;

use crate::client::Client;
use crate::consent::Consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::removal::{Removal, ensure_no_members};

/// Options of `clean-versions`.
#[derive(clap::Args, Debug)]
pub(crate) struct CleanVersionsArgs {
    #[command(flatten)]
    consent: Consent,
    /// Fail if the broker does not respond within this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

pub(crate) async fn run(args: CleanVersionsArgs, mut context: Context) -> Result<(), Failure> {
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
    for group in groups {
        if let Some(version) = version_of_group(&settings.id, &group).filter(is_older) {
            ensure_no_members(&group, &mut client).await?;
            removal.groups.push((version, group));
        }
    }
    let (ours, ambiguous) = older_topics(&plan, &settings, topics.into_keys());
    removal.topics = ours;
    if !ambiguous.is_empty() {
        out.note(format!(
            "not removed, because they may belong to another app whose id begins with `{}-`: {}; if they belong to version 1 of this app, delete them manually",
            settings.id,
            ambiguous.join(", ")
        ));
    }
    removal.carry_out(&args.consent, Some(client), &mut out).await
}

/// Returns the topics of older versions, and the topics that may belong to version 1. Topic names of version 1 contain
/// no version, so a topic certainly belongs to it only if the app would still give it that name.
fn older_topics(
    plan: &Plan,
    settings: &Settings,
    topics: impl Iterator<Item = String>,
) -> (Vec<(u32, String)>, Vec<String>) {
    let current: BTreeSet<&str> = plan.topics().map(TopicPlan::name).collect();
    let group = settings.group();
    let first = |topic: &str| topic.strip_prefix(group.as_str()).map(|rest| format!("{}{rest}", settings.id));
    let firsts: BTreeSet<String> = plan.own_topics().into_iter().filter_map(first).collect();
    let (mut ours, mut ambiguous) = (Vec::new(), Vec::new());
    for topic in topics.filter(|topic| !current.contains(topic.as_str())) {
        match version_of_topic(&settings.id, &topic) {
            Some(1) if settings.version > 1 && !firsts.contains(&topic) => ambiguous.push(topic),
            Some(version) if version < settings.version => ours.push((version, topic)),
            _ => {}
        }
    }
    (ours, ambiguous)
}
