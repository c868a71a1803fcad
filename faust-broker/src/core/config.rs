//! The configuration of a topic: names, defaults and allowed values.

use std::collections::BTreeMap;

use crate::core::admission::AppendRules;
use crate::core::compression::{Compression, TopicCompression};

/// The parsed part of a topic's configuration that its logs use.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TopicConfig {
    /// True if `cleanup.policy` contains `delete`; without it, retention does not delete segments.
    pub(crate) deletes: bool,
    pub(crate) retention_ms: Option<i64>,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) segment_bytes: u64,
    /// Time after which a segment is rolled, in milliseconds.
    pub(crate) segment_ms: i64,
    /// Settings of compaction, if the topic is compacted.
    pub(crate) compaction: Option<CompactionConfig>,
    /// The rules for appended batches.
    pub(crate) append: AppendRules,
}

/// Settings of a topic's compaction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CompactionConfig {
    /// Retention of a tombstone after it has been compacted, in milliseconds.
    pub(crate) delete_retention_ms: i64,
    /// Minimum age of a record before it is compacted, in milliseconds.
    pub(crate) min_lag_ms: i64,
    /// Age in milliseconds at which a record is compacted even if the dirty ratio is low.
    pub(crate) max_lag_ms: i64,
    /// Fraction of the bytes that must be dirty before a log is compacted.
    pub(crate) min_dirty_ratio: f64,
}

/// Limits of the timestamps that producers set, relative to the broker's clock (KIP-937).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimestampLimits {
    /// Maximum time before the broker's clock, in milliseconds.
    pub(crate) before_ms: i64,
    /// Maximum time after the broker's clock, in milliseconds.
    pub(crate) after_ms: i64,
}

impl TimestampLimits {
    /// Returns true if a broker at `now_ms` accepts this timestamp. As in Kafka, -1 means that there is none.
    pub(crate) fn accept(self, timestamp: i64, now_ms: i64) -> bool {
        let after = timestamp.saturating_sub(now_ms);
        timestamp == -1 || (after <= self.after_ms && after.saturating_neg() <= self.before_ms)
    }
}

/// A topic configuration key.
#[derive(Debug, Clone, Copy)]
pub struct ConfigKey {
    /// Name, as in Kafka.
    pub name: &'static str,
    /// Value if the topic does not set one.
    pub default: &'static str,
    /// Type of the values.
    pub kind: ConfigKind,
}

/// The type of a configuration value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    /// `true` or `false`.
    Boolean,
    /// An integer of 64 bits that is at least this.
    Number(i64),
    /// An integer of 32 bits that is at least this.
    Int(i32),
    /// An integer of 32 bits in one of these ranges, given by their first and last numbers.
    Within(&'static [(i64, i64)]),
    /// A number between 0 and 1.
    Fraction,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A comma-separated list of these words.
    Words(&'static [&'static str]),
    /// A comma-separated list of replicas, each a partition and a broker, or `*` for all.
    Replicas,
    /// A comma-separated list of any words.
    List,
    /// Any text.
    Text,
}

impl ConfigKind {
    /// Returns true for a comma-separated list, to which words can be appended.
    pub(crate) fn is_list(self) -> bool {
        matches!(self, Self::Words(_) | Self::Replicas | Self::List)
    }
}

use ConfigKind::{Boolean, Fraction, Int, Number, Replicas, Within, Word, Words};

const fn key(name: &'static str, default: &'static str, kind: ConfigKind) -> ConfigKey {
    ConfigKey { name, default, kind }
}

/// The values of `compression.type`, of topics and of the broker. See [`codec`].
pub(crate) const COMPRESSION: ConfigKind = Word(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]);

/// All topic configurations, by name. Those without effect on a single node are stored and described, as in Kafka; so is
/// `compression.lz4.level`, because LZ4 has one level here.
pub const TOPIC_CONFIGS: &[ConfigKey] = &[
    key("cleanup.policy", "delete", Words(&["delete", "compact"])),
    key("compression.gzip.level", "-1", Within(&[(-1, -1), (1, 9)])),
    key("compression.lz4.level", "9", Within(&[(1, 17)])),
    key("compression.type", "producer", COMPRESSION),
    key("compression.zstd.level", "3", Within(&[(-131_072, 22)])),
    key("delete.retention.ms", "86400000", Number(0)),
    key("file.delete.delay.ms", "60000", Number(0)),
    key("flush.messages", "9223372036854775807", Number(1)),
    key("flush.ms", "9223372036854775807", Number(0)),
    key("follower.replication.throttled.replicas", "", Replicas),
    key("index.interval.bytes", "4096", Int(0)),
    key("leader.replication.throttled.replicas", "", Replicas),
    key("local.retention.bytes", "-2", Number(-2)),
    key("local.retention.ms", "-2", Number(-2)),
    key("max.compaction.lag.ms", "9223372036854775807", Number(1)),
    key("max.message.bytes", "1048588", Int(0)),
    key("message.timestamp.after.max.ms", "3600000", Number(0)),
    key("message.timestamp.before.max.ms", "9223372036854775807", Number(0)),
    key("message.timestamp.type", "CreateTime", Word(&["CreateTime", "LogAppendTime"])),
    key("min.cleanable.dirty.ratio", "0.5", Fraction),
    key("min.compaction.lag.ms", "0", Number(0)),
    key("min.insync.replicas", "1", Int(1)),
    key("preallocate", "false", Boolean),
    key("remote.log.copy.disable", "false", Boolean),
    key("remote.log.delete.on.disable", "false", Boolean),
    key("remote.storage.enable", "false", Boolean),
    key("retention.bytes", "-1", Number(-1)),
    key("retention.ms", "604800000", Number(-1)),
    key("segment.bytes", "1073741824", Int(14)),
    key("segment.index.bytes", "10485760", Int(4)),
    key("segment.jitter.ms", "0", Number(0)),
    key("segment.ms", "604800000", Number(1)),
    key("unclean.leader.election.enable", "false", Boolean),
];

