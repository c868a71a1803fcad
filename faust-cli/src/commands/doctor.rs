//! `doctor`: checks the machine, the broker, the rights and the topics of the app, one line each with the fix.

mod check;
mod clock;
mod machine;
mod release;
mod security;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use faust_core::app::AppBuilder;
use faust_core::plan::{Plan, TopicsCheck};
use faust_core::time::parse_duration;
use faust_core::transport::ClusterState;
use faust_core::transport::kafka::build_features;

use self::check::{Check, CheckState};
use self::topics::Topics;
use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

/// Options of `doctor`.
#[derive(clap::Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Time to wait for the broker
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    timeout: Duration,
}

pub(crate) async fn run(args: DoctorArgs, mut context: Context) -> Result<(), Failure> {
    let resolved = context.resolve()?;
    let settings = resolved.settings.clone();
    let mut checks = {
        let settings = settings.clone();
        let checks = move || [machine::checks(&settings), security::checks(&settings, &build_features())].concat();
        tokio::task::spawn_blocking(checks).await.map_err(Failure::error)?
    };
    let (app, mut out) = context.unchecked();
    let plan = plan(app, &mut checks).await;
    // Behind the plan: its agents may take long, and the timeout is for the broker.
    let client = Client::find(resolved, Some(args.timeout), &out).await;
    match client {
        Ok(client) => cluster(client, plan.as_ref(), &mut checks).await,
        Err(Failure::Error(why)) => checks.push(Check::fail("broker", why)),
        Err(failure) => return Err(failure),
    }
    report(&mut out, &checks)
}

/// Builds the app's plan. Its faults are findings.
async fn plan(app: AppBuilder, checks: &mut Vec<Check>) -> Option<Plan> {
    let planned = async { app.build()?.partial_plan().await };
    match planned.await {
        Ok((plan, failures)) => {
            checks.extend(failures.into_iter().map(|why| Check::fail("agents", why)));
            let agents: BTreeSet<_> = plan.stages().iter().map(|stage| stage.agent()).collect();
            let agents = agents.into_iter().map(|agent| format!("@{agent}")).collect::<Vec<_>>();
            checks.push(Check::ok("agents", format!("{} can start", agents.join(", "))));
            Some(plan)
        }
        Err(error) => {
            checks.push(Check::fail("agents", error.to_string()));
            None
        }
    }
}

/// Checks the broker, and the app's topics on it if there is a plan.
async fn cluster(mut client: Client, plan: Option<&Plan>, checks: &mut Vec<Check>) {
    let names = plan.map_or_else(Vec::new, |plan| plan.topics().map(|topic| topic.name().to_owned()).collect());
    let cluster = match inspect(&mut client, names.clone()).await {
        Ok(cluster) => cluster,
        Err(Failure::Error(why)) => return checks.push(Check::fail("broker", why)),
        Err(_) => return,
    };
    let brokers = match cluster.brokers.len() {
        1 => "1 broker answers".to_owned(),
        count => format!("{count} brokers answer: {}", cluster.brokers.join(", ")),
    };
    checks.push(Check::ok("broker", format!("{}: {brokers}", client.description)));
    checks.push(release::check(&cluster.apis, &client.settings));
    if let Some(plan) = plan {
        match topics(&mut client, plan, &cluster).await {
            Ok(found) => checks.extend(found),
            Err(Failure::Error(why)) => checks.push(Check::fail("topics", why)),
            Err(_) => {}
        }
        checks.push(clock(&mut client, plan, &cluster).await);
    }
}

async fn inspect(client: &mut Client, names: Vec<String>) -> Result<ClusterState, Failure> {
    let (admin, group) = (client.transport.admin()?, client.settings.group());
    client.retry(|| admin.inspect(names.clone(), &group)).await
}

async fn topics(client: &mut Client, plan: &Plan, cluster: &ClusterState) -> Result<Vec<Check>, Failure> {
    let (admin, settings) = (client.transport.admin()?, client.settings.clone());
    let described = cluster.topics.iter().filter_map(|(name, state)| Some((name, state.as_ref().ok()?)));
    let existing: BTreeMap<String, i32> = described
        .map(|(name, state)| (name.clone(), i32::try_from(state.partitions.len()).unwrap_or(i32::MAX)))
        .collect();
    let names: Vec<_> = existing.keys().cloned().collect();
    let configs = client.retry(|| admin.configs(names.clone())).await?;
    let mut found = TopicsCheck::of(plan, &existing, &configs, &settings);
    // Whether a topic that cannot be described exists is unknown; its right is reported.
    found.missing.retain(|topic| !cluster.topics.contains_key(&topic.name));
    found.awaited.retain(|topic| !cluster.topics.contains_key(topic));
    let refused = client.retry(|| admin.check_creation(found.missing.clone())).await?;
    let topics = Topics { plan, settings: &settings, cluster, configs: &configs, found: &found, refused: &refused };
    Ok(topics.checks())
}

/// Compares the clocks, if the broker is on another machine, and the topic for that exists.
async fn clock(client: &mut Client, plan: &Plan, cluster: &ClusterState) -> Check {
    let topic = plan.control_topic();
    if client.is_embedded {
        return Check::ok("clock", "the embedded broker has the clock of this machine");
    }
    match cluster.topics.get(&topic) {
        Some(Ok(_)) if !is_stamped(client, &topic).await => Check::warn(
            "clock",
            format!(
                "not compared with the broker's, because topic `{topic}` does not have `message.timestamp.type=LogAppendTime`: set it"
            ),
        ),
        Some(Ok(_)) => clock::check(&*client.transport, &topic, &client.settings).await,
        _ => Check::warn(
            "clock",
            format!(
                "not compared with the broker's, because topic `{topic}` does not exist: run `doctor` again once a worker has run"
            ),
        ),
    }
}

/// Returns whether the broker gives the records of a topic their time. Otherwise the clock would be compared with itself.
async fn is_stamped(client: &mut Client, topic: &str) -> bool {
    let Ok(admin) = client.transport.admin() else { return false };
    let configs = client.retry(|| admin.configs(vec![topic.to_owned()])).await.unwrap_or_default();
    let kind = configs.get(topic).and_then(|configs| configs.get("message.timestamp.type"));
    kind.is_some_and(|kind| kind == "LogAppendTime")
}

/// Prints the checks.
///
/// # Errors
/// A check has failed.
fn report(out: &mut Output, checks: &[Check]) -> Result<(), Failure> {
    if out.json {
        out.object(&checks)?;
        out.flush()?;
    } else {
        let lines: Vec<_> = checks.iter().map(Check::to_string).collect();
        out.text(lines.join("\n"))?;
    }
    match checks.iter().filter(|check| check.state == CheckState::Fail).count() {
        0 => Ok(()),
        1 => Err(Failure::error("a check has failed")),
        count => Err(Failure::error(format!("{count} checks have failed"))),
    }
}
