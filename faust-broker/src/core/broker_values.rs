//! The values of the broker's configs: set at start, set by clients, or the default.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::broker_config::{self, BrokerKey, TOPIC_DEFAULTS};
use crate::core::change::Change;
use crate::core::config::{self, ConfigKey, TOPIC_CONFIGS};
use crate::core::edit::{ConfigEdit, edited};
use crate::core::{BrokerCore, Refusal, Topic};

/// The brokers that a config set by a client is for. There is one broker, whose own values take precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConfigScope {
    Cluster,
    Node,
}

/// The origin of a value, with its number in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum ConfigSource {
    Topic = 1,
    Node = 2,
    Cluster = 3,
    Start = 4,
    Default = 5,
    Group = 8,
}

/// A value of a config, or of one that gives it its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synonym {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) source: ConfigSource,
}

/// The values of the broker's configs that are set.
#[derive(Debug, Clone, Default)]
pub(crate) struct BrokerValues {
    /// Set at start.
    start: BTreeMap<String, String>,
    /// Set by clients for all brokers.
    cluster: BTreeMap<String, String>,
    /// Set by clients for this broker.
    node: BTreeMap<String, String>,
}

impl BrokerValues {
    pub(crate) fn new(start: BTreeMap<String, String>) -> Self {
        Self { start, ..Self::default() }
    }

    /// Returns the values that clients have set for these brokers.
    pub(crate) fn dynamic(&self, scope: ConfigScope) -> &BTreeMap<String, String> {
        match scope {
            ConfigScope::Cluster => &self.cluster,
            ConfigScope::Node => &self.node,
        }
    }

    pub(crate) fn set_dynamic(&mut self, scope: ConfigScope, configs: BTreeMap<String, String>) {
        match scope {
            ConfigScope::Cluster => self.cluster = configs,
            ConfigScope::Node => self.node = configs,
        }
    }

    /// Returns the values of a config, the effective one first.
    pub(crate) fn synonyms(&self, key: &BrokerKey) -> Vec<Synonym> {
        self.layered(&[(key.name, 1)])
    }

    /// Returns the values of the configs that give a topic config its default, the effective one first.
    ///
    /// As in Kafka, the default of a config in another unit is left out, such as that of `log.retention.hours`.
    pub(crate) fn synonyms_of_topic(&self, name: &str) -> Vec<Synonym> {
        let names = names_of_topic(name);
        let mut synonyms = self.layered(names);
        synonyms.retain(|synonym| {
            synonym.source != ConfigSource::Default || names.first().is_some_and(|(first, _)| *first == synonym.name)
        });
        synonyms
    }

    fn layered(&self, names: &[(&'static str, i64)]) -> Vec<Synonym> {
        let layers = [
            (ConfigSource::Node, Some(&self.node)),
            (ConfigSource::Cluster, Some(&self.cluster)),
            (ConfigSource::Start, Some(&self.start)),
            (ConfigSource::Default, None),
        ];
        let mut found = Vec::new();
        for (source, layer) in layers {
            for (name, _) in names {
                let value = match layer {
                    Some(layer) => layer.get(*name).cloned(),
                    None => broker_config::find(name).and_then(|key| key.default).map(str::to_owned),
                };
                found.extend(value.map(|value| Synonym { name, value, source }));
            }
        }
        found
    }

    /// Returns the effective value of a config, `None` for null.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let key = broker_config::find(name)?;
        self.synonyms(key).into_iter().next().map(|synonym| synonym.value)
    }

    /// Returns the effective value of a numeric config, or 0 if it is null.
    pub(crate) fn number(&self, name: &str) -> i64 {
        self.value(name).and_then(|value| value.trim().parse().ok()).unwrap_or_default()
    }

    /// Returns the effective value of a config in milliseconds.
    pub(crate) fn millis(&self, name: &str) -> Duration {
        Duration::from_millis(u64::try_from(self.number(name)).unwrap_or_default())
    }

    /// Returns the effective value of a config that is true or false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.value(name).and_then(|value| config::flag(&value)).unwrap_or_default()
    }

    /// Returns the default of a topic config, in its unit.
    pub(crate) fn topic_default(&self, key: &ConfigKey) -> String {
        let names = names_of_topic(key.name);
        let Some(synonym) = self.layered(names).into_iter().next() else {
            return key.default.to_owned();
        };
        let factor = names.iter().find(|(name, _)| *name == synonym.name).map_or(1, |(_, factor)| *factor);
        match synonym.value.trim().parse::<i64>() {
            // A negative number means "without limit" in every unit.
            Ok(number) if factor > 1 => if number < 0 { -1 } else { number.saturating_mul(factor) }.to_string(),
            _ => synonym.value,
        }
    }

    /// Returns the defaults of all topic configs that depend on configs of the broker.
    pub(crate) fn topic_defaults(&self) -> BTreeMap<String, String> {
        let keys = TOPIC_CONFIGS.iter().filter(|key| TOPIC_DEFAULTS.iter().any(|(topic, _)| *topic == key.name));
        keys.map(|key| (key.name.to_owned(), self.topic_default(key))).collect()
    }

    pub(crate) fn snapshot(&self, changes: &mut Vec<Change>) {
        for scope in [ConfigScope::Cluster, ConfigScope::Node] {
            if !self.dynamic(scope).is_empty() {
                changes.push(Change::BrokerConfigsSet { scope, configs: self.dynamic(scope).clone() });
            }
        }
    }
}

/// Returns the configs of the broker that give a topic config its default, as in [`TOPIC_DEFAULTS`].
fn names_of_topic(name: &str) -> &'static [(&'static str, i64)] {
    TOPIC_DEFAULTS.iter().find(|(topic, _)| *topic == name).map_or(&[], |(_, names)| names)
}

