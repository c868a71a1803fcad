//! `JoinGroup`, `SyncGroup`, `Heartbeat`, `LeaveGroup`: group membership.

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::core::{
    Completed, ErrorCode, JoinRefusal, JoinReply, JoinRequest, JoinedMember, MemberRef, SyncReply, SyncRequest,
};
use crate::listener::api::{code, text};
use crate::listener::router::Call;

pub(crate) async fn join(call: &Call, request: JoinGroupRequest) -> JoinGroupResponse {
    let group = request.group_id.to_string();
    let member_id = request.member_id.clone();
    let join = join_request(call, request);
    let waiting = call.shared.wait_for_group(|broker, now_ms| broker.join_group(&group, join, now_ms));
    match waiting {
        Err(refusal) => refused_join(call.version, refusal),
        Ok(answer) => match answer.await {
            Ok(Completed::Join(Ok(reply))) => joined(call.version, reply),
            Ok(Completed::Join(Err(code))) => {
                refused_join(call.version, JoinRefusal { code, member_id: member_id.to_string() })
            }
            // The response was replaced by another one: the member has rejoined meanwhile.
            Ok(Completed::Sync(_)) | Err(_) => refused_join(call.version, ErrorCode::RebalanceInProgress.into()),
        },
    }
}

fn join_request(call: &Call, request: JoinGroupRequest) -> JoinRequest {
    // Version 0 has no rebalance timeout.
    let rebalance_timeout_ms =
        if call.version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
    JoinRequest {
        member_id: request.member_id.to_string(),
        instance_id: owned(request.group_instance_id),
        client_id: call.client_id.clone(),
        client_host: format!("/{}", call.link.peer.ip()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: request.protocol_type.to_string(),
        protocols: request
            .protocols
            .into_iter()
            .map(|protocol| (protocol.name.to_string(), detached(&protocol.metadata)))
            .collect(),
        needs_member_id: call.version >= 4,
        can_skip_assignment: call.version >= 9,
    }
}

fn joined(version: i16, reply: JoinReply) -> JoinGroupResponse {
    let member = |member: JoinedMember| {
        JoinGroupResponseMember::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(member.instance_id.filter(|_| version >= 5).map(text))
            .with_metadata(member.metadata)
    };
    JoinGroupResponse::default()
        .with_generation_id(reply.generation)
        .with_protocol_type((version >= 7).then(|| text(reply.protocol_type)))
        .with_protocol_name(Some(text(reply.protocol)))
        .with_leader(text(reply.leader))
        .with_skip_assignment(version >= 9 && reply.skip_assignment)
        .with_member_id(text(reply.member_id))
        .with_members(reply.members.into_iter().map(member).collect())
}

fn refused_join(version: i16, refusal: JoinRefusal) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(refusal.code.code())
        .with_generation_id(-1)
        // Before version 7, the name cannot be null.
        .with_protocol_name((version < 7).then(StrBytes::new))
        .with_member_id(text(refusal.member_id))
}

pub(crate) async fn sync(call: &Call, request: SyncGroupRequest) -> SyncGroupResponse {
    let group = request.group_id.to_string();
    let sync = sync_request(request);
    let waiting = call.shared.wait_for_group(|broker, now_ms| broker.sync_group(&group, sync, now_ms));
    let outcome = match waiting {
        Err(code) => Err(code),
        Ok(answer) => match answer.await {
            Ok(Completed::Sync(outcome)) => outcome,
            Ok(Completed::Join(_)) | Err(_) => Err(ErrorCode::RebalanceInProgress),
        },
    };
    match outcome {
        Ok(reply) => synced(call.version, reply),
        Err(code) => SyncGroupResponse::default().with_error_code(code.code()),
    }
}

fn sync_request(request: SyncGroupRequest) -> SyncRequest {
    let assignments = request.assignments.into_iter();
    SyncRequest {
        member: member_ref(&request.member_id, request.group_instance_id, request.generation_id),
        protocol_type: owned(request.protocol_type),
        protocol: owned(request.protocol_name),
        assignments: assignments.map(|to| (to.member_id.to_string(), detached(&to.assignment))).collect(),
    }
}

fn synced(version: i16, reply: SyncReply) -> SyncGroupResponse {
    SyncGroupResponse::default()
        .with_protocol_type((version >= 5).then(|| text(reply.protocol_type)))
        .with_protocol_name((version >= 5).then(|| text(reply.protocol)))
        .with_assignment(reply.assignment)
}

pub(crate) fn heartbeat(call: &Call, request: HeartbeatRequest) -> HeartbeatResponse {
    let member = member_ref(&request.member_id, request.group_instance_id, request.generation_id);
    let outcome = call.shared.with_groups(|broker, now_ms| broker.heartbeat(&request.group_id, &member, now_ms));
    HeartbeatResponse::default().with_error_code(code(outcome))
}

pub(crate) fn leave(call: &Call, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let leave = |member_id: &str, instance_id: Option<&str>| {
        call.shared.with_groups(|broker, now_ms| broker.leave_group(&request.group_id, member_id, instance_id, now_ms))
    };
    if call.version < 3 {
        return LeaveGroupResponse::default().with_error_code(code(leave(&request.member_id, None)));
    }
    let members = request.members.into_iter().map(|member: MemberIdentity| {
        let outcome = leave(&member.member_id, member.group_instance_id.as_deref());
        MemberResponse::default()
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
            .with_error_code(code(outcome))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}

pub(crate) fn member_ref(member_id: &StrBytes, instance_id: Option<StrBytes>, generation: i32) -> MemberRef {
    let member_id = member_id.to_string();
    MemberRef { member_id, instance_id: owned(instance_id), generation, knows_member_epochs: false }
}

pub(super) fn owned(text: Option<StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}

/// Copies the bytes, because a slice would keep the whole request in memory as long as the member.
fn detached(bytes: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(bytes)
}
