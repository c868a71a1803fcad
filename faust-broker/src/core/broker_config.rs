//! The configs of the broker itself: names, defaults, allowed values, and which of them clients may change.

use std::collections::BTreeMap;

use crate::core::config::{self, COMPRESSION, ConfigKind};
use crate::core::topic::MAX_PARTITIONS;
use crate::core::{ErrorCode, Refusal};

use ConfigKind::{Boolean, Fraction, Int, List, Number, Text, Within, Word, Words};
use UpdateMode::{Dynamic, Never, Start};

/// A config of the broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BrokerKey {
    /// Name, as in Kafka.
    pub(crate) name: &'static str,
    /// Value if none is set; `None` is Kafka's null.
    pub(crate) default: Option<&'static str>,
    pub(crate) kind: ConfigKind,
    pub(crate) mode: UpdateMode,
}

/// The time at which a broker config may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpdateMode {
    /// Not at all: the value describes this broker.
    Never,
    /// At start.
    Start,
    /// At start, and by clients while the broker runs.
    Dynamic,
}

const fn key(name: &'static str, default: &'static str, kind: ConfigKind, mode: UpdateMode) -> BrokerKey {
    BrokerKey { name, default: Some(default), kind, mode }
}

const fn null(name: &'static str, kind: ConfigKind, mode: UpdateMode) -> BrokerKey {
    BrokerKey { name, default: None, kind, mode }
}

