//! The configurations of the topics that an app creates, and their check on the existing topics that only it uses.
//!
//! A new topic names every configuration that the app depends on: the defaults of a cluster may be anything.

use std::collections::BTreeMap;

use super::model::{TopicPlan, TopicRole};
use crate::config::Settings;
use crate::declare::TopicDecl;
use crate::time::millis;

const POLICY: &str = "cleanup.policy";
const RETENTION: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const TIME: &str = "message.timestamp.type";
/// Bounds of a message's timestamp, relative to the broker's clock (KIP-937, since Kafka 3.6).
const BEFORE: &str = "message.timestamp.before.max.ms";
const AFTER: &str = "message.timestamp.after.max.ms";
const SIZE: &str = "max.message.bytes";
const LAG: &str = "min.compaction.lag.ms";
const TOMBSTONES: &str = "delete.retention.ms";

const UNBOUNDED: i64 = i64::MAX;
/// Room in a batch for what surrounds a message of the maximum size: its key, the headers that the app adds, and the
/// framing.
const FRAMING: u64 = 1 << 20;
/// Segment size of a changelog in bytes. Only closed segments are compacted: with Kafka's default of 1 GiB, a restore
/// would read most records ever written. A batch must fit in a segment.
const CHANGELOG_SEGMENT: u64 = 64 << 20;
/// Segment size of the control topic in bytes, and the age at which its segments are closed: only closed ones are compacted.
const CONTROL_SEGMENT: u64 = 4 << 20;
const CONTROL_SEGMENT_MS: u32 = 3_600_000;
/// Time that a changelog keeps tombstones: twice the age at which a store no longer relies on them.
const TOMBSTONES_MS: u32 = 86_400_000;

/// Returns the configurations of a topic that the app creates.
pub(super) fn configs(topic: &TopicPlan, settings: &Settings) -> BTreeMap<&'static str, String> {
    let decl = topic.decl.unwrap_or(TopicDecl::new(""));
    let largest = settings.producer_max_request_size.0 + FRAMING;
    // The timestamps of messages are those of their events, which may be of any time.
    let mut configs = BTreeMap::from([
        (TIME, "CreateTime".to_owned()),
        (BEFORE, UNBOUNDED.to_string()),
        (AFTER, UNBOUNDED.to_string()),
        (SIZE, largest.to_string()),
    ]);
    match topic.role {
        TopicRole::Changelog => configs.extend([
            (POLICY, "compact".to_owned()),
            // A committed value is kept beneath a later uncommitted one until a worker has rewritten it.
            (LAG, millis(settings.changelog_compaction_lag).to_string()),
            // A default below the lag would make the broker refuse the topic.
            ("max.compaction.lag.ms", UNBOUNDED.to_string()),
            (TOMBSTONES, TOMBSTONES_MS.to_string()),
            // The lag is measured by timestamps: those of events may be old, and the clocks of workers wrong.
            (TIME, "LogAppendTime".to_owned()),
            ("segment.bytes", CHANGELOG_SEGMENT.max(largest).to_string()),
        ]),
        // Workers read all of it when they start, and compare times that only one clock has set.
        TopicRole::Control => configs.extend([
            (POLICY, "compact".to_owned()),
            (TIME, "LogAppendTime".to_owned()),
            (SIZE, CONTROL_SEGMENT.to_string()),
            ("segment.bytes", CONTROL_SEGMENT.to_string()),
            ("segment.ms", CONTROL_SEGMENT_MS.to_string()),
            (LAG, "0".to_owned()),
            ("max.compaction.lag.ms", UNBOUNDED.to_string()),
            (TOMBSTONES, TOMBSTONES_MS.to_string()),
        ]),
        // Messages must not expire before they are inspected.
        TopicRole::DeadLetter => configs.extend(kept_for_ever()),
        // The app deletes what it has committed. Records have the timestamps of their events, so a broker would delete
        // old events before they are read.
        TopicRole::Internal if topic.purge => configs.extend(kept_for_ever()),
        TopicRole::Internal | TopicRole::Source | TopicRole::Output => {
            let policy = match (decl.compacting, decl.retention_ms) {
                (Some(true), Some(_)) => "compact,delete",
                (Some(true), None) => "compact",
                _ => "delete",
            };
            configs.insert(POLICY, policy.to_owned());
            configs.extend(decl.retention_ms.map(|ms| (RETENTION, ms.to_string())));
        }
    }
    configs
}

