//! Checks of the replicas that a client assigns to the nodes itself.

use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::create_topics_request::CreatableTopic;

use crate::core::{ErrorCode, Refusal};
use crate::listener::api::NODE;

/// Checks the nodes of a partition's replicas: the only node, once.
///
/// # Errors
/// `InvalidReplicaAssignment`, with a message that names the unknown node.
pub(super) fn check(replicas: &[BrokerId]) -> Result<(), Refusal> {
    match replicas {
        [NODE] => Ok(()),
        [] => Err(invalid("an assignment has no replicas".to_owned())),
        _ => Err(match replicas.iter().find(|replica| **replica != NODE) {
            Some(other) => invalid(format!("the assignment includes the broker {}, which does not exist", other.0)),
            None => invalid(format!("the assignment includes the broker {} more than once", NODE.0)),
        }),
    }
}

/// Checks the replication factor of a new topic, or the assignments that it has instead of it.
///
/// # Errors
/// `InvalidReplicationFactor`; `InvalidRequest` for assignments beside numbers; `InvalidReplicaAssignment`.
pub(super) fn check_new(topic: &CreatableTopic) -> Result<(), Refusal> {
    if topic.assignments.is_empty() {
        return match topic.replication_factor {
            -1 | 1 => Ok(()),
            _ => Err(ErrorCode::InvalidReplicationFactor.into()),
        };
    }
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        let text = "a topic has either assignments, or a number of partitions and a replication factor: set them to -1";
        return Err(Refusal::new(ErrorCode::InvalidRequest, text.to_owned()));
    }
    topic.assignments.iter().try_for_each(|assignment| check(&assignment.broker_ids))?;
    let mut indexes: Vec<i32> = topic.assignments.iter().map(|assignment| assignment.partition_index).collect();
    indexes.sort_unstable();
    match indexes.iter().zip(0..).all(|(index, expected)| *index == expected) {
        true => Ok(()),
        false => Err(invalid("the assigned partitions are not numbered 0, 1, 2 .. without gaps".to_owned())),
    }
}

/// Checks the assignments of `added` new partitions.
///
/// # Errors
/// `InvalidReplicaAssignment`.
pub(super) fn check_added<'a>(
    added: usize,
    assignments: impl ExactSizeIterator<Item = &'a [BrokerId]>,
) -> Result<(), Refusal> {
    if assignments.len() != added {
        return Err(invalid(format!("{added} partitions would be added, but {} are assigned", assignments.len())));
    }
    let mut assignments = assignments;
    assignments.try_for_each(check)
}

fn invalid(reason: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidReplicaAssignment, format!("{reason}: this broker is the single node {}", NODE.0))
}
