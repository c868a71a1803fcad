//! `DescribeConfigs`, `AlterConfigs`, `IncrementalAlterConfigs`.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::alter_configs_request::AlterableConfig as ReplacedConfig;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as Altered;
use kafka_protocol::messages::create_topics_response::CreatableTopicConfigs;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementallyAltered;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListConfigResourcesRequest,
    ListConfigResourcesResponse,
};
use tracing::level_filters::LevelFilter;

use crate::core::broker_config::{self, BROKER_CONFIGS, BrokerKey, UpdateMode};
use crate::core::broker_values::{BrokerValues, ConfigScope, ConfigSource, Synonym};
use crate::core::{
    BrokerCore, ConfigEdit, ConfigKey, ConfigKind, ErrorCode, GROUP_CONFIGS, GroupKey, Refusal, TOPIC_CONFIGS, Topic,
    check_name,
};
use crate::listener::api::{NODE, text};
use crate::listener::router::Call;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
/// The source of a logger's level in the protocol.
const LOGGER_SOURCE: i8 = 6;
/// The configs that are described only if they are set, because tools take a broker that has them for a throttled one.
const LISTED_IF_SET: [&str; 3] = [
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];
/// The types of resources that Kafka lists: topics, brokers, their loggers, client metrics and groups.
const LISTABLE: [i8; 5] = [TOPIC, BROKER, LOGGER, CLIENT_METRICS, GROUP];