fn kept_for_ever() -> [(&'static str, String); 3] {
    [(POLICY, "delete".to_owned()), (RETENTION, "-1".to_owned()), (RETENTION_BYTES, "-1".to_owned())]
}

/// The faults in the configuration of existing topics.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Reasons for which the app must not run: it would lose events or state without an error.
    pub(super) faults: Vec<String>,
    /// Reasons for which it may stop or lose something later.
    pub(super) warnings: Vec<String>,
}

/// Checks an existing topic, if only the app writes it. Configurations that a broker does not report, because it is too old, are skipped.
pub(super) fn check(topic: &TopicPlan, found: &BTreeMap<String, String>, settings: &Settings, findings: &mut Findings) {
    let needed = configs(topic, settings);
    for rule in rules(topic) {
        let (Some(needed), Some(value)) = (needed.get(rule.config), found.get(rule.config)) else { continue };
        if rule.fits(value, needed) {
            continue;
        }
        let (name, role, config, why) = (topic.name(), topic.role, rule.config, rule.why);
        let text = format!(
            "{role} topic `{name}` has `{config}={value}`: {why}; set it to `{needed}`: `kafka-configs \
             --bootstrap-server BROKER --alter --entity-type topics --entity-name {name} --add-config {config}={needed}`"
        );
        if rule.is_fault { &mut findings.faults } else { &mut findings.warnings }.push(text);
    }
}

/// Returns a warning if a topic takes larger messages than the app can send on.
pub(super) fn check_source(topic: &TopicPlan, found: &BTreeMap<String, String>, settings: &Settings) -> Option<String> {
    let (largest, limit) = (found.get(SIZE)?.parse::<u64>().ok()?, settings.producer_max_request_size);
    (largest > limit.0 + FRAMING).then(|| {
        format!(
            "source topic `{}` has `{SIZE}={largest}`, but `producer_max_request_size` is {limit}: a larger message \
             stops the agent that sends it on, in a `group_by` or to the dead-letter topic; raise \
             `producer_max_request_size`",
            topic.name()
        )
    })
}

/// A configuration that an existing topic should have.
#[derive(Clone, Copy)]
struct Rule {
    config: &'static str,
    /// `true` if a larger number fits as well.
    at_least: bool,
    is_fault: bool,
    /// The consequence of another value.
    why: &'static str,
}

impl Rule {
    const fn fault(config: &'static str, why: &'static str) -> Self {
        Self { config, at_least: false, is_fault: true, why }
    }

    const fn warning(config: &'static str, why: &'static str) -> Self {
        Self { config, at_least: false, is_fault: false, why }
    }

    const fn at_least(config: &'static str, why: &'static str) -> Self {
        Self { config, at_least: true, is_fault: false, why }
    }

    fn fits(self, value: &str, needed: &str) -> bool {
        let enough = || Some(value.parse::<i64>().ok()? >= needed.parse::<i64>().ok()?);
        value == needed || self.at_least && enough() == Some(true)
    }
}

const REFUSED_SIZE: &str = "a larger message is refused, which stops the agent";

/// Returns the rules for a topic. There are none for timestamps: those that the topic does not accept are sent in a header
/// (`stage/timestamps.rs`).
fn rules(topic: &TopicPlan) -> &'static [Rule] {
    match topic.role {
        TopicRole::Changelog => {
            const {
                &[
                    Rule::fault(POLICY, "deleted records cannot be restored"),
                    Rule::at_least(
                        LAG,
                        "after a crash, values may be lost if no worker is restarted within this time \
                         (`changelog_compaction_lag`)",
                    ),
                    Rule::at_least(TOMBSTONES, "a removed key may come back if a store is older than this time"),
                    Rule::at_least(SIZE, REFUSED_SIZE),
                ]
            }
        }
        TopicRole::DeadLetter => {
            const {
                &[
                    Rule::fault(POLICY, "a message without a key is refused, and others replace each other"),
                    Rule::at_least(SIZE, REFUSED_SIZE),
                ]
            }
        }
        TopicRole::Internal if topic.purge => {
            const {
                &[
                    Rule::fault(POLICY, "events are lost before they are read"),
                    Rule::warning(RETENTION, "old events are deleted before they are read"),
                    Rule::warning(RETENTION_BYTES, "events may be deleted before they are read"),
                    Rule::at_least(SIZE, REFUSED_SIZE),
                ]
            }
        }
        TopicRole::Control => {
            const {
                &[
                    Rule::warning(POLICY, "the entries of workers expire, or are read for ever"),
                    Rule::warning(TIME, "workers whose clocks differ take live ones for dead"),
                ]
            }
        }
        // The topic of a `through` belongs to the user.
        TopicRole::Internal | TopicRole::Source | TopicRole::Output => &[],
    }
}

#[cfg(test)]
mod tests;