/// All broker configs, by name.
///
/// They are those that have an effect here, those that are the default of a topic config, those by which admin consoles
/// recognize a broker, and some without an effect that tools change: numbers of threads, buffers of compaction, rates of
/// replication, and one that librdkafka's tests change. As in Kafka, clients can change those that Kafka calls `cluster-wide`.
pub(crate) const BROKER_CONFIGS: &[BrokerKey] = &[
    null("advertised.listeners", List, Never),
    key("authorizer.class.name", "", Text, Never),
    key("auto.create.topics.enable", "true", Boolean, Start),
    key("background.threads", "10", Int(1), Dynamic),
    key("broker.id", "1", Int(0), Never),
    key("compression.gzip.level", "-1", Within(&[(-1, -1), (1, 9)]), Dynamic),
    key("compression.lz4.level", "9", Within(&[(1, 17)]), Dynamic),
    key("compression.type", "producer", COMPRESSION, Dynamic),
    key("compression.zstd.level", "3", Within(&[(-131_072, 22)]), Dynamic),
    key("default.replication.factor", "1", Int(1), Never),
    key("delete.topic.enable", "true", Boolean, Never),
    null("follower.replication.throttled.rate", Number(0), Dynamic),
    key("group.consumer.assignors", "uniform,range", List, Never),
    key("group.consumer.heartbeat.interval.ms", "5000", Int(1), Start),
    key("group.consumer.max.heartbeat.interval.ms", "15000", Int(1), Start),
    key("group.consumer.max.session.timeout.ms", "60000", Int(1), Start),
    key("group.consumer.max.size", "2147483647", Int(1), Start),
    key("group.consumer.migration.policy", "disabled", Text, Never),
    key("group.consumer.min.heartbeat.interval.ms", "5000", Int(1), Start),
    key("group.consumer.min.session.timeout.ms", "45000", Int(1), Start),
    key("group.consumer.session.timeout.ms", "45000", Int(1), Start),
    key("group.coordinator.rebalance.protocols", "classic,consumer", Words(&["classic", "consumer"]), Start),
    key("group.initial.rebalance.delay.ms", "0", Int(0), Start),
    key("group.max.session.timeout.ms", "1800000", Int(1), Start),
    key("group.min.session.timeout.ms", "6000", Int(1), Start),
    null("leader.replication.throttled.rate", Number(0), Dynamic),
    null("listeners", List, Never),
    key("log.cleaner.backoff.ms", "15000", Number(0), Dynamic),
    key("log.cleaner.dedupe.buffer.size", "134217728", Number(1), Dynamic),
    key("log.cleaner.delete.retention.ms", "86400000", Number(0), Dynamic),
    key("log.cleaner.enable", "true", Boolean, Never),
    key("log.cleaner.io.buffer.load.factor", "0.9", Fraction, Dynamic),
    key("log.cleaner.io.buffer.size", "524288", Int(0), Dynamic),
    key("log.cleaner.max.compaction.lag.ms", "9223372036854775807", Number(1), Dynamic),
    key("log.cleaner.min.cleanable.ratio", "0.5", Fraction, Dynamic),
    key("log.cleaner.min.compaction.lag.ms", "0", Number(0), Dynamic),
    key("log.cleaner.threads", "1", Int(1), Dynamic),
    key("log.cleanup.policy", "delete", Words(&["delete", "compact"]), Dynamic),
    null("log.dirs", List, Never),
    key("log.flush.interval.messages", "9223372036854775807", Number(1), Dynamic),
    null("log.flush.interval.ms", Number(0), Dynamic),
    key("log.flush.offset.checkpoint.interval.ms", "60000", Int(0), Start),
    key("log.index.interval.bytes", "4096", Int(0), Dynamic),
    key("log.index.size.max.bytes", "10485760", Int(4), Dynamic),
    key("log.local.retention.bytes", "-2", Number(-2), Dynamic),
    key("log.local.retention.ms", "-2", Number(-2), Dynamic),
    key("log.message.timestamp.after.max.ms", "3600000", Number(0), Dynamic),
    key("log.message.timestamp.before.max.ms", "9223372036854775807", Number(0), Dynamic),
    key("log.message.timestamp.type", "CreateTime", Word(&["CreateTime", "LogAppendTime"]), Dynamic),
    key("log.preallocate", "false", Boolean, Dynamic),
    key("log.retention.bytes", "-1", Number(-1), Dynamic),
    key("log.retention.check.interval.ms", "300000", Number(1), Start),
    key("log.retention.hours", "168", Int(-1), Start),
    null("log.retention.minutes", Int(-1), Start),
    null("log.retention.ms", Number(-1), Dynamic),
    key("log.roll.hours", "168", Int(1), Start),
    key("log.roll.jitter.hours", "0", Int(0), Start),
    null("log.roll.jitter.ms", Number(0), Dynamic),
    null("log.roll.ms", Number(1), Dynamic),
    key("log.segment.bytes", "1073741824", Int(14), Dynamic),
    key("log.segment.delete.delay.ms", "60000", Number(0), Dynamic),
    key("message.max.bytes", "1048588", Int(0), Dynamic),
    key("min.insync.replicas", "1", Int(1), Dynamic),
    key("node.id", "1", Int(0), Never),
    key("num.io.threads", "8", Int(1), Dynamic),
    key("num.network.threads", "3", Int(1), Dynamic),
    key("num.partitions", "8", Within(&[(1, MAX_PARTITIONS as i64)]), Start),
    key("num.recovery.threads.per.data.dir", "2", Int(1), Dynamic),
    key("num.replica.fetchers", "1", Int(1), Dynamic),
    key("offset.metadata.max.bytes", "4096", Int(0), Start),
    key("offsets.retention.check.interval.ms", "600000", Number(1), Start),
    key("offsets.retention.minutes", "10080", Int(1), Start),
    key("process.roles", "broker,controller", List, Never),
    null("replica.alter.log.dirs.io.max.bytes.per.second", Number(0), Dynamic),
    key("sasl.kerberos.min.time.before.relogin", "60000", Number(0), Dynamic),
    key("security.inter.broker.protocol", "PLAINTEXT", Text, Never),
    key("socket.request.max.bytes", "104857600", Int(1), Start),
    key("transaction.max.timeout.ms", "900000", Int(1), Start),
    key("transactional.id.expiration.ms", "604800000", Int(1), Start),
    key("unclean.leader.election.enable", "false", Boolean, Dynamic),
];

