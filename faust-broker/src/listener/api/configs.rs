//! `DescribeConfigs`, `AlterConfigs`, `IncrementalAlterConfigs`.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as Altered;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementallyAltered;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use crate::core::{BrokerCore, ConfigEdit, ConfigKey, ConfigKind, ErrorCode, Refusal, TOPIC_CONFIGS};
use crate::listener::api::text;
use crate::listener::router::Call;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Sources of a value: set on the topic, set for the broker, or Kafka's default.
const FROM_TOPIC: i8 = 1;
const FROM_BROKER: i8 = 4;
const FROM_DEFAULT: i8 = 5;

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
        resource.configuration_keys.as_ref().is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
    };
    match resource.resource_type {
        TOPIC => {
            let topic = broker.topic(&resource.resource_name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            let keys = TOPIC_CONFIGS.iter().filter(|key| wanted(key.name));
            Ok(keys.map(|key| topic_config(call.version, key, topic.configs().get(key.name), with_synonyms)).collect())
        }
        BROKER => Ok(broker_configs(call).into_iter().filter(|config| wanted(&config.name)).collect()),
        _ => Err(ErrorCode::InvalidRequest.into()),
    }
}

fn topic_config(
    version: i16,
    key: &ConfigKey,
    own: Option<&String>,
    with_synonyms: bool,
) -> DescribeConfigsResourceResult {
    let value = own.map_or(key.default, String::as_str);
    let synonym = |value: &str, source| {
        DescribeConfigsSynonym::default().with_name(text(key.name)).with_value(Some(text(value))).with_source(source)
    };
    let mut synonyms = Vec::new();
    if with_synonyms {
        synonyms.extend(own.map(|value| synonym(value, FROM_TOPIC)));
        synonyms.push(synonym(key.default, FROM_DEFAULT));
    }
    let result = DescribeConfigsResourceResult::default()
        .with_name(text(key.name))
        .with_value(Some(text(value)))
        .with_config_source(if own.is_some() { FROM_TOPIC } else { FROM_DEFAULT })
        .with_synonyms(synonyms);
    if version >= 3 { result.with_config_type(type_number(key.kind)).with_documentation(None) } else { result }
}

/// Returns the number of a configuration type in the protocol.
fn type_number(kind: ConfigKind) -> i8 {
    match kind {
        ConfigKind::Boolean => 1,
        ConfigKind::Text | ConfigKind::Word(_) => 2,
        ConfigKind::Number(_) | ConfigKind::Within(_) => 5,
        ConfigKind::Fraction => 6,
        ConfigKind::Words(_) => 7,
    }
}

/// Returns the broker settings that clients query. They are fixed at startup.
fn broker_configs(call: &Call) -> Vec<DescribeConfigsResourceResult> {
    let config = &call.shared.config;
    let settings = [
        ("auto.create.topics.enable", config.auto_create_topics.to_string()),
        ("num.partitions", config.default_partitions.to_string()),
        ("default.replication.factor", "1".to_owned()),
        ("socket.request.max.bytes", config.max_request_bytes.to_string()),
    ];
    let setting = |(name, value): (&str, String)| {
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_read_only(true)
            .with_config_source(FROM_BROKER)
    };
    settings.into_iter().map(setting).collect()
}

pub(crate) fn alter(call: &Call, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let responses = request.resources.into_iter().map(|resource| {
        let set = resource
            .configs
            .iter()
            .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())));
        let configs: BTreeMap<String, String> = set.collect();
        let altered = on_topic(resource.resource_type).and_then(|()| {
            call.shared.lock().broker.replace_configs(&resource.resource_name, configs, request.validate_only)
        });
        let (error_code, message) = outcome(altered);
        Altered::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_error_code(error_code)
            .with_error_message(message.map(text))
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

pub(crate) fn alter_incrementally(
    call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let responses = request.resources.into_iter().map(|resource| {
        let altered = on_topic(resource.resource_type).and_then(|()| {
            let edits: Vec<ConfigEdit> = resource.configs.iter().map(edit).collect::<Result<_, _>>()?;
            call.shared.lock().broker.edit_configs(&resource.resource_name, &edits, request.validate_only)
        });
        let (error_code, message) = outcome(altered);
        IncrementallyAltered::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_error_code(error_code)
            .with_error_message(message.map(text))
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn edit(config: &AlterableConfig) -> Result<ConfigEdit, Refusal> {
    let name = config.name.to_string();
    let value = config.value.as_ref().map(|value| value.to_string());
    match (config.config_operation, value) {
        (0, Some(value)) => Ok(ConfigEdit::Set(name, value)),
        (0 | 1, _) => Ok(ConfigEdit::Unset(name)),
        (2, Some(value)) => Ok(ConfigEdit::Append(name, value)),
        (3, Some(value)) => Ok(ConfigEdit::Subtract(name, value)),
        _ => Err(ErrorCode::InvalidRequest.into()),
    }
}

fn on_topic(resource_type: i8) -> Result<(), Refusal> {
    if resource_type == TOPIC {
        return Ok(());
    }
    let message =
        "only topic configs can be altered while the broker runs; broker settings are fixed at startup".to_owned();
    Err(Refusal { code: ErrorCode::InvalidRequest, message })
}

fn outcome(altered: Result<(), Refusal>) -> (i16, Option<String>) {
    match altered {
        Ok(()) => (0, None),
        Err(refusal) => (refusal.code.code(), Some(refusal.message)),
    }
}
