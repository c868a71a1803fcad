//! `CreateTopics`, `DeleteTopics`, `CreatePartitions`.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse,
};
use uuid::Uuid;

use crate::core::{BrokerCore, ErrorCode, Refusal, Topic, TopicSpec};
use crate::listener::api::repeated::Repeated;
use crate::listener::api::{assignment, code, configs, text};
use crate::listener::router::Call;

pub(crate) fn create(call: &Call, mut request: CreateTopicsRequest) -> CreateTopicsResponse {
    let repeated = Repeated::remove(&mut request.topics, |topic| topic.name.to_string());
    let topics = request.topics.into_iter().map(|topic| {
        let result = CreatableTopicResult::default().with_name(topic.name.clone());
        match repeated.check(&topic.name).and_then(|()| create_topic(call, &topic, request.validate_only)) {
            Ok(created) => creation(call.version, result, created),
            Err(refusal) => result
                .with_error_code(refusal.code.code())
                .with_error_message(Some(text(refusal.message)))
                .with_configs(None),
        }
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

struct Created {
    id: u128,
    partitions: i32,
    configs: Vec<CreatableTopicConfigs>,
}

fn creation(version: i16, result: CreatableTopicResult, created: Created) -> CreatableTopicResult {
    let result = result.with_error_message(None).with_configs(None);
    let result = if version >= 7 { result.with_topic_id(Uuid::from_u128(created.id)) } else { result };
    if version < 5 {
        return result;
    }
    result.with_num_partitions(created.partitions).with_replication_factor(1).with_configs(Some(created.configs))
}

fn create_topic(call: &Call, topic: &CreatableTopic, validate_only: bool) -> Result<Created, Refusal> {
    let mut configs = BTreeMap::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let text = format!("topic config `{}` has no value: leave it out for the default", config.name.as_str());
            return Err(Refusal::new(ErrorCode::InvalidConfig, text));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    let partitions = match (topic.num_partitions, topic.assignments.len()) {
        (-1, 0) => call.shared.settings.default_partitions,
        (-1, assigned) => i32::try_from(assigned).map_err(|_| ErrorCode::InvalidPartitions)?,
        (partitions, _) => partitions,
    };
    assignment::check_new(topic)?;
    let spec = TopicSpec { partitions, configs };
    let broker = &mut call.shared.lock().broker;
    let configs = configs::of_new_topic(broker.values(), &spec.configs);
    if validate_only {
        broker.check_topic(&topic.name, &spec)?;
        return Ok(Created { id: 0, partitions, configs });
    }
    let id = broker.create_topic(&topic.name, spec)?.id();
    Ok(Created { id, partitions, configs })
}

pub(crate) fn delete(call: &Call, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = |name| DeleteTopicState::default().with_name(Some(name));
    let mut wanted: Vec<_> = request.topic_names.into_iter().map(by_name).chain(request.topics).collect();
    let identity = |topic: &DeleteTopicState| match &topic.name {
        Some(name) => name.to_string(),
        None => topic.topic_id.to_string(),
    };
    let repeated = Repeated::remove(&mut wanted, identity);
    let responses = wanted.into_iter().map(|topic| {
        let is_repeated = repeated.check(&identity(&topic)).is_err();
        let mut state = call.shared.lock();
        let by_id = state.broker.topic_name(topic.topic_id.as_u128()).map(text);
        let name = topic.name.or_else(|| by_id.map(Into::into));
        let deleted = match &name {
            _ if is_repeated => Err(ErrorCode::InvalidRequest),
            Some(name) => state.broker.delete_topic(name),
            None => Err(ErrorCode::UnknownTopicId),
        };
        let message = deleted.err().filter(|_| call.version >= 5).map(|code| text(code.to_string()));
        DeletableTopicResult::default()
            .with_name(name)
            .with_topic_id(topic.topic_id)
            .with_error_code(code(deleted))
            .with_error_message(message)
    });
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

pub(crate) fn create_partitions(call: &Call, mut request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let repeated = Repeated::remove(&mut request.topics, |topic| topic.name.to_string());
    let grow = |topic: CreatePartitionsTopic| {
        let mut state = call.shared.lock();
        let grown = repeated
            .check(&topic.name)
            .and_then(|()| check_added(&state.broker, &topic))
            .and_then(|()| state.broker.create_partitions(&topic.name, topic.count, request.validate_only));
        let result = CreatePartitionsTopicResult::default().with_name(topic.name);
        match grown {
            Ok(()) => result.with_error_message(None),
            Err(refusal) => result.with_error_code(refusal.code.code()).with_error_message(Some(text(refusal.message))),
        }
    };
    CreatePartitionsResponse::default().with_results(request.topics.into_iter().map(grow).collect())
}

/// Checks the assignments of the partitions that are added to a topic, if there are some. The other errors are those of
/// [`BrokerCore::create_partitions`].
fn check_added(broker: &BrokerCore, wanted: &CreatePartitionsTopic) -> Result<(), Refusal> {
    let Some(assignments) = &wanted.assignments else { return Ok(()) };
    let current = broker.topic(&wanted.name).map_or(0, Topic::partitions);
    match usize::try_from(wanted.count.saturating_sub(current)) {
        Ok(added) if added > 0 && current > 0 => {
            assignment::check_added(added, assignments.iter().map(|added| &*added.broker_ids))
        }
        _ => Ok(()),
    }
}