/// Checks the name and value of a configuration; the error is a message for the client.
pub(crate) fn check(name: &str, value: &str) -> Result<(), String> {
    let Some(key) = TOPIC_CONFIGS.iter().find(|key| key.name == name) else {
        return Err(format!("unknown topic config `{name}`"));
    };
    let expected = match name {
        "remote.storage.enable" if flag(value) == Some(true) => {
            Some("false, because this broker has no tiered storage".to_owned())
        }
        _ => expectation(key.kind, value),
    };
    match expected {
        Some(expected) => Err(format!("invalid value `{value}` for topic config `{name}`: expected {expected}")),
        None => Ok(()),
    }
}

/// Returns a description of the allowed values if `value` is not one of them. As in Kafka, spaces around the value do not
/// matter, nor does the case of `true` and `false`.
pub(crate) fn expectation(kind: ConfigKind, value: &str) -> Option<String> {
    let value = value.trim();
    let expected = match kind {
        Boolean if flag(value).is_none() => "true or false".to_owned(),
        Number(least) if value.parse::<i64>().map_or(true, |number| number < least) => {
            format!("an integer of at least {least}")
        }
        Int(least) if value.parse::<i32>().map_or(true, |number| number < least) => {
            format!("an integer of {least} to {}", i32::MAX)
        }
        Within(ranges) if !value.parse().is_ok_and(|number| is_within(ranges, number)) => {
            let range = |(from, to): &(i64, i64)| if from == to { from.to_string() } else { format!("{from} to {to}") };
            let shown = ranges.iter().map(range);
            format!("an integer of {}", shown.collect::<Vec<_>>().join(" or "))
        }
        Fraction if !value.parse::<f64>().is_ok_and(|number| (0.0..=1.0).contains(&number)) => {
            "a number between 0 and 1".to_owned()
        }
        Word(words) if !words.contains(&value) => format!("one of {}", words.join(", ")),
        Words(words) if !value.is_empty() && value.split(',').any(|word| !words.contains(&word.trim())) => {
            format!("some of {}", words.join(", "))
        }
        Replicas if value.trim() != "*" && !value.split(',').all(is_replica) => {
            "`*` for all, or a list of `PARTITION:BROKER`".to_owned()
        }
        _ => return None,
    };
    Some(expected)
}

/// Parses the value of a config that is true or false.
pub(crate) fn flag(value: &str) -> Option<bool> {
    value.trim().to_ascii_lowercase().parse().ok()
}

/// Returns true for a partition and a broker, such as `0:1`, and for no text.
fn is_replica(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.trim();
    text.is_empty() || text.split_once(':').is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
}

fn is_within(ranges: &[(i64, i64)], number: i64) -> bool {
    ranges.iter().any(|(from, to)| (*from..=*to).contains(&number))
}

