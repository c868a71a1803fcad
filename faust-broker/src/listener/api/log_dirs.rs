//! `DescribeLogDirs`, `AlterReplicaLogDirs`: the one log directory of the broker.

use std::collections::BTreeSet;

use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName,
};

use crate::core::{BrokerCore, ErrorCode};
use crate::listener::api::{code, text};
use crate::listener::router::Call;

pub(crate) fn describe(call: &Call, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let state = call.shared.lock();
    let topics = match request.topics {
        None => state.broker.topics().map(|(name, topic)| sizes(&state.broker, name, 0..topic.partitions())).collect(),
        Some(topics) => {
            let described = topics.into_iter().map(|topic| sizes(&state.broker, &topic.topic, topic.partitions));
            described.filter(|topic| !topic.partitions.is_empty()).collect()
        }
    };
    drop(state);
    let result = DescribeLogDirsResult::default().with_log_dir(text(&*call.shared.log_dir.name)).with_topics(topics);
    let result = if call.version >= 4 {
        let (total, usable) = call.shared.log_dir.bytes();
        result.with_total_bytes(total).with_usable_bytes(usable)
    } else {
        result
    };
    DescribeLogDirsResponse::default().with_results(vec![result])
}

/// Returns the sizes of these partitions. Those that do not exist are left out.
fn sizes(broker: &BrokerCore, topic: &str, partitions: impl IntoIterator<Item = i32>) -> DescribeLogDirsTopic {
    let distinct: BTreeSet<i32> = partitions.into_iter().collect();
    let sized = distinct.into_iter().filter_map(|index| {
        let bytes = broker.partition_bytes(topic, index).ok()?;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        Some(DescribeLogDirsPartition::default().with_partition_index(index).with_partition_size(bytes))
    });
    DescribeLogDirsTopic::default().with_name(TopicName(text(topic))).with_partitions(sized.collect())
}

/// Moves nothing: a partition is either in the requested directory already, or the directory does not exist.
pub(crate) fn alter(call: &Call, request: AlterReplicaLogDirsRequest) -> AlterReplicaLogDirsResponse {
    let state = call.shared.lock();
    let mut results = Vec::new();
    for dir in request.dirs {
        let is_ours = dir.path.as_str() == call.shared.log_dir.name;
        for topic in dir.topics {
            let partitions = topic.partitions.into_iter().map(|index| {
                let outcome = match state.broker.partition_bytes(&topic.name, index) {
                    _ if !is_ours => Err(ErrorCode::LogDirNotFound),
                    Ok(_) => Ok(()),
                    Err(missing) => Err(missing),
                };
                AlterReplicaLogDirPartitionResult::default().with_partition_index(index).with_error_code(code(outcome))
            });
            let partitions = partitions.collect();
            results
                .push(AlterReplicaLogDirTopicResult::default().with_topic_name(topic.name).with_partitions(partitions));
        }
    }
    AlterReplicaLogDirsResponse::default().with_results(results)
}
