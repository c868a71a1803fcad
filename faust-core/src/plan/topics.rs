//! Creates the plan's missing topics and checks the existing ones. Existing topics are never altered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::model::{Plan, TopicPlan, TopicRole};
use super::topic_configs::{self, Findings, check_source};
use crate::config::Settings;
use crate::error::Error;
use crate::transport::{Admin, NewTopic, Retries, TopicConfigs, Transport};

/// Ensures that every topic of the plan exists and fits the plan, and fills in the partition counts. Returns the topics'
/// configurations, as far as the worker may look them up.
///
/// Waits for unavailable brokers, and for missing topics that it is not allowed to create.
///
/// # Errors
/// Reports all topics that do not fit together. Fails if a broker permanently rejects a request.
pub(crate) async fn ensure_topics(
    plan: &mut Plan,
    transport: &dyn Transport,
    settings: &Settings,
) -> Result<TopicConfigs, Error> {
    let admin = &*transport.admin()?;
    let mut retries = Retries::default().of(transport.outage());
    loop {
        let existing = look(admin, plan, &mut retries).await?;
        for (name, count) in &existing {
            if let Some(topic) = plan.topics_mut().get_mut(name) {
                topic.partitions = Some(*count);
            }
        }
        let (create, missing) = missing(plan, settings);
        if create.is_empty() && missing.is_empty() {
            let faults = count_faults(plan);
            if !faults.is_empty() {
                return Err(Error::setup(faults));
            }
            create_control(plan, admin, settings).await;
            return check_configs(plan, admin, settings, &mut retries).await;
        }
        if !create.is_empty() {
            for topic in &create {
                tracing::info!("creating topic `{}` with {} partitions", topic.name, topic.partitions);
            }
            retries.run("the broker to create topics", || admin.create(create.clone())).await?;
            // Internal topics follow in the next round: their partition counts are those of the topics created now.
            continue;
        }
        let missing: Vec<_> = missing.iter().map(|name| format!("topic `{name}`")).collect();
        let text = format!(
            "waiting for {}: create them, or set `topic_allow_declare` to let workers create them",
            missing.join(", ")
        );
        retries.pause(&text).await;
    }
}

/// Creates the control topic if it is missing. Without it, the app runs as well.
async fn create_control(plan: &mut Plan, admin: &dyn Admin, settings: &Settings) {
    let name = plan.control_topic();
    let Some(topic) = plan.topics_mut().get_mut(&name).filter(|topic| topic.partitions.is_none()) else { return };
    match admin.create(vec![creation(topic, 1, settings)]).await {
        Ok(()) => topic.partitions = Some(1),
        Err(error) => tracing::warn!(
            "the control topic `{name}` does not exist and cannot be created, so that other programs with the id of this app, and other versions of it, are not noticed: {error}"
        ),
    }
}

/// Looks up the configurations of the topics, checks them, and logs warnings.
async fn check_configs(
    plan: &Plan,
    admin: &dyn Admin,
    settings: &Settings,
    retries: &mut Retries,
) -> Result<TopicConfigs, Error> {
    let names: Vec<_> = plan.topics().map(|topic| topic.name().to_owned()).collect();
    let found = retries.run("the broker to look up configurations", || admin.configs(names.clone())).await?;
    let findings = config_findings(plan, &found, settings);
    for warning in findings.warnings {
        tracing::warn!("{warning}");
    }
    if findings.faults.is_empty() { Ok(found) } else { Err(Error::setup(findings.faults)) }
}

/// Checks the configurations of existing topics.
fn config_findings(plan: &Plan, found: &TopicConfigs, settings: &Settings) -> Findings {
    let mut findings = Findings::default();
    for topic in plan.topics() {
        let Some(configs) = found.get(topic.name()) else { continue };
        topic_configs::check(topic, configs, settings, &mut findings);
        if topic.role == TopicRole::Source {
            findings.warnings.extend(check_source(topic, configs, settings));
        }
    }
    findings
}

async fn look(admin: &dyn Admin, plan: &Plan, retries: &mut Retries) -> Result<BTreeMap<String, i32>, Error> {
    let names: Vec<String> = plan.topics().map(|topic| topic.name().to_owned()).collect();
    Ok(retries.run("the broker to look up topics", || admin.topics(Some(names.clone()))).await?)
}

