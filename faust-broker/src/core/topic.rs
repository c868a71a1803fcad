//! Topics: create, delete, alter configurations and add partitions.

use std::collections::{BTreeMap, HashMap};
use std::io;

use crate::core::broker_values::BrokerValues;
use crate::core::change::{Change, Id};
use crate::core::config::{self, TOPIC_CONFIGS, TopicConfig};
use crate::core::edit::{ConfigEdit, edited};
use crate::core::log::{Log, Marks, Recovery};
use crate::core::storage::{LogStorage, PartitionId};
use crate::core::verification::Unverified;
use crate::core::{BrokerCore, ErrorCode};

const MAX_NAME_LEN: usize = 249;
/// Maximum number of partitions of a topic. More are not useful on one node, and a malicious request could ask for
/// billions.
pub(crate) const MAX_PARTITIONS: i32 = 10_000;

/// The specification of a new topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicSpec {
    /// Number of partitions, from 1 to 10000.
    pub partitions: i32,
    /// Configurations by name, as listed in [`TOPIC_CONFIGS`](crate::core::TOPIC_CONFIGS).
    pub configs: BTreeMap<String, String>,
}

/// An error code with a message for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Refusal {
    /// The error code in the protocol.
    pub code: ErrorCode,
    /// A description of the error and how to fix it.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.to_string())
    }
}

/// A topic and its logs.
#[derive(Debug)]
pub struct Topic {
    id: u128,
    configs: BTreeMap<String, String>,
    /// `configs` and the defaults that the broker's configs define, parsed.
    pub(super) parsed: TopicConfig,
    pub(super) logs: Vec<Log>,
}

impl Topic {
    pub(crate) fn new(id: u128, partitions: i32, configs: BTreeMap<String, String>, broker: &BrokerValues) -> Self {
        let mut topic = Self { id, parsed: parse(&configs, broker), configs, logs: Vec::new() };
        topic.grow(partitions);
        topic
    }

    /// Returns the topic id, which is never reused.
    pub fn id(&self) -> u128 {
        self.id
    }

    /// Returns the number of partitions. They are numbered from 0.
    pub fn partitions(&self) -> i32 {
        i32::try_from(self.logs.len()).expect("at most 10000 partitions")
    }

    /// Returns the configurations that have been set; all others have their defaults.
    pub fn configs(&self) -> &BTreeMap<String, String> {
        &self.configs
    }

    pub(crate) fn grow(&mut self, partitions: i32) {
        for partition in self.partitions()..partitions {
            self.logs.push(Log::new(PartitionId { topic_id: self.id, partition }));
        }
    }

    pub(crate) fn set_configs(&mut self, configs: BTreeMap<String, String>, broker: &BrokerValues) {
        self.configs = configs;
        self.apply_defaults(broker);
    }

    /// Applies the defaults that the broker's configs define to what the topic does not set.
    pub(crate) fn apply_defaults(&mut self, broker: &BrokerValues) {
        let parsed = parse(&self.configs, broker);
        if parsed != self.parsed {
            self.parsed = parsed;
            self.logs.iter_mut().for_each(Log::abandon_compaction);
        }
    }

    /// Recovers the log of a partition. Returns the part whose checksums have not been verified, if there is any.
    pub(crate) fn recover(
        &mut self,
        name: &str,
        partition: i32,
        marks: &HashMap<(String, i32), Marks>,
        storage: &mut dyn LogStorage,
    ) -> io::Result<Option<Unverified>> {
        let marks = marks.get(&(name.to_owned(), partition)).copied().unwrap_or_default();
        let id = PartitionId { topic_id: self.id, partition };
        let Recovery { log, trusted } = Log::recover(name, id, marks, storage)?;
        if log.start() > marks.start {
            // Recorded, so that missing segments are reported once.
            storage.record(&Change::LogStart { topic: name.to_owned(), partition, offset: log.start() })?;
        }
        let offsets = i64::MIN..trusted;
        if let Ok((held, _)) = self.log_mut(partition) {
            *held = log;
        }
        Ok((trusted > 0).then(|| Unverified { topic: name.to_owned(), partition, offsets, repaired: None }))
    }

