//! Describing consumer groups.

use std::collections::BTreeSet;

use crate::core::BrokerCore;
use crate::core::group::consumer::{ConsumerGroup, TopicPartition};

/// The description of a group of the consumer protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DescribedConsumerGroup {
    /// Name of the state, as in Kafka: `Empty`, `Assigning`, `Reconciling` or `Stable`.
    pub state: &'static str,
    /// The group epoch.
    pub epoch: i32,
    /// The group epoch of the target assignment.
    pub assignment_epoch: i32,
    /// Name of the assignor.
    pub assignor: &'static str,
    /// The members, ordered by id.
    pub members: Vec<DescribedConsumer>,
}

/// The description of a member of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DescribedConsumer {
    /// Member id.
    pub member_id: String,
    /// Static name (`group.instance.id`), if any.
    pub instance_id: Option<String>,
    /// Rack of the client, if any.
    pub rack_id: Option<String>,
    /// Epoch of the member.
    pub epoch: i32,
    /// Client id (`client.id`).
    pub client_id: String,
    /// Host the client connects from.
    pub client_host: String,
    /// Names of the subscribed topics, ordered.
    pub topics: Vec<String>,
    /// Regular expression of the subscribed topics, if any.
    pub topic_regex: Option<String>,
    /// The partitions that the member may use.
    pub assignment: BTreeSet<TopicPartition>,
    /// The partitions that the member is to have.
    pub target: BTreeSet<TopicPartition>,
}

/// Descriptions of consumer groups.
impl BrokerCore {
    /// Describes a group of the consumer protocol. Returns `None` if the group does not exist, or has the classic protocol.
    pub fn describe_consumer_group(&self, id: &str) -> Option<DescribedConsumerGroup> {
        self.groups.by_id.get(id)?.consumer.as_ref().map(ConsumerGroup::describe)
    }
}

impl ConsumerGroup {
    /// Returns the name of the group's state.
    pub(in crate::core::group) fn state(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.assignment_epoch {
            "Assigning"
        } else if self.members.values().all(|member| member.is_reconciled(self.assignment_epoch)) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    fn describe(&self) -> DescribedConsumerGroup {
        let members = self.members.iter().map(|(id, member)| DescribedConsumer {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            rack_id: member.rack_id.clone(),
            epoch: member.epoch,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            topics: member.subscription.names.iter().cloned().collect(),
            topic_regex: member.subscription.pattern.as_ref().map(|pattern| pattern.text().to_owned()),
            assignment: member.assigned.keys().copied().collect(),
            target: member.target.clone(),
        });
        DescribedConsumerGroup {
            state: self.state(),
            epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor: self.assignor().name(),
            members: members.collect(),
        }
    }
}