impl TopicConfig {
    /// Parses configurations that have passed [`check`].
    pub(crate) fn new(configs: &BTreeMap<String, String>) -> Self {
        let number = |name: &str| value(configs, name).parse::<i64>().unwrap_or(-1);
        let policy = value(configs, "cleanup.policy");
        let compaction = CompactionConfig {
            delete_retention_ms: number("delete.retention.ms"),
            min_lag_ms: number("min.compaction.lag.ms"),
            max_lag_ms: number("max.compaction.lag.ms"),
            min_dirty_ratio: value(configs, "min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
        };
        Self {
            deletes: policy.contains("delete"),
            retention_ms: Some(number("retention.ms")).filter(|ms| *ms >= 0),
            retention_bytes: u64::try_from(number("retention.bytes")).ok(),
            segment_bytes: u64::try_from(number("segment.bytes")).unwrap_or(u64::MAX),
            segment_ms: number("segment.ms"),
            compaction: policy.contains("compact").then_some(compaction),
            append: append_rules(configs),
        }
    }
}

fn append_rules(configs: &BTreeMap<String, String>) -> AppendRules {
    let number = |name: &str| value(configs, name).parse::<i64>().unwrap_or(-1);
    let level = |name: &str| value(configs, name).parse::<i32>().ok();
    AppendRules {
        needs_keys: value(configs, "cleanup.policy").contains("compact"),
        max_message_bytes: usize::try_from(number("max.message.bytes")).unwrap_or(usize::MAX),
        append_time: value(configs, "message.timestamp.type") == "LogAppendTime",
        timestamps: TimestampLimits {
            before_ms: number("message.timestamp.before.max.ms"),
            after_ms: number("message.timestamp.after.max.ms"),
        },
        compression: TopicCompression {
            codec: codec(value(configs, "compression.type")),
            gzip_level: level("compression.gzip.level"),
            zstd_level: level("compression.zstd.level"),
        },
    }
}

/// Returns the codec of a `compression.type`, or `None` for `producer`.
fn codec(name: &str) -> Option<Compression> {
    match name {
        "uncompressed" => Some(Compression::None),
        "gzip" => Some(Compression::Gzip),
        "snappy" => Some(Compression::Snappy),
        "lz4" => Some(Compression::Lz4),
        "zstd" => Some(Compression::Zstd),
        _ => None,
    }
}

/// Returns the topic's value for a name, or the default.
fn value<'a>(configs: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    let default = || TOPIC_CONFIGS.iter().find(|key| key.name == name).map_or("", |key| key.default);
    configs.get(name).map_or_else(default, |value| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid() {
        for key in TOPIC_CONFIGS {
            assert_eq!(check(key.name, key.default), Ok(()));
        }
    }

    #[test]
    fn timestamps_are_limited_on_both_sides() {
        let limits = TimestampLimits { before_ms: 10, after_ms: 5 };
        let accepted: Vec<_> = (80..120).filter(|time| limits.accept(*time, 100)).collect();
        assert_eq!(accepted, (90..=105).collect::<Vec<_>>());
        assert!(limits.accept(-1, 100), "a record without a timestamp");
        let defaults = TopicConfig::new(&BTreeMap::new()).append.timestamps;
        let now = 1_700_000_000_000;
        for (time, expected) in [
            (0, true),
            (-2, true),
            (i64::MIN, true),
            (now + 3_600_000, true),
            (now + 3_600_001, false),
            (i64::MAX, false),
        ] {
            assert_eq!(defaults.accept(time, now), expected, "{time}");
        }
    }

    #[test]
    fn spaces_around_a_value_do_not_matter() {
        let set =
            [("retention.ms", " 5 "), ("cleanup.policy", " compact"), ("message.timestamp.type", "LogAppendTime ")];
        let configs: BTreeMap<_, _> = set.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert!(configs.iter().all(|(name, value)| check(name, value).is_ok()));
        let parsed = TopicConfig::new(&configs);
        assert_eq!((parsed.retention_ms, parsed.deletes, parsed.append.append_time), (Some(5), false, true));
        assert_eq!(check("preallocate", "TRUE"), Ok(()));
        assert_eq!([" True", "false", "yes"].map(flag), [Some(true), Some(false), None]);
    }

    #[test]
    fn a_topic_may_have_neither_policy() {
        assert_eq!(check("cleanup.policy", ""), Ok(()));
        let parsed = TopicConfig::new(&BTreeMap::from([("cleanup.policy".to_owned(), String::new())]));
        assert_eq!((parsed.deletes, parsed.compaction), (false, None));
    }

    #[test]
    fn throttled_replicas_are_listed_or_all() {
        let accepted = |value: &str| check("leader.replication.throttled.replicas", value).is_ok();
        for value in ["", "*", "0:1", "0:1, 12:3", "0:1,"] {
            assert!(accepted(value), "{value}");
        }
        for value in ["all", "0", "0:", ":1", "0:1:2", "0:-1", "*,0:1"] {
            assert!(!accepted(value), "{value}");
        }
    }

    #[test]
    fn invalid_configs_are_reported() {
        let cases = [
            (
                "max.message.bytes",
                "3000000000",
                "invalid value `3000000000` for topic config `max.message.bytes`: expected an integer of 0 to 2147483647",
            ),
            ("retention", "1", "unknown topic config `retention`"),
            (
                "retention.ms",
                "soon",
                "invalid value `soon` for topic config `retention.ms`: expected an integer of at least -1",
            ),
            (
                "cleanup.policy",
                "burn",
                "invalid value `burn` for topic config `cleanup.policy`: expected some of delete, compact",
            ),
            (
                "compression.gzip.level",
                "0",
                "invalid value `0` for topic config `compression.gzip.level`: expected an integer of -1 or 1 to 9",
            ),
            (
                "remote.storage.enable",
                "true",
                "invalid value `true` for topic config `remote.storage.enable`: expected false, because this broker has no tiered storage",
            ),
            ("preallocate", "yes", "invalid value `yes` for topic config `preallocate`: expected true or false"),
        ];
        for (name, value, expected) in cases {
            assert_eq!(check(name, value), Err(expected.to_owned()));
        }
    }
}