    /// Returns the highest id of a producer that has written to the topic.
    pub(crate) fn max_producer_id(&self) -> Option<i64> {
        self.logs.iter().filter_map(Log::max_producer_id).max()
    }

    /// Requests a sync of the active segments of which more than `least` bytes are not synced, and adds the ends of what is
    /// synced then to `ends`.
    pub(crate) fn sync(&mut self, least: u64, ends: &mut Vec<Change>) {
        for (partition, log) in (0..).zip(&mut self.logs) {
            ends.push(Change::LogEnd { id: Id(self.id), partition, offset: log.sync(least) });
        }
    }

    pub(crate) fn snapshot(&self, name: &str, changes: &mut Vec<Change>) {
        changes.push(Change::TopicCreated {
            name: name.to_owned(),
            id: Id(self.id),
            partitions: self.partitions(),
            configs: self.configs.clone(),
        });
        for (partition, log) in (0..).zip(&self.logs) {
            if log.start() > 0 {
                changes.push(Change::LogStart { topic: name.to_owned(), partition, offset: log.start() });
            }
            if log.clean() > 0 {
                changes.push(Change::LogCleaned { topic: name.to_owned(), partition, offset: log.clean() });
            }
        }
    }

    pub(super) fn log(&self, partition: i32) -> Result<&Log, ErrorCode> {
        let index = usize::try_from(partition).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
        self.logs.get(index).ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    pub(super) fn log_mut(&mut self, partition: i32) -> Result<(&mut Log, &TopicConfig), ErrorCode> {
        let index = usize::try_from(partition).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
        let log = self.logs.get_mut(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        Ok((log, &self.parsed))
    }
}

/// Parses a topic's configs, with the defaults that the broker's configs define.
fn parse(configs: &BTreeMap<String, String>, broker: &BrokerValues) -> TopicConfig {
    let mut effective = broker.topic_defaults();
    effective.extend(configs.iter().map(|(name, value)| (name.clone(), value.clone())));
    TopicConfig::new(&effective)
}

/// Topics.
impl BrokerCore {
    /// Returns all topics, ordered by name.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.topics.iter().map(|(name, topic)| (name.as_str(), topic))
    }

    /// Returns the topic with this name.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// Returns the name of the topic with this id.
    pub fn topic_name(&self, id: u128) -> Option<&str> {
        self.topic_names.get(&id).map(String::as_str)
    }

    /// Checks whether a topic can be created, without creating it.
    ///
    /// # Errors
    /// See [`create_topic`](Self::create_topic).
    pub fn check_topic(&self, name: &str, spec: &TopicSpec) -> Result<(), Refusal> {
        check_name(name)?;
        if self.topics.contains_key(name) {
            return Err(Refusal::new(ErrorCode::TopicAlreadyExists, format!("topic `{name}` already exists")));
        }
        self.check_collision(name)?;
        check_partitions(spec.partitions)?;
        check_configs(&spec.configs)
    }

    /// Refuses a name that differs from another only in `.` and `_`, as Kafka does: its metrics could not distinguish
    /// the topics.
    fn check_collision(&self, name: &str) -> Result<(), Refusal> {
        let metric = |name: &str| name.replace('.', "_");
        let name_in_metrics = metric(name);
        match self.topics.keys().find(|other| metric(other) == name_in_metrics) {
            Some(other) => {
                let text = format!("topic `{name}` collides with topic `{other}`: they differ only in `.` and `_`");
                Err(Refusal::new(ErrorCode::InvalidTopic, text))
            }
            None => Ok(()),
        }
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// `TopicAlreadyExists`, `InvalidTopic`, `InvalidPartitions`, `InvalidConfig`, `StorageError`.
    pub fn create_topic(&mut self, name: &str, spec: TopicSpec) -> Result<&Topic, Refusal> {
        self.check_topic(name, &spec)?;
        let id = self.random.next_uuid();
        let TopicSpec { partitions, configs } = spec;
        self.note(&Change::TopicCreated { name: name.to_owned(), id: Id(id), partitions, configs: configs.clone() })?;
        self.topic_names.insert(id, name.to_owned());
        self.catalog_version += 1;
        Ok(self.topics.entry(name.to_owned()).or_insert_with(|| Topic::new(id, partitions, configs, &self.values)))
    }

    /// Deletes a topic, its records and the offsets that groups have committed for it.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, `StorageError`.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), ErrorCode> {
        let id = self.topics.get(name).ok_or(ErrorCode::UnknownTopicOrPartition)?.id;
        self.note(&Change::TopicDeleted { name: name.to_owned() })?;
        self.topics.remove(name);
        self.topic_names.remove(&id);
        self.catalog_version += 1;
        self.groups.forget_topic(name);
        self.transactions.forget_topic(name);
        self.storage.delete_topic(id).map_err(|error| {
            tracing::error!(topic = name, %error, "cannot delete the files of a topic");
            ErrorCode::StorageError
        })
    }

    /// Increases the number of partitions of a topic to `partitions`. With `validate_only`, the change is only
    /// validated.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, `InvalidPartitions` if `partitions` is not an increase, `StorageError`.
    pub fn create_partitions(&mut self, name: &str, partitions: i32, validate_only: bool) -> Result<(), Refusal> {
        let topic = self.topics.get(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        check_partitions(partitions)?;
        if partitions <= topic.partitions() {
            let text = format!("topic `{name}` has {} partitions; {partitions} is not an increase", topic.partitions());
            return Err(Refusal::new(ErrorCode::InvalidPartitions, text));
        }
        if validate_only {
            return Ok(());
        }
        self.note(&Change::PartitionsAdded { name: name.to_owned(), partitions })?;
        if let Some(topic) = self.topics.get_mut(name) {
            topic.grow(partitions);
        }
        self.catalog_version += 1;
        Ok(())
    }

    /// Changes a topic's configuration, applying all edits or none. With `validate_only`, the change is only validated.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, `InvalidConfig`, `StorageError`.
    pub fn edit_configs(&mut self, name: &str, edits: &[ConfigEdit], validate_only: bool) -> Result<(), Refusal> {
        let configs = self.topics.get(name).ok_or(ErrorCode::UnknownTopicOrPartition)?.configs.clone();
        let list = |name: &str| {
            let key = TOPIC_CONFIGS.iter().find(|key| key.name == name)?;
            key.kind.is_list().then(|| self.values.topic_default(key))
        };
        let configs = edited(configs, edits, list)?;
        self.replace_configs(name, configs, validate_only)
    }

    /// Replaces all configurations that have been set with `configs`. With `validate_only`, the change is only
    /// validated.
    ///
    /// # Errors
    /// See [`edit_configs`](Self::edit_configs).
    pub fn replace_configs(
        &mut self,
        name: &str,
        configs: BTreeMap<String, String>,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        if !self.topics.contains_key(name) {
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        check_configs(&configs)?;
        if validate_only {
            return Ok(());
        }
        self.note(&Change::ConfigsSet { name: name.to_owned(), configs: configs.clone() })?;
        if let Some(topic) = self.topics.get_mut(name) {
            topic.set_configs(configs, &self.values);
        }
        Ok(())
    }
}

/// Checks that a topic may have this name.
///
/// # Errors
/// `InvalidTopic`, with a message that states which names are valid.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > MAX_NAME_LEN || name == "." || name == ".." || !name.chars().all(is_legal) {
        let text = format!("invalid topic name `{name}`: use 1 to 249 of the characters a-z A-Z 0-9 . _ -");
        return Err(Refusal::new(ErrorCode::InvalidTopic, text));
    }
    Ok(())
}

fn check_partitions(partitions: i32) -> Result<(), Refusal> {
    if (1..=MAX_PARTITIONS).contains(&partitions) {
        return Ok(());
    }
    let text = format!("invalid number of partitions {partitions}: use 1 to {MAX_PARTITIONS}");
    Err(Refusal::new(ErrorCode::InvalidPartitions, text))
}

fn check_configs(configs: &BTreeMap<String, String>) -> Result<(), Refusal> {
    for (name, value) in configs {
        config::check(name, value).map_err(|text| Refusal::new(ErrorCode::InvalidConfig, text))?;
    }
    Ok(())
}