pub(crate) fn describe(call: &Call, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let state = call.shared.lock();
    let results = request.resources.into_iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match describe_resource(call, &state.broker, &resource, request.include_synonyms) {
            Ok(configs) => result.with_error_message(None).with_configs(configs),
            Err(refusal) => result.with_error_code(refusal.code.code()).with_error_message(Some(text(refusal.message))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe_resource(
    call: &Call,
    broker: &BrokerCore,
    resource: &DescribeConfigsResource,
    with_synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let wanted = |name: &str| {
        // As in Kafka, an empty list requests all.
        let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
        keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
    };
    let detail = Detail { version: call.version, with_synonyms };
    match resource.resource_type {
        TOPIC => {
            check_name(&resource.resource_name)?;
            let topic = broker.topic(&resource.resource_name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            let keys = TOPIC_CONFIGS.iter().filter(|key| wanted(key.name));
            Ok(keys.map(|key| topic_config(&detail, broker, topic, key)).collect())
        }
        BROKER => {
            let scope = scope_of(&resource.resource_name)?;
            // The cluster has only the configs that were set for all brokers.
            let is_listed = |key: &BrokerKey| match scope {
                ConfigScope::Cluster => broker.values().dynamic(scope).contains_key(key.name),
                ConfigScope::Node => !LISTED_IF_SET.contains(&key.name) || broker.values().value(key.name).is_some(),
            };
            let keys = BROKER_CONFIGS.iter().filter(|key| wanted(key.name) && is_listed(key));
            Ok(keys.map(|key| broker_config(&detail, broker, scope, key)).collect())
        }
        LOGGER => {
            if scope_of(&resource.resource_name)? == ConfigScope::Cluster {
                return Err(unexpected_broker(""));
            }
            Ok(Some(root_logger(&detail)).filter(|logger| wanted(&logger.name)).into_iter().collect())
        }
        // There are no subscriptions, and Kafka describes a missing one as empty.
        CLIENT_METRICS => Ok(Vec::new()),
        GROUP => {
            let own = broker.group_configs(check_group(&resource.resource_name)?);
            let keys = GROUP_CONFIGS.iter().filter(|key| wanted(key.name));
            Ok(keys.map(|key| group_config(&detail, broker, &own, key)).collect())
        }
        other => Err(unsupported(other)),
    }
}

/// Describes the level up to which the program logs, as that of Kafka's logger `root`.
fn root_logger(detail: &Detail) -> DescribeConfigsResourceResult {
    let level = match LevelFilter::current().to_string() {
        level if level == "off" => "FATAL".to_owned(),
        level => level.to_uppercase(),
    };
    let logger = detail.config("root", ConfigKind::Text, Some(level), Vec::new());
    logger.with_config_source(LOGGER_SOURCE).with_read_only(true)
}

/// The parts of a described config that depend on the request.
struct Detail {
    version: i16,
    with_synonyms: bool,
}

impl Detail {
    /// Describes a config with its values, of which the first is the effective one.
    fn config(
        &self,
        name: &'static str,
        kind: ConfigKind,
        value: Option<String>,
        synonyms: Vec<Synonym>,
    ) -> DescribeConfigsResourceResult {
        let source = source_of(&synonyms);
        let synonym = |synonym: Synonym| {
            DescribeConfigsSynonym::default()
                .with_name(text(synonym.name))
                .with_value(Some(text(synonym.value)))
                .with_source(synonym.source as i8)
        };
        let shown = if self.with_synonyms { synonyms } else { Vec::new() };
        let result = DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(value.map(text))
            .with_config_source(source as i8)
            .with_synonyms(shown.into_iter().map(synonym).collect());
        if self.version >= 3 { result.with_config_type(type_number(kind)).with_documentation(None) } else { result }
    }
}

fn topic_config(detail: &Detail, broker: &BrokerCore, topic: &Topic, key: &ConfigKey) -> DescribeConfigsResourceResult {
    let (value, synonyms) = topic_value(broker.values(), topic.configs(), key);
    detail.config(key.name, key.kind, Some(value), synonyms)
}

fn check_group(name: &str) -> Result<&str, Refusal> {
    match name {
        "" => Err(Refusal::new(ErrorCode::InvalidRequest, "the name of the group is empty: name one".to_owned())),
        name => Ok(name),
    }
}

/// Describes a config of a group that has set `own`. The default is that of the broker.
fn group_config(
    detail: &Detail,
    broker: &BrokerCore,
    own: &BTreeMap<String, String>,
    key: &GroupKey,
) -> DescribeConfigsResourceResult {
    let own = own.get(key.name);
    let own = own.map(|value| Synonym { name: key.name, value: value.clone(), source: ConfigSource::Group });
    let inherited = broker_config::find(key.broker).map(|key| broker.values().synonyms(key)).unwrap_or_default();
    let synonyms: Vec<Synonym> = own.into_iter().chain(inherited).collect();
    let value = synonyms.first().map(|synonym| synonym.value.clone());
    detail.config(key.name, ConfigKind::Int(1), value, synonyms)
}

/// Returns the value of a config of a topic that has set `own`, and the values that it comes from.
fn topic_value(values: &BrokerValues, own: &BTreeMap<String, String>, key: &ConfigKey) -> (String, Vec<Synonym>) {
    let own = own.get(key.name);
    let value = own.cloned().unwrap_or_else(|| values.topic_default(key));
    let own = own.map(|value| Synonym { name: key.name, value: value.clone(), source: ConfigSource::Topic });
    (value, own.into_iter().chain(values.synonyms_of_topic(key.name)).collect())
}

/// Describes the configs of a topic that is created with `own`.
pub(super) fn of_new_topic(values: &BrokerValues, own: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let described = TOPIC_CONFIGS.iter().map(|key| {
        let (value, synonyms) = topic_value(values, own, key);
        CreatableTopicConfigs::default()
            .with_name(text(key.name))
            .with_value(Some(text(value)))
            .with_config_source(source_of(&synonyms) as i8)
    });
    described.collect()
}

/// Returns the source of an effective value.
fn source_of(synonyms: &[Synonym]) -> ConfigSource {
    synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source)
}

fn broker_config(
    detail: &Detail,
    broker: &BrokerCore,
    scope: ConfigScope,
    key: &BrokerKey,
) -> DescribeConfigsResourceResult {
    let mut synonyms = broker.values().synonyms(key);
    if scope == ConfigScope::Cluster {
        synonyms.retain(|synonym| synonym.source == ConfigSource::Cluster);
    }
    let value = synonyms.first().map(|synonym| synonym.value.clone());
    detail.config(key.name, key.kind, value, synonyms).with_read_only(key.mode != UpdateMode::Dynamic)
}

/// Returns the number of a configuration type in the protocol.
fn type_number(kind: ConfigKind) -> i8 {
    match kind {
        ConfigKind::Boolean => 1,
        ConfigKind::Text | ConfigKind::Word(_) => 2,
        ConfigKind::Int(_) | ConfigKind::Within(_) => 3,
        ConfigKind::Number(_) => 5,
        ConfigKind::Fraction => 6,
        ConfigKind::Words(_) | ConfigKind::Replicas | ConfigKind::List => 7,
    }
}

/// Returns the brokers that a resource of the type `BROKER` names: this one, or all.
fn scope_of(name: &str) -> Result<ConfigScope, Refusal> {
    match name {
        "" => Ok(ConfigScope::Cluster),
        name if name.parse() == Ok(NODE.0) => Ok(ConfigScope::Node),
        name => Err(unexpected_broker(name)),
    }
}

fn unexpected_broker(name: &str) -> Refusal {
    let text =
        format!("unexpected broker id `{name}`: expected {}, or an empty name for the configs of all brokers", NODE.0);
    Refusal::new(ErrorCode::InvalidRequest, text)
}

fn unsupported(resource_type: i8) -> Refusal {
    let text = match resource_type {
        LOGGER => "the level of logs cannot be changed: the program that runs this broker sets it".to_owned(),
        _ => {
            format!("unsupported resource type {resource_type}: this broker has configs of topics, groups and brokers")
        }
    };
    Refusal::new(ErrorCode::InvalidRequest, text)
}

pub(crate) fn list_resources(call: &Call, request: ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    let state = call.shared.lock();
    // Version 0 lists the subscriptions of client metrics, which this broker does not have.
    let listed = if call.version == 0 { &[][..] } else { &[TOPIC, BROKER, GROUP][..] };
    let asked = &request.resource_types;
    if let Some(other) = asked.iter().find(|asked| !LISTABLE.contains(asked)) {
        let code = ErrorCode::UnsupportedVersion.code();
        tracing::debug!(resource_type = other, "refused to list an unknown type of config resources");
        return ListConfigResourcesResponse::default().with_error_code(code);
    }
    let resource = |name: &str, resource_type| {
        ConfigResource::default().with_resource_name(text(name)).with_resource_type(resource_type)
    };
    let mut resources = Vec::new();
    for resource_type in listed.iter().filter(|listed| asked.is_empty() || asked.contains(listed)) {
        match *resource_type {
            TOPIC => resources.extend(state.broker.topics().map(|(name, _)| resource(name, TOPIC))),
            GROUP => resources.extend(state.broker.configured_groups().map(|name| resource(name, GROUP))),
            _ => resources.push(resource(&NODE.0.to_string(), BROKER)),
        }
    }
    ListConfigResourcesResponse::default().with_config_resources(resources)
}

pub(crate) fn alter(call: &Call, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let responses = request.resources.into_iter().map(|resource| {
        let name = &resource.resource_name;
        let broker = &mut call.shared.lock().broker;
        let altered = values_of(&resource.configs).and_then(|configs| match resource.resource_type {
            TOPIC => broker.replace_configs(name, configs, request.validate_only),
            BROKER => {
                scope_of(name).and_then(|scope| broker.replace_broker_configs(scope, configs, request.validate_only))
            }
            GROUP => broker.replace_group_configs(name, configs, request.validate_only),
            other => Err(unsupported(other)),
        });
        let (error_code, message) = outcome(altered);
        Altered::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_error_code(error_code)
            .with_error_message(message.map(text))
    });
    let responses = responses.collect();
    call.shared.configs_changed.notify_one();
    AlterConfigsResponse::default().with_responses(responses)
}

pub(crate) fn alter_incrementally(
    call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let responses = request.resources.into_iter().map(|resource| {
        let name = &resource.resource_name;
        let broker = &mut call.shared.lock().broker;
        let edits = edits_of(&resource.configs);
        let altered = edits.and_then(|edits| match resource.resource_type {
            TOPIC => broker.edit_configs(name, &edits, request.validate_only),
            BROKER => scope_of(name).and_then(|scope| broker.edit_broker_configs(scope, &edits, request.validate_only)),
            GROUP => broker.edit_group_configs(name, &edits, request.validate_only),
            other => Err(unsupported(other)),
        });
        let (error_code, message) = outcome(altered);
        IncrementallyAltered::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_error_code(error_code)
            .with_error_message(message.map(text))
    });
    let responses = responses.collect();
    call.shared.configs_changed.notify_one();
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

/// Returns the values of a resource's configs, of which each is set at most once.
fn values_of(configs: &[ReplacedConfig]) -> Result<BTreeMap<String, String>, Refusal> {
    check_names(configs.iter().map(|config| config.name.as_str()))?;
    let value = |config: &ReplacedConfig| match &config.value {
        Some(value) => Ok((config.name.to_string(), value.to_string())),
        None => {
            let text =
                format!("config `{}` has no value: set one, or leave the config out to reset it", config.name.as_str());
            Err(Refusal::new(ErrorCode::InvalidRequest, text))
        }
    };
    configs.iter().map(value).collect()
}

/// Returns the changes of a resource's configs, of which each is changed at most once.
fn edits_of(configs: &[AlterableConfig]) -> Result<Vec<ConfigEdit>, Refusal> {
    check_names(configs.iter().map(|config| config.name.as_str()))?;
    configs.iter().map(edit).collect()
}

fn check_names<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    match names.find(|name| !seen.insert(*name)) {
        Some(twice) => {
            let text = format!("config `{twice}` is changed twice in one request: change it once");
            Err(Refusal::new(ErrorCode::InvalidRequest, text))
        }
        None => Ok(()),
    }
}

fn edit(config: &AlterableConfig) -> Result<ConfigEdit, Refusal> {
    let name = config.name.to_string();
    let value = config.value.as_ref().map(|value| value.to_string());
    match (config.config_operation, value) {
        (0, Some(value)) => Ok(ConfigEdit::Set(name, value)),
        (1, _) => Ok(ConfigEdit::Unset(name)),
        (2, Some(value)) => Ok(ConfigEdit::Append(name, value)),
        (3, Some(value)) => Ok(ConfigEdit::Subtract(name, value)),
        (0 | 2 | 3, None) => {
            let text = format!("config `{name}` has no value: set one, or use the operation that resets the config");
            Err(Refusal::new(ErrorCode::InvalidRequest, text))
        }
        (other, _) => {
            let text = format!("unknown operation {other} for config `{name}`");
            Err(Refusal::new(ErrorCode::InvalidRequest, text))
        }
    }
}

fn outcome(altered: Result<(), Refusal>) -> (i16, Option<String>) {
    match altered {
        Ok(()) => (0, None),
        Err(refusal) => (refusal.code.code(), Some(refusal.message)),
    }
}
