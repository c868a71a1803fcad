//! The configs of groups, which clients set (resources of the type `GROUP`). They take precedence over those of the broker.

use std::collections::BTreeMap;

use crate::core::change::Change;
use crate::core::config::{ConfigKind, expectation};
use crate::core::edit::edited;
use crate::core::group::{GroupConfig, Groups};
use crate::core::{BrokerCore, ConfigEdit, ErrorCode, Refusal};

/// A config of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupKey {
    /// Name, as in Kafka.
    pub(crate) name: &'static str,
    /// The config of the broker that is the default.
    pub(crate) broker: &'static str,
    /// The configs of the broker that limit the value.
    least: &'static str,
    most: &'static str,
}

/// All configs of groups, by name.
pub(crate) const GROUP_CONFIGS: [GroupKey; 2] = [
    GroupKey {
        name: "consumer.heartbeat.interval.ms",
        broker: "group.consumer.heartbeat.interval.ms",
        least: "group.consumer.min.heartbeat.interval.ms",
        most: "group.consumer.max.heartbeat.interval.ms",
    },
    GroupKey {
        name: "consumer.session.timeout.ms",
        broker: "group.consumer.session.timeout.ms",
        least: "group.consumer.min.session.timeout.ms",
        most: "group.consumer.max.session.timeout.ms",
    },
];

const INTERVAL: &str = GROUP_CONFIGS[0].name;
const SESSION: &str = GROUP_CONFIGS[1].name;

impl Groups {
    /// Returns the configs that clients have set for a group.
    pub(crate) fn configs_of(&self, group: &str) -> Option<&BTreeMap<String, String>> {
        self.configs.get(group)
    }

    pub(super) fn set_configs(&mut self, group: String, configs: BTreeMap<String, String>) {
        match configs.is_empty() {
            true => _ = self.configs.remove(&group),
            false => _ = self.configs.insert(group, configs),
        }
    }

    /// Returns the interval between the heartbeats of a consumer group's members.
    pub(super) fn consumer_interval_ms(&self, group: &str) -> i32 {
        own(&self.configs, group, INTERVAL).unwrap_or(self.config.consumer_interval_ms)
    }

    /// Returns the session timeout of a consumer group's members.
    pub(super) fn consumer_session_ms(&self, group: &str) -> i32 {
        session_ms(&self.configs, group, &self.config)
    }
}

type ByGroup = BTreeMap<String, BTreeMap<String, String>>;

fn own(configs: &ByGroup, group: &str, name: &str) -> Option<i32> {
    configs.get(group)?.get(name)?.trim().parse().ok()
}

/// Returns the session timeout of a consumer group's members, of which `broker` is the default.
pub(super) fn session_ms(configs: &ByGroup, group: &str, broker: &GroupConfig) -> i32 {
    own(configs, group, SESSION).unwrap_or(broker.consumer_session_ms)
}

/// Configs of groups.
impl BrokerCore {
    /// Returns the configs that clients have set for a group, by name. The group need not exist.
    pub(crate) fn group_configs(&self, group: &str) -> BTreeMap<String, String> {
        self.groups.configs_of(group).cloned().unwrap_or_default()
    }

    /// Returns the ids of the groups for which clients have set configs.
    pub(crate) fn configured_groups(&self) -> impl Iterator<Item = &str> {
        self.groups.configs.keys().map(String::as_str)
    }

    /// Changes a group's configs, applying all edits or none. With `validate_only`, the change is only validated.
    ///
    /// # Errors
    /// `InvalidRequest` if the id is empty, `InvalidConfig`, `StorageError`.
    pub(crate) fn edit_group_configs(
        &mut self,
        group: &str,
        edits: &[ConfigEdit],
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let configs = edited(self.group_configs(group), edits, |_| None)?;
        self.replace_group_configs(group, configs, validate_only)
    }

    /// Replaces all configs of a group that have been set. With `validate_only`, the change is only validated.
    ///
    /// # Errors
    /// See [`edit_group_configs`](Self::edit_group_configs).
    pub(crate) fn replace_group_configs(
        &mut self,
        group: &str,
        configs: BTreeMap<String, String>,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        if group.is_empty() {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "the name of the group is empty: name one".to_owned()));
        }
        self.check_group_configs(&configs)?;
        if validate_only {
            return Ok(());
        }
        let change = Change::GroupConfigsSet { group: group.to_owned(), configs };
        self.note(&change)?;
        self.groups.apply(change);
        Ok(())
    }

    fn check_group_configs(&self, configs: &BTreeMap<String, String>) -> Result<(), Refusal> {
        let refused = |text: String| Err(Refusal::new(ErrorCode::InvalidConfig, text));
        let effective = |key: &GroupKey| {
            let own = configs.get(key.name).and_then(|value| value.trim().parse::<i64>().ok());
            own.unwrap_or_else(|| self.values.number(key.broker))
        };
        for (name, value) in configs {
            let Some(key) = GROUP_CONFIGS.iter().find(|key| key.name == name) else {
                let known = GROUP_CONFIGS.map(|key| key.name).join(", ");
                return refused(format!(
                    "unknown group config `{name}`, or one without effect on this broker, which has {known}"
                ));
            };
            if let Some(expected) = expectation(ConfigKind::Int(1), value) {
                return refused(format!("invalid value `{value}` for group config `{name}`: expected {expected}"));
            }
            let (least, most) = (self.values.number(key.least), self.values.number(key.most));
            if !(least..=most).contains(&effective(key)) {
                return refused(format!(
                    "group config `{name}` must be {least} to {most}, as configured in `{}` and `{}` of the broker",
                    key.least, key.most
                ));
            }
        }
        let [interval, session] = &GROUP_CONFIGS;
        if effective(interval) >= effective(session) {
            return refused(format!("group config `{SESSION}` must exceed `{INTERVAL}`"));
        }
        Ok(())
    }
}
