//! `ListGroups`, `DescribeGroups`, `DeleteGroups`: group administration.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::core::{self, DescribedMember, ErrorCode};
use crate::listener::api::{Operations, code, text};
use crate::listener::router::Call;

const CLASSIC: &str = "classic";

pub(crate) fn list(call: &Call, request: ListGroupsRequest) -> ListGroupsResponse {
    let state = call.shared.lock();
    let passes = |filter: &[StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let groups = state
        .broker
        .groups()
        .filter_map(|id| state.broker.describe_group(id))
        .filter(|group| passes(&request.states_filter, group.state.name()) && passes(&request.types_filter, CLASSIC))
        .map(|group| listed(call.version, group));
    ListGroupsResponse::default().with_groups(groups.collect())
}

fn listed(version: i16, group: core::DescribedGroup) -> ListedGroup {
    let listed = ListedGroup::default()
        .with_group_id(GroupId(text(group.group_id)))
        .with_protocol_type(text(group.protocol_type));
    let listed = if version >= 4 { listed.with_group_state(text(group.state.name())) } else { listed };
    if version >= 5 { listed.with_group_type(text(CLASSIC)) } else { listed }
}

pub(crate) fn describe(call: &Call, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let state = call.shared.lock();
    let groups = request.groups.into_iter().map(|id| match state.broker.describe_group(&id) {
        Some(group) => {
            let operations = Operations::Group.if_wanted(request.include_authorized_operations);
            described(call.version, id, group).with_authorized_operations(operations)
        }
        None => unknown(call.version, id),
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn described(version: i16, id: GroupId, group: core::DescribedGroup) -> DescribedGroup {
    let member = |member: DescribedMember| {
        DescribedGroupMember::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(member.instance_id.filter(|_| version >= 4).map(text))
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    };
    DescribedGroup::default()
        .with_group_id(id)
        .with_group_state(text(group.state.name()))
        .with_protocol_type(text(group.protocol_type))
        .with_protocol_data(text(group.protocol))
        .with_members(group.members.into_iter().map(member).collect())
}

/// Describes a group that does not exist: as an error since version 6, in the state `Dead` before.
fn unknown(version: i16, id: GroupId) -> DescribedGroup {
    let group = DescribedGroup::default()
        .with_group_id(id)
        .with_group_state(text("Dead"))
        .with_authorized_operations(Operations::Group.if_wanted(false));
    if version < 6 {
        return group;
    }
    let code = ErrorCode::GroupIdNotFound;
    group.with_error_code(code.code()).with_error_message(Some(text(code.to_string())))
}

pub(crate) fn delete(call: &Call, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let now_ms = call.shared.steady_ms();
    let mut state = call.shared.lock();
    let results = request.groups_names.into_iter().map(|id| {
        let deleted = state.broker.delete_group(&id, now_ms);
        DeletableGroupResult::default().with_group_id(id).with_error_code(code(deleted))
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}
