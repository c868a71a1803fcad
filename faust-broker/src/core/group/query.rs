//! Listing and describing groups.

use bytes::Bytes;

use crate::core::BrokerCore;
use crate::core::group::{GroupState, Member};

/// The description of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DescribedGroup {
    /// Group id.
    pub group_id: String,
    /// State of the group.
    pub state: GroupState,
    /// Protocol type, `consumer` for consumers; empty for a group that has never had members.
    pub protocol_type: String,
    /// The chosen assignor if the group is stable, otherwise empty.
    pub protocol: String,
    /// The members in the order in which they joined.
    pub members: Vec<DescribedMember>,
}

/// The description of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DescribedMember {
    /// Member id.
    pub member_id: String,
    /// Static name (`group.instance.id`), if any.
    pub instance_id: Option<String>,
    /// Client id (`client.id`).
    pub client_id: String,
    /// Host the client connects from.
    pub client_host: String,
    /// The member's metadata for the chosen assignor.
    pub metadata: Bytes,
    /// The assignment, encoded by the assignor.
    pub assignment: Bytes,
}

/// A group in a list of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupSummary<'a> {
    /// Group id.
    pub id: &'a str,
    /// Name of the group's protocol, as in Kafka: `classic` or `consumer`.
    pub kind: &'static str,
    /// Name of the state, as in Kafka.
    pub state: &'static str,
    /// Protocol type, `consumer` for consumers; empty for a group that has never had members.
    pub protocol_type: &'a str,
}

/// Descriptions of groups.
impl BrokerCore {
    /// Returns the ids of all groups, of either protocol.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.by_id.keys().map(String::as_str)
    }

    /// Returns true if there is a group with this id, of either protocol.
    pub fn has_group(&self, id: &str) -> bool {
        self.groups.by_id.contains_key(id)
    }

    /// Lists all groups, ordered by id.
    pub fn listed_groups(&self) -> impl Iterator<Item = GroupSummary<'_>> {
        self.groups.by_id.iter().map(|(id, group)| {
            let (kind, state) = match &group.consumer {
                Some(consumer) => ("consumer", consumer.state()),
                None => ("classic", group.state.name()),
            };
            GroupSummary { id, kind, state, protocol_type: &group.protocol_type }
        })
    }

    /// Describes a group of the classic protocol and its members. Returns `None` if the group does not exist, or has the
    /// consumer protocol.
    pub fn describe_group(&self, id: &str) -> Option<DescribedGroup> {
        let group = self.groups.by_id.get(id).filter(|group| group.consumer.is_none())?;
        let is_stable = group.state == GroupState::Stable;
        let protocol = if is_stable { group.protocol.clone().unwrap_or_default() } else { String::new() };
        let described = |member: &Member| DescribedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if is_stable { member.metadata(&protocol) } else { Bytes::new() },
            assignment: member.assignment.clone(),
        };
        Some(DescribedGroup {
            group_id: id.to_owned(),
            state: group.state,
            protocol_type: group.protocol_type.clone(),
            members: group.members.iter().map(described).collect(),
            protocol,
        })
    }
}