/// Returns the topics to create now, and the names of those that the worker may not create and waits for.
fn missing(plan: &Plan, settings: &Settings) -> (Vec<NewTopic>, Vec<String>) {
    let mut create = Vec::new();
    let mut wait = Vec::new();
    let wanted = |topic: &&TopicPlan| topic.partitions.is_none() && topic.role != TopicRole::Control;
    for topic in plan.topics().filter(wanted) {
        let Some(partitions) = partitions_for(plan, topic, settings) else { continue };
        // The setting does not apply to internal topics and changelogs: only the app uses them, and cannot run without
        // them.
        if settings.topic_allow_declare || matches!(topic.role, TopicRole::Internal | TopicRole::Changelog) {
            create.push(creation(topic, partitions, settings));
        } else {
            wait.push(topic.name().to_owned());
        }
    }
    (create, wait)
}

/// Returns the number of partitions for a missing topic; `None` while a topic that determines it is missing as well.
fn partitions_for(plan: &Plan, topic: &TopicPlan, settings: &Settings) -> Option<i32> {
    if topic.like.is_empty() {
        return Some(settings.topic_partitions);
    }
    topic.like.iter().map(|source| count(plan, source)).collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn count(plan: &Plan, topic: &Arc<str>) -> Option<i32> {
    plan.topics.get(&**topic).and_then(|topic| topic.partitions)
}

/// Builds the creation request of a topic. Its declaration takes precedence over the settings.
fn creation(topic: &TopicPlan, partitions: i32, settings: &Settings) -> NewTopic {
    let configs = topic_configs::configs(topic, settings);
    NewTopic {
        name: topic.name().to_owned(),
        partitions: topic.decl.and_then(|decl| decl.partitions).unwrap_or(partitions),
        replication: topic.decl.and_then(|decl| decl.replication).unwrap_or(settings.topic_replication_factor),
        configs: configs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

/// Checks the partition counts of existing topics, and returns each fault with its fix.
fn count_faults(plan: &Plan) -> Vec<String> {
    let mut faults = Vec::new();
    for topic in plan.topics() {
        // The partitions of a topic that a worker waits for are unknown.
        let Some(have) = topic.partitions else { continue };
        let name = topic.name();
        if let Some(declared) = topic.decl.and_then(|decl| decl.partitions).filter(|&declared| declared != have) {
            faults.push(format!("topic `{name}` has {have} partitions, but it is declared with {declared}; change the declaration, or recreate the topic"));
        }
        let like = topic.like.iter().filter_map(|source| count(plan, source)).max();
        if let Some(needed) = like.filter(|&needed| topic.follows && needed != have) {
            let sources = topic.like.join("`, `");
            faults.push(format!("topic `{name}` has {have} partitions, but `{sources}` has {needed}; once `{name}` is empty, delete it: it is then recreated with {needed}"));
        }
    }
    for set in plan.sets().iter().filter(|set| !set.tables.is_empty()) {
        let counts: BTreeSet<_> = set.topics.iter().filter_map(|topic| count(plan, topic)).collect();
        if counts.len() > 1 {
            let tables = set.tables.iter().map(|table| format!("`{table}`")).collect::<Vec<_>>().join(", ");
            let sources = set.topics.iter().filter_map(|topic| Some(format!("`{topic}` has {}", count(plan, topic)?)));
            faults.push(format!(
                "table {tables} is used with topics of different partition counts: {}; create them with the same count, or put a `group_by` before the table",
                sources.collect::<Vec<_>>().join(", ")
            ));
        }
    }
    faults
}

/// The check of a plan's topics against those of the broker.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TopicsCheck {
    /// The topics that a worker would create when it starts, except those whose partition counts depend on awaited topics.
    pub missing: Vec<NewTopic>,
    /// The topics that do not exist, and that the settings forbid to create.
    pub awaited: Vec<String>,
    /// Reasons for which a worker would not start, each with its fix.
    pub faults: Vec<String>,
    /// Reasons for which it may stop or lose something later, each with its fix.
    pub warnings: Vec<String>,
}

impl TopicsCheck {
    /// Compares the topics of the plan with those that exist, by their partition counts and configurations, without changing
    /// anything. A worker makes the same checks when it starts. Nothing is concluded from the partition count of a topic that
    /// is awaited, unless it is declared.
    pub fn of(plan: &Plan, existing: &BTreeMap<String, i32>, configs: &TopicConfigs, settings: &Settings) -> Self {
        let mut plan = plan.clone();
        for topic in plan.topics_mut().values_mut() {
            topic.partitions = existing.get(topic.name()).copied();
        }
        let (mut check, mut awaited) = (Self::default(), BTreeSet::new());
        loop {
            let (create, wait) = missing(&plan, settings);
            // The partition counts of these topics determine those of others.
            let declared = |name: &String| Some((name.clone(), plan.topics.get(name)?.decl?.partitions?));
            let counts: Vec<_> = create
                .iter()
                .map(|topic| (topic.name.clone(), topic.partitions))
                .chain(wait.iter().filter_map(declared))
                .collect();
            awaited.extend(wait);
            if counts.is_empty() {
                break;
            }
            for (name, count) in counts {
                if let Some(topic) = plan.topics_mut().get_mut(&name) {
                    topic.partitions = Some(count);
                }
            }
            check.missing.extend(create);
        }
        check.awaited = awaited.into_iter().collect();
        let control = plan.topics().filter(|topic| topic.role == TopicRole::Control && topic.partitions.is_none());
        check.missing.extend(control.map(|topic| creation(topic, 1, settings)));
        for topic in plan.topics_mut().values_mut().filter(|topic| topic.role == TopicRole::Control) {
            topic.partitions.get_or_insert(1);
        }
        let findings = config_findings(&plan, configs, settings);
        check.faults = count_faults(&plan);
        check.faults.extend(findings.faults);
        check.warnings = findings.warnings;
        check
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::super::model::TaskSet;
    use super::*;
    use crate::config::Layers;
    use crate::declare::TopicDecl;

    /// A table that is used with the topics `a` and `b`, and a changelog and a repartition topic that follow them.
    fn plan(b: Option<i32>) -> Plan {
        let mut plan = Plan::build("shop", Vec::new(), Vec::new()).unwrap();
        plan.topics_mut().retain(|_, topic| topic.role == TopicRole::Control);
        let names: [Arc<str>; 2] = ["a".into(), "b".into()];
        for name in &names {
            plan.topic(name, TopicRole::Source);
        }
        let decl = TopicDecl { partitions: b, ..TopicDecl::new("b") };
        plan.topic("b", TopicRole::Source).decl = Some(decl);
        for (name, role, like) in
            [("log", TopicRole::Changelog, &names[..]), ("of-b", TopicRole::Internal, &names[1..])]
        {
            let topic = plan.topic(name, role);
            (topic.like, topic.follows) = (like.to_vec(), true);
        }
        plan.sets = vec![TaskSet { topics: names.into(), tables: ["t".into()].into(), stages: Vec::new() }];
        plan
    }

    fn check(plan: &Plan, existing: &[(&str, i32)]) -> (Vec<(String, i32)>, Vec<String>, Vec<String>) {
        let mut settings = Layers::default().resolve("shop").unwrap().settings;
        settings.topic_allow_declare = false;
        let existing = existing.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let check = TopicsCheck::of(plan, &existing, &TopicConfigs::new(), &settings);
        let missing = check.missing.into_iter().map(|topic| (topic.name, topic.partitions));
        (missing.collect(), check.awaited, check.faults)
    }

    #[test]
    fn nothing_is_concluded_from_the_partitions_of_an_awaited_topic() {
        let (missing, awaited, faults) = check(&plan(None), &[("a", 7)]);
        assert_eq!((missing, awaited), (vec![("shop-control".to_owned(), 1)], vec!["b".to_owned()]));
        assert_eq!(faults, [""; 0]);
    }

    #[test]
    fn the_declaration_of_an_awaited_topic_counts() {
        let (missing, awaited, faults) = check(&plan(Some(9)), &[("a", 7)]);
        let created = [("log", 9), ("of-b", 9), ("shop-control", 1)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!((missing, awaited), (created.to_vec(), vec!["b".to_owned()]));
        assert!(faults.len() == 1 && faults[0].contains("`a` has 7, `b` has 9"), "{faults:?}");
    }
}
