//! `ListGroups`, `DescribeGroups`, `DeleteGroups`: group administration.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::core::{self, DescribedMember, ErrorCode, GroupSummary};
use crate::listener::api::{Operations, code, text};
use crate::listener::router::Call;

pub(crate) fn list(call: &Call, request: ListGroupsRequest) -> ListGroupsResponse {
    let state = call.shared.lock();
    let passes = |filter: &[StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let groups = state
        .broker
        .listed_groups()
        .filter(|group| passes(&request.states_filter, group.state) && passes(&request.types_filter, group.kind))
        .map(|group| listed(call.version, &group));
    ListGroupsResponse::default().with_groups(groups.collect())
}

fn listed(version: i16, group: &GroupSummary<'_>) -> ListedGroup {
    let listed =
        ListedGroup::default().with_group_id(GroupId(text(group.id))).with_protocol_type(text(group.protocol_type));
    let listed = if version >= 4 { listed.with_group_state(text(group.state)) } else { listed };
    if version >= 5 { listed.with_group_type(text(group.kind)) } else { listed }
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

/// Describes a group that does not exist, or has another protocol: as an error since version 6, in the state `Dead` before.
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
    // Members that wait for one whose session has expired are answered.
    let results = call.shared.with_groups(|broker, now_ms| {
        let results = request.groups_names.into_iter().map(|id| {
            let deleted = broker.delete_group(&id, now_ms);
            DeletableGroupResult::default().with_group_id(id).with_error_code(code(deleted))
        });
        results.collect()
    });
    DeleteGroupsResponse::default().with_results(results)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::sync::oneshot;

    use super::*;
    use crate::config::Storage;
    use crate::core::{BrokerCore, Completed, CoreConfig, GroupState, JoinRequest};
    use crate::listener::{Endpoint, Link, LogDir, Shared};

    fn call() -> Call {
        let config = CoreConfig::default().with_config("group.min.session.timeout.ms", "1").unwrap();
        let endpoint = Endpoint::new(([127, 0, 0, 1], 9092).into(), None);
        let shared = Shared::new(BrokerCore::new(config), endpoint, LogDir::of(&Storage::Memory));
        let link = Link { peer: ([127, 0, 0, 1], 1).into(), local: ([127, 0, 0, 1], 9092).into() };
        Call { shared: Arc::new(shared), link, client_id: String::new(), version: 0 }
    }

    fn join(call: &Call, session_timeout_ms: i32) -> oneshot::Receiver<Completed> {
        let request = JoinRequest {
            session_timeout_ms,
            rebalance_timeout_ms: i32::MAX,
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::new())],
            ..JoinRequest::default()
        };
        call.shared.wait_for_group(|broker, now_ms| broker.join_group("g", request, now_ms)).unwrap()
    }

    #[test]
    fn a_member_that_waits_for_an_expired_one_is_answered_by_a_deletion() {
        let call = call();
        join(&call, 1).try_recv().unwrap();
        let mut second = join(&call, 60_000);
        second.try_recv().unwrap_err();
        let waits = || call.shared.lock().broker.describe_group("g").unwrap().state == GroupState::PreparingRebalance;
        let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text("g"))]);
        while waits() {
            let response = delete(&call, request.clone());
            assert_eq!(response.results[0].error_code, ErrorCode::NonEmptyGroup.code());
        }
        assert!(matches!(second.try_recv(), Ok(Completed::Join(Ok(_)))));
    }
}