/// Configs of the broker.
impl BrokerCore {
    /// Returns the values of the broker's configs.
    pub(crate) fn values(&self) -> &BrokerValues {
        &self.values
    }

    /// Changes the configs that clients have set for these brokers, applying all edits or none. With `validate_only`,
    /// the change is only validated. To reset a config that is not set changes nothing, as in Kafka.
    ///
    /// # Errors
    /// `InvalidConfig` if a name is unknown, `InvalidRequest` if a value is invalid or clients cannot change a config,
    /// `StorageError`.
    pub(crate) fn edit_broker_configs(
        &mut self,
        scope: ConfigScope,
        edits: &[ConfigEdit],
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let list = |name: &str| {
            let key = broker_config::find(name)?;
            key.kind.is_list().then(|| self.values.value(name).unwrap_or_default())
        };
        let configs = edited(self.values.dynamic(scope).clone(), edits, list)?;
        self.replace_broker_configs(scope, configs, validate_only)
    }

    /// Replaces the configs that clients have set for these brokers. With `validate_only`, the change is only validated.
    ///
    /// # Errors
    /// See [`edit_broker_configs`](Self::edit_broker_configs).
    pub(crate) fn replace_broker_configs(
        &mut self,
        scope: ConfigScope,
        configs: BTreeMap<String, String>,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        for (name, value) in &configs {
            broker_config::check_dynamic(name, value)?;
        }
        if validate_only {
            return Ok(());
        }
        self.note(&Change::BrokerConfigsSet { scope, configs: configs.clone() })?;
        self.values.set_dynamic(scope, configs);
        self.apply_topic_defaults();
        Ok(())
    }

    /// Gives all topics the defaults that the broker's configs define now.
    pub(crate) fn apply_topic_defaults(&mut self) {
        let values = &self.values;
        self.topics.values_mut().for_each(|topic: &mut Topic| topic.apply_defaults(values));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::core::{CoreConfig, ErrorCode, TOPIC_CONFIGS, TopicSpec};

    fn set(name: &str, value: &str) -> Vec<ConfigEdit> {
        vec![ConfigEdit::Set(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn the_broker_has_the_defaults_of_topics() {
        let values = BrokerValues::default();
        for key in TOPIC_CONFIGS {
            assert_eq!(values.topic_default(key), key.default, "{}", key.name);
        }
    }

    #[test]
    fn a_topic_follows_the_configs_of_the_broker_unless_it_has_its_own() {
        let mut broker = BrokerCore::new(CoreConfig::default().with_config("log.retention.hours", "2").unwrap());
        broker.create_topic("plain", TopicSpec { partitions: 1, ..TopicSpec::default() }).unwrap();
        let configs = BTreeMap::from([("retention.ms".to_owned(), "7".to_owned())]);
        broker.create_topic("own", TopicSpec { partitions: 1, configs }).unwrap();
        let retention =
            |broker: &BrokerCore| ["plain", "own"].map(|name| broker.topic(name).unwrap().parsed.retention_ms);
        assert_eq!(retention(&broker), [Some(7_200_000), Some(7)]);
        broker.edit_broker_configs(ConfigScope::Cluster, &set("log.retention.ms", "5000"), true).unwrap();
        assert_eq!(retention(&broker), [Some(7_200_000), Some(7)], "the change was only validated");
        broker.edit_broker_configs(ConfigScope::Cluster, &set("log.retention.ms", "5000"), false).unwrap();
        assert_eq!(retention(&broker), [Some(5000), Some(7)]);
        broker.edit_broker_configs(ConfigScope::Node, &set("log.retention.ms", "-1"), false).unwrap();
        assert_eq!(retention(&broker), [None, Some(7)]);
        let unset = [ConfigEdit::Unset("log.retention.ms".to_owned())];
        broker.edit_broker_configs(ConfigScope::Node, &unset, false).unwrap();
        assert_eq!(retention(&broker), [Some(5000), Some(7)]);
        let sources: Vec<ConfigSource> =
            broker.values().synonyms_of_topic("retention.ms").iter().map(|synonym| synonym.source).collect();
        assert_eq!(sources, [ConfigSource::Cluster, ConfigSource::Start]);
    }

    #[test]
    fn an_edit_is_applied_whole_or_not_at_all() {
        let mut broker = BrokerCore::new(CoreConfig::default());
        let mut edits = set("message.max.bytes", "10");
        edits.extend(set("num.partitions", "3"));
        let refused = broker.edit_broker_configs(ConfigScope::Cluster, &edits, false).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
        assert_eq!(broker.values().number("message.max.bytes"), 1_048_588);
        let unset = [ConfigEdit::Unset("num.partitions".to_owned())];
        assert_eq!(broker.edit_broker_configs(ConfigScope::Cluster, &unset, false), Ok(()));
        let append = [ConfigEdit::Append("log.cleanup.policy".to_owned(), "compact".to_owned())];
        broker.edit_broker_configs(ConfigScope::Cluster, &append, false).unwrap();
        assert_eq!(broker.values().value("log.cleanup.policy").as_deref(), Some("delete,compact"));
    }

    #[test]
    fn words_are_appended_to_an_empty_list() {
        let mut broker = BrokerCore::new(CoreConfig::default());
        broker.create_topic("t", TopicSpec { partitions: 1, ..TopicSpec::default() }).unwrap();
        let name = "leader.replication.throttled.replicas".to_owned();
        for word in ["0:1", "1:1"] {
            broker.edit_configs("t", &[ConfigEdit::Append(name.clone(), word.to_owned())], false).unwrap();
        }
        assert_eq!(broker.topic("t").unwrap().configs()[&name], "0:1,1:1");
    }
}
