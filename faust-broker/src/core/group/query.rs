//! Looking at groups from outside.

use bytes::Bytes;

use crate::core::Broker;
use crate::core::group::{GroupState, Member};

/// A group as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Its name.
    pub group_id: String,
    /// Where it stands.
    pub state: GroupState,
    /// `consumer` for consumers; empty for a group that never had members.
    pub protocol_type: String,
    /// The chosen assignor, while the group is stable.
    pub protocol: String,
    /// Its members, in order of joining.
    pub members: Vec<DescribedMember>,
}

/// A member as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: String,
    /// Its static name, if it has one.
    pub instance_id: Option<String>,
    /// How the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// What it tells the chosen assignor.
    pub metadata: Bytes,
    /// What it is to read, in the assignor's form.
    pub assignment: Bytes,
}

/// Groups seen from outside.
impl Broker {
    /// The names of all groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.by_id.keys().map(String::as_str)
    }

    /// One group, with its members.
    #[must_use]
    pub fn describe_group(&self, id: &str) -> Option<DescribedGroup> {
        let group = self.groups.by_id.get(id)?;
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
