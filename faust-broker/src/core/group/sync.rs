//! Requests of joined members: sync, heartbeat and leave.

use bytes::Bytes;

use crate::core::ErrorCode;
use crate::core::group::{Group, GroupState, Outbox, Token};

/// The identity that a member states in a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberRef {
    /// Member id from the [`JoinReply`](crate::core::JoinReply).
    pub member_id: String,
    /// Static name (`group.instance.id`), if any.
    pub instance_id: Option<String>,
    /// Generation from the [`JoinReply`](crate::core::JoinReply), or epoch of the member of a consumer group; -1 for a client that is not a member.
    pub generation: i32,
    /// True if the client knows the errors of member epochs (`OffsetCommit` since version 9).
    pub knows_member_epochs: bool,
}

/// A request for a member's assignment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncRequest {
    /// The requesting member.
    pub member: MemberRef,
    /// The protocol type that the member expects, if stated.
    pub protocol_type: Option<String>,
    /// The chosen assignor that the member expects, if stated.
    pub protocol: Option<String>,
    /// Member ids and their assignments if the member is the leader, otherwise empty.
    pub assignments: Vec<(String, Bytes)>,
}

/// The response to a sync: a member's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncReply {
    /// The group's protocol type.
    pub protocol_type: String,
    /// The chosen assignor.
    pub protocol: String,
    /// The assignment, encoded by the assignor.
    pub assignment: Bytes,
}

impl Group {
    pub(super) fn sync(&mut self, request: SyncRequest, now_ms: i64, outbox: &mut Outbox) -> Result<Token, ErrorCode> {
        let SyncRequest { member, protocol_type, protocol, assignments } = request;
        self.check_generation(&member)?;
        let differs = protocol_type.is_some_and(|of_member| of_member != self.protocol_type)
            || protocol.is_some_and(|of_member| Some(of_member) != self.protocol);
        if differs {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if self.state == GroupState::PreparingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        let token = outbox.token();
        if let Some(asking) = self.member_mut(&member.member_id) {
            asking.touch(now_ms);
            outbox.sync(asking.syncing.replace(token), Err(ErrorCode::RebalanceInProgress));
        }
        if self.state == GroupState::CompletingRebalance && self.leader == member.member_id {
            for (id, assignment) in assignments {
                if let Some(member) = self.member_mut(&id) {
                    member.assignment = assignment;
                }
            }
            self.state = GroupState::Stable;
            self.deadline_ms = None;
        }
        if self.state == GroupState::Stable {
            self.answer_syncs(now_ms, outbox);
        }
        Ok(token)
    }

    fn answer_syncs(&mut self, now_ms: i64, outbox: &mut Outbox) {
        let (protocol_type, protocol) = (&self.protocol_type, self.protocol.as_deref().unwrap_or_default());
        for member in self.members.iter_mut().filter(|member| member.syncing.is_some()) {
            member.touch(now_ms);
            let reply = SyncReply {
                protocol_type: protocol_type.clone(),
                protocol: protocol.to_owned(),
                assignment: member.assignment.clone(),
            };
            outbox.sync(member.syncing.take(), Ok(reply));
        }
    }

    pub(super) fn heartbeat(&mut self, member: &MemberRef, now_ms: i64) -> Result<(), ErrorCode> {
        self.check_generation(member)?;
        if let Some(member) = self.member_mut(&member.member_id) {
            member.touch(now_ms);
        }
        match self.state {
            GroupState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    pub(super) fn leave(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        now_ms: i64,
        outbox: &mut Outbox,
    ) -> Result<(), ErrorCode> {
        if self.pending.remove(member_id).is_some() {
            self.complete_if_all_joined(now_ms, outbox);
            return Ok(());
        }
        // An administrator removes a static member by its instance id alone.
        let by_instance =
            instance_id.filter(|_| member_id.is_empty()).and_then(|instance| self.static_member(instance));
        let id = match by_instance {
            Some(member) => member.id.clone(),
            None => {
                self.check_member(member_id, instance_id)?;
                member_id.to_owned()
            }
        };
        self.remove_member(&id, now_ms, outbox);
        Ok(())
    }

    /// Checks that `id` is a member of the group and, with an instance id, still its owner.
    pub(super) fn check_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            let owner = self.static_member(instance_id).ok_or(ErrorCode::UnknownMemberId)?;
            return if owner.id == id { Ok(()) } else { Err(ErrorCode::FencedInstanceId) };
        }
        self.member(id).map(|_| ()).ok_or(ErrorCode::UnknownMemberId)
    }

    pub(super) fn check_generation(&self, member: &MemberRef) -> Result<(), ErrorCode> {
        self.check_member(&member.member_id, member.instance_id.as_deref())?;
        if member.generation == self.generation { Ok(()) } else { Err(ErrorCode::IllegalGeneration) }
    }
}
