//! Creates the plan's missing topics and checks the existing ones. Existing topics are never altered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::model::{Plan, TopicPlan, TopicRole};
use crate::config::Settings;
use crate::declare::TopicDecl;
use crate::error::Error;
use crate::time::millis;
use crate::transport::{Admin, NewTopic, Retries};

/// Ensures that every topic of the plan exists and fits the plan, and fills in the partition counts.
///
/// Waits for unavailable brokers, and for missing topics that it is not allowed to create.
///
/// # Errors
/// Reports all topics that do not fit together. Fails if a broker permanently rejects a request.
pub(crate) async fn ensure_topics(plan: &mut Plan, admin: &dyn Admin, settings: &Settings) -> Result<(), Error> {
    let mut retries = Retries::default();
    loop {
        let existing = look(admin, plan, &mut retries).await?;
        for (name, count) in &existing {
            if let Some(topic) = plan.topics_mut().get_mut(name) {
                topic.partitions = Some(*count);
            }
        }
        let (create, missing) = missing(plan, settings);
        if create.is_empty() && missing.is_empty() {
            check(plan)?;
            return check_changelogs(plan, admin, &mut retries).await;
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

/// Checks that the cleanup policy of every changelog is `compact` alone: other policies delete records that the table
/// needs, by age or by size.
async fn check_changelogs(plan: &Plan, admin: &dyn Admin, retries: &mut Retries) -> Result<(), Error> {
    let names: Vec<_> = plan.tables().map(|table| table.changelog().to_owned()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let attempt = || admin.configs(names.clone(), "cleanup.policy");
    let policies = retries.run("the broker to look up the changelogs", attempt).await?;
    let faults: Vec<_> = policies
        .into_iter()
        .filter(|(_, policy)| policy != "compact")
        .map(|(topic, policy)| {
            format!(
                "topic `{topic}` is the changelog of a table, but has `cleanup.policy={policy}`: deleted records cannot be restored; set it to `compact`"
            )
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Error::setup(faults)) }
}

async fn look(admin: &dyn Admin, plan: &Plan, retries: &mut Retries) -> Result<BTreeMap<String, i32>, Error> {
    let names: Vec<String> = plan.topics().map(|topic| topic.name().to_owned()).collect();
    Ok(retries.run("the broker to look up topics", || admin.topics(Some(names.clone()))).await?)
}

/// Returns the topics to create now, and the names of those that the worker may not create and waits for.
fn missing(plan: &Plan, settings: &Settings) -> (Vec<NewTopic>, Vec<String>) {
    let mut create = Vec::new();
    let mut wait = Vec::new();
    for topic in plan.topics().filter(|topic| topic.partitions.is_none()) {
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

fn creation(topic: &TopicPlan, partitions: i32, settings: &Settings) -> NewTopic {
    let decl = topic.decl.unwrap_or(TopicDecl::new(""));
    let mut new = new_topic(&decl, partitions, settings.topic_replication_factor);
    new.name = topic.name().to_owned();
    if topic.role == TopicRole::DeadLetter {
        // A message at the size limit must still fit with the dead-letter headers, and must not expire before it is
        // inspected.
        new.configs.insert("max.message.bytes".to_owned(), DEAD_LETTER_MAX.to_string());
        new.configs.insert("retention.ms".to_owned(), "-1".to_owned());
    }
    if topic.role == TopicRole::Changelog {
        let lag = millis(settings.changelog_compaction_lag).to_string();
        new.configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
        // A committed value is kept beneath a later uncommitted one until a worker has rewritten it.
        new.configs.insert("min.compaction.lag.ms".to_owned(), lag);
        // Not the events' timestamps: they may be old enough for the broker to delete the records.
        new.configs.insert("message.timestamp.type".to_owned(), "LogAppendTime".to_owned());
        new.configs.insert("max.message.bytes".to_owned(), DEAD_LETTER_MAX.to_string());
        // Only closed segments are compacted. With Kafka's default of 1 GiB, a restore would read most records ever
        // written.
        new.configs.insert("segment.bytes".to_owned(), CHANGELOG_SEGMENT.to_string());
    }
    new
}

/// Segment size of a changelog in bytes.
const CHANGELOG_SEGMENT: u32 = 64 << 20;
/// Maximum message size of the dead-letter topic and of changelogs in bytes.
const DEAD_LETTER_MAX: u32 = 16 << 20;

/// Checks the partition counts of existing topics, and reports each fault with its fix. Other properties of a topic are
/// the owner's responsibility and are not compared.
fn check(plan: &Plan) -> Result<(), Error> {
    let mut faults = Vec::new();
    for topic in plan.topics() {
        let (name, have) = (topic.name(), topic.partitions.unwrap_or_default());
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
    if faults.is_empty() { Ok(()) } else { Err(Error::setup(faults)) }
}

/// Builds the creation request of a topic. Its declaration takes precedence over the settings.
fn new_topic(decl: &TopicDecl, partitions: i32, replication: i16) -> NewTopic {
    let mut configs = BTreeMap::new();
    if let Some(ms) = decl.retention_ms {
        configs.insert("retention.ms".to_owned(), ms.to_string());
    }
    if let Some(compacting) = decl.compacting {
        let policy = match (compacting, decl.retention_ms) {
            (true, Some(_)) => "compact,delete",
            (true, None) => "compact",
            (false, _) => "delete",
        };
        configs.insert("cleanup.policy".to_owned(), policy.to_owned());
    }
    NewTopic {
        name: decl.name.to_owned(),
        partitions: decl.partitions.unwrap_or(partitions),
        replication: decl.replication.unwrap_or(replication),
        configs,
    }
}
