//! Makes the broker's topics fit the plan: creates what is missing, checks what is there, never alters it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::model::{Plan, TopicPlan, TopicRole};
use crate::config::Settings;
use crate::declare::TopicDecl;
use crate::error::{Error, TransportError};
use crate::time::millis;
use crate::transport::{Admin, NewTopic};

/// Settles every topic of the plan and fills in partition counts.
///
/// Waits for brokers that are away, and for missing topics that it may not create.
///
/// # Errors
/// Topics that do not fit, all together; what a broker refuses for good.
pub(crate) async fn ensure_topics(plan: &mut Plan, admin: &dyn Admin, settings: &Settings) -> Result<(), Error> {
    let mut waiting = Waiting::default();
    loop {
        let existing = look(admin, plan, &mut waiting).await?;
        for (name, count) in &existing {
            if let Some(topic) = plan.topics_mut().get_mut(name) {
                topic.partitions = Some(*count);
            }
        }
        let (create, missing) = missing(plan, settings);
        if create.is_empty() && missing.is_empty() {
            check(plan)?;
            return check_changelogs(plan, admin, &mut waiting).await;
        }
        if !create.is_empty() {
            for topic in &create {
                tracing::info!("creating topic `{}` with {} partitions", topic.name, topic.partitions);
            }
            retry("create topics", &mut waiting, || admin.create(create.clone())).await?;
            // Internal topics come next round: they take their count from what was created now.
            continue;
        }
        waiting.say(&format!(
            "waiting for {}: create them, or allow it with `topic_allow_declare`",
            missing.iter().map(|name| format!("topic `{name}`")).collect::<Vec<_>>().join(", ")
        ));
        tokio::time::sleep(WAIT).await;
    }
}

/// A changelog that is not compacted alone loses what the table has: by age, by size.
async fn check_changelogs(plan: &Plan, admin: &dyn Admin, waiting: &mut Waiting) -> Result<(), Error> {
    let names: Vec<_> = plan.tables().map(|table| table.changelog().to_owned()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let policies = retry("look up the changelogs", waiting, || admin.configs(names.clone(), "cleanup.policy")).await?;
    let faults: Vec<_> = policies
        .into_iter()
        .filter(|(_, policy)| policy != "compact")
        .map(|(topic, policy)| {
            format!(
                "topic `{topic}` keeps a table and has `cleanup.policy={policy}`, so that what is old is deleted and cannot be restored; set it to `compact`"
            )
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Error::setup(faults)) }
}

/// The pause between two looks.
const WAIT: Duration = Duration::from_millis(500);
/// How long a broker may take to answer before that is worth a word.
const SILENCE: Duration = Duration::from_secs(2);

async fn look(admin: &dyn Admin, plan: &Plan, waiting: &mut Waiting) -> Result<BTreeMap<String, i32>, Error> {
    let names: Vec<String> = plan.topics().map(|topic| topic.name().to_owned()).collect();
    retry("look up topics", waiting, || admin.topics(Some(names.clone()))).await
}

/// Tries until the broker answers (promise P7). No `AsyncFn`, with which `start()` could not be spawned: rust#110338.
async fn retry<'a, T>(
    what: &str,
    waiting: &mut Waiting,
    attempt: impl Fn() -> BoxFuture<'a, Result<T, TransportError>>,
) -> Result<T, Error> {
    loop {
        let mut attempt = attempt();
        let answer = tokio::select! {
            biased;
            answer = &mut attempt => answer,
            () = tokio::time::sleep(SILENCE) => {
                // A request that finds no broker takes its time to fail; people should not wonder meanwhile.
                waiting.say(&format!("waiting for the broker to {what}: no answer yet"));
                attempt.await
            }
        };
        match answer {
            Ok(value) => return Ok(value),
            Err(error) if error.is_retriable() => {
                waiting.say(&format!("waiting for the broker to {what}: {error}"));
                tokio::time::sleep(WAIT).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Says what is waited for: at once, then every ten seconds.
#[derive(Default)]
struct Waiting {
    said: Option<(String, tokio::time::Instant)>,
}

impl Waiting {
    fn say(&mut self, what: &str) {
        let recent =
            self.said.as_ref().is_some_and(|(said, when)| said == what && when.elapsed() < Duration::from_secs(10));
        if !recent {
            tracing::warn!("{what}");
            self.said = Some((what.to_owned(), tokio::time::Instant::now()));
        }
    }
}

/// What to create now, and what can only be waited for.
fn missing(plan: &Plan, settings: &Settings) -> (Vec<NewTopic>, Vec<String>) {
    let mut create = Vec::new();
    let mut wait = Vec::new();
    for topic in plan.topics().filter(|topic| topic.partitions.is_none()) {
        let Some(partitions) = partitions_for(plan, topic, settings) else { continue };
        // Internal topics are the app's own: without them it cannot run, so the setting does not cover them.
        if settings.topic_allow_declare || matches!(topic.role, TopicRole::Internal | TopicRole::Changelog) {
            create.push(creation(topic, partitions, settings));
        } else {
            wait.push(topic.name().to_owned());
        }
    }
    (create, wait)
}

/// How many partitions a missing topic gets; `None` while the topics it follows are missing themselves.
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
        // A message at the size limit must still fit when our headers are added, and must not be swept away unseen.
        new.configs.insert("max.message.bytes".to_owned(), DEAD_LETTER_MAX.to_string());
        new.configs.insert("retention.ms".to_owned(), "-1".to_owned());
    }
    if topic.role == TopicRole::Changelog {
        let lag = millis(settings.changelog_compaction_lag).to_string();
        new.configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
        // What was committed stays readable under what was not, until a worker has set that right.
        new.configs.insert("min.compaction.lag.ms".to_owned(), lag);
        // Nothing in it has the events' times, which may be old enough to be swept away.
        new.configs.insert("message.timestamp.type".to_owned(), "LogAppendTime".to_owned());
        new.configs.insert("max.message.bytes".to_owned(), DEAD_LETTER_MAX.to_string());
        // Only closed segments are compacted: with Kafka's gigabyte a restore would read most of what was ever written.
        new.configs.insert("segment.bytes".to_owned(), CHANGELOG_SEGMENT.to_string());
    }
    new
}

/// A segment of a changelog, in bytes.
const CHANGELOG_SEGMENT: u32 = 64 << 20;
/// The largest dead letter, in bytes.
const DEAD_LETTER_MAX: u32 = 16 << 20;

/// Counts that do not fit, each with its fix. Other properties of a topic that exists are its owner's: not compared.
fn check(plan: &Plan) -> Result<(), Error> {
    let mut faults = Vec::new();
    for topic in plan.topics() {
        let (name, have) = (topic.name(), topic.partitions.unwrap_or_default());
        if let Some(declared) = topic.decl.and_then(|decl| decl.partitions).filter(|&declared| declared != have) {
            faults.push(format!("topic `{name}` has {have} partitions, but it is declared with {declared}; change the declaration, or create the topic anew"));
        }
        let like = topic.like.iter().filter_map(|source| count(plan, source)).max();
        if let Some(needed) = like.filter(|&needed| topic.follows && needed != have) {
            let sources = topic.like.join("`, `");
            faults.push(format!("topic `{name}` has {have} partitions, but `{sources}` has {needed}; delete `{name}` when it is empty, it is created again with {needed}"));
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

/// What a topic is created with: its own declaration first, then the settings.
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