/// Configs that contradict each other unless the first is at most the second.
const ASCENDING: [(&str, &str); 6] = [
    ("group.min.session.timeout.ms", "group.max.session.timeout.ms"),
    ("group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms"),
    ("group.consumer.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    ("group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms"),
    ("group.consumer.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    ("group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms"),
];

/// The broker configs that give a topic config its default, in the order of their precedence, each with the factor from
/// its unit to that of the topic config.
pub(crate) const TOPIC_DEFAULTS: &[(&str, &[(&str, i64)])] = &[
    ("cleanup.policy", &[("log.cleanup.policy", 1)]),
    ("compression.gzip.level", &[("compression.gzip.level", 1)]),
    ("compression.lz4.level", &[("compression.lz4.level", 1)]),
    ("compression.type", &[("compression.type", 1)]),
    ("compression.zstd.level", &[("compression.zstd.level", 1)]),
    ("delete.retention.ms", &[("log.cleaner.delete.retention.ms", 1)]),
    ("file.delete.delay.ms", &[("log.segment.delete.delay.ms", 1)]),
    ("flush.messages", &[("log.flush.interval.messages", 1)]),
    ("flush.ms", &[("log.flush.interval.ms", 1)]),
    ("index.interval.bytes", &[("log.index.interval.bytes", 1)]),
    ("local.retention.bytes", &[("log.local.retention.bytes", 1)]),
    ("local.retention.ms", &[("log.local.retention.ms", 1)]),
    ("max.compaction.lag.ms", &[("log.cleaner.max.compaction.lag.ms", 1)]),
    ("max.message.bytes", &[("message.max.bytes", 1)]),
    ("message.timestamp.after.max.ms", &[("log.message.timestamp.after.max.ms", 1)]),
    ("message.timestamp.before.max.ms", &[("log.message.timestamp.before.max.ms", 1)]),
    ("message.timestamp.type", &[("log.message.timestamp.type", 1)]),
    ("min.cleanable.dirty.ratio", &[("log.cleaner.min.cleanable.ratio", 1)]),
    ("min.compaction.lag.ms", &[("log.cleaner.min.compaction.lag.ms", 1)]),
    ("min.insync.replicas", &[("min.insync.replicas", 1)]),
    ("preallocate", &[("log.preallocate", 1)]),
    ("retention.bytes", &[("log.retention.bytes", 1)]),
    ("retention.ms", &[("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)]),
    ("segment.bytes", &[("log.segment.bytes", 1)]),
    ("segment.index.bytes", &[("log.index.size.max.bytes", 1)]),
    ("segment.jitter.ms", &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)]),
    ("segment.ms", &[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)]),
    ("unclean.leader.election.enable", &[("unclean.leader.election.enable", 1)]),
];

/// Returns the broker config with this name.
pub(crate) fn find(name: &str) -> Option<&'static BrokerKey> {
    BROKER_CONFIGS.iter().find(|key| key.name == name)
}

/// Checks the name and value of a config that is set at start.
///
/// # Errors
/// `InvalidConfig` if the name is unknown, the config cannot be set, or the value is invalid.
pub(crate) fn check_at_start(name: &str, value: &str) -> Result<(), Refusal> {
    let key = known(name)?;
    if key.mode == Never {
        let text = format!("broker config `{name}` cannot be set: it describes this broker");
        return Err(Refusal::new(ErrorCode::InvalidConfig, text));
    }
    check_value(key, value)
}

/// Checks that the configs set at start do not contradict each other.
///
/// # Errors
/// `InvalidConfig`, which names the two that do.
pub(crate) fn check_together(configs: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let number = |name: &str| {
        let set = configs.get(name).map(String::as_str);
        set.or_else(|| find(name)?.default).and_then(|value| value.trim().parse::<i64>().ok()).unwrap_or_default()
    };
    for (lower, upper) in ASCENDING {
        let (least, most) = (number(lower), number(upper));
        if least > most {
            let text = format!("broker config `{lower}` ({least}) exceeds `{upper}` ({most})");
            return Err(Refusal::new(ErrorCode::InvalidConfig, text));
        }
    }
    Ok(())
}

/// Checks the name and value of a config that a client sets.
///
/// # Errors
/// `InvalidConfig` if the name is unknown; as in Kafka, `InvalidRequest` if the value is invalid, or clients cannot change it.
pub(crate) fn check_dynamic(name: &str, value: &str) -> Result<(), Refusal> {
    let key = known(name)?;
    if key.mode != Dynamic {
        let fix = if key.mode == Never { "it describes this broker" } else { "set it when the broker is started" };
        let text = format!("cannot update broker config `{name}` dynamically: {fix}");
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    check_value(key, value).map_err(|refusal| Refusal::new(ErrorCode::InvalidRequest, refusal.message))
}

fn known(name: &str) -> Result<&'static BrokerKey, Refusal> {
    find(name).ok_or_else(|| Refusal::new(ErrorCode::InvalidConfig, unknown(name)))
}

/// Returns the message for an unknown name, with the known names that begin with the same words.
fn unknown(name: &str) -> String {
    let area = name.split('.').next().unwrap_or_default();
    let near: Vec<&str> = BROKER_CONFIGS.iter().map(|key| key.name).filter(|known| is_within(known, area)).collect();
    if near.is_empty() {
        return format!(
            "unknown broker config `{name}`, or one without effect on this broker; DescribeConfigs of the broker lists the others"
        );
    }
    format!("unknown broker config `{name}`, or one without effect on this broker, which has {}", near.join(", "))
}

fn is_within(name: &str, area: &str) -> bool {
    name.split('.').next() == Some(area)
}

fn check_value(key: &BrokerKey, value: &str) -> Result<(), Refusal> {
    match config::expectation(key.kind, value) {
        None => Ok(()),
        Some(expected) => {
            let text = format!("invalid value `{value}` for broker config `{}`: expected {expected}", key.name);
            Err(Refusal::new(ErrorCode::InvalidConfig, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_defaults_are_valid() {
        assert!(BROKER_CONFIGS.is_sorted_by_key(|key| key.name));
        for key in BROKER_CONFIGS {
            assert_eq!(key.default.and_then(|value| config::expectation(key.kind, value)), None, "{}", key.name);
        }
    }

    #[test]
    fn every_default_of_a_topic_config_is_a_config_of_the_broker() {
        for (topic, synonyms) in TOPIC_DEFAULTS {
            assert!(config::TOPIC_CONFIGS.iter().any(|key| key.name == *topic), "{topic}");
            assert!(synonyms.iter().all(|(name, _)| find(name).is_some()), "{topic}");
        }
    }

    #[test]
    fn refusals_name_the_config_and_the_fix() {
        let text = |outcome: Result<(), Refusal>| outcome.err().map(|refusal| refusal.message).unwrap_or_default();
        assert_eq!(text(check_at_start("num.partitions", "3")), "");
        assert_eq!(
            text(check_at_start("num.partitions", "0")),
            "invalid value `0` for broker config `num.partitions`: expected an integer of 1 to 10000"
        );
        assert_eq!(
            text(check_at_start("delete.topics.enable", "true")),
            "unknown broker config `delete.topics.enable`, or one without effect on this broker, which has delete.topic.enable"
        );
        assert_eq!(
            text(check_dynamic("fetch.max.bytes", "2")),
            "unknown broker config `fetch.max.bytes`, or one without effect on this broker; DescribeConfigs of the broker lists the others"
        );
        assert_eq!(
            text(check_at_start("node.id", "2")),
            "broker config `node.id` cannot be set: it describes this broker"
        );
        assert_eq!(
            text(check_dynamic("num.partitions", "3")),
            "cannot update broker config `num.partitions` dynamically: set it when the broker is started"
        );
        assert_eq!(
            text(check_dynamic("node.id", "2")),
            "cannot update broker config `node.id` dynamically: it describes this broker"
        );
        assert_eq!(text(check_dynamic("log.retention.ms", "-1")), "");
    }
}
