//! Joining a group: new members, rejoining members, and static members that return with a new member id.

use bytes::Bytes;

use crate::core::ErrorCode;
use crate::core::group::{Group, GroupState, Member, Outbox, Protocol, Token};

/// A request to join a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinRequest {
    /// Member id, empty for the first join.
    pub member_id: String,
    /// Static name of the member (`group.instance.id`), with which it can restart without a rebalance.
    pub instance_id: Option<String>,
    /// Client id (`client.id`).
    pub client_id: String,
    /// Host the client connects from.
    pub client_host: String,
    /// Session timeout: a member without a heartbeat for this many milliseconds is removed.
    pub session_timeout_ms: i32,
    /// Rebalance timeout: time in milliseconds that the member has to rejoin in a rebalance.
    pub rebalance_timeout_ms: i32,
    /// Protocol type, `consumer` for consumers.
    pub protocol_type: String,
    /// Supported assignors in order of preference, each with the member's metadata (for a consumer: its topics).
    pub protocols: Vec<Protocol>,
    /// True to reject a first join with `MemberIdRequired`, so that a lost response does not leave an unused member.
    pub needs_member_id: bool,
    /// True if the member supports [`JoinReply::skip_assignment`].
    pub can_skip_assignment: bool,
}

impl JoinRequest {
    pub(crate) fn id_prefix(&self) -> &str {
        self.instance_id.as_deref().unwrap_or(&self.client_id)
    }
}

/// The response to a join.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JoinReply {
    /// The id of this member.
    pub member_id: String,
    /// Generation of the group, which increases with each rebalance.
    pub generation: i32,
    /// The protocol type of the group.
    pub protocol_type: String,
    /// The chosen assignor.
    pub protocol: String,
    /// The id of the leader, which computes the assignment.
    pub leader: String,
    /// True for a static leader that has returned: the assignment remains valid, and the leader must not compute a new
    /// one.
    pub skip_assignment: bool,
    /// All members if this member is the leader, otherwise empty.
    pub members: Vec<JoinedMember>,
}

/// A member as described to the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JoinedMember {
    /// Member id.
    pub member_id: String,
    /// Static name (`group.instance.id`), if any.
    pub instance_id: Option<String>,
    /// The member's metadata for the chosen assignor.
    pub metadata: Bytes,
}

/// The error of a rejected join.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JoinRefusal {
    /// The error code.
    pub code: ErrorCode,
    /// The member id to join with if the error is `MemberIdRequired`, otherwise empty.
    pub member_id: String,
}

impl From<ErrorCode> for JoinRefusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, member_id: String::new() }
    }
}

impl Group {
    pub(super) fn join(
        &mut self,
        request: JoinRequest,
        fresh_id: String,
        now_ms: i64,
        initial_delay_ms: i64,
        outbox: &mut Outbox,
    ) -> Result<Token, JoinRefusal> {
        if !self.accepts(&request) {
            return Err(ErrorCode::InconsistentGroupProtocol.into());
        }
        if !request.member_id.is_empty() {
            return self.join_known(request, now_ms, initial_delay_ms, outbox).map_err(Into::into);
        }
        let held = request.instance_id.as_deref().and_then(|instance| self.static_member(instance));
        if let Some(old_id) = held.map(|member| member.id.clone()) {
            return Ok(self.replace_static(&old_id, fresh_id, request, now_ms, outbox));
        }
        if request.needs_member_id && request.instance_id.is_none() {
            self.pending.insert(fresh_id.clone(), now_ms + i64::from(request.session_timeout_ms));
            return Err(JoinRefusal { code: ErrorCode::MemberIdRequired, member_id: fresh_id });
        }
        Ok(self.add(fresh_id, request, now_ms, initial_delay_ms, outbox))
    }

    fn accepts(&self, request: &JoinRequest) -> bool {
        let others = || self.members.iter().filter(|member| member.id != request.member_id);
        let shared = |(name, _): &Protocol| others().all(|member| member.supports(name));
        let same_type = self.members.is_empty() || self.protocol_type == request.protocol_type;
        !request.protocol_type.is_empty() && same_type && request.protocols.iter().any(shared)
    }

    fn join_known(
        &mut self,
        request: JoinRequest,
        now_ms: i64,
        initial_delay_ms: i64,
        outbox: &mut Outbox,
    ) -> Result<Token, ErrorCode> {
        let id = request.member_id.clone();
        if self.pending.remove(&id).is_some() {
            return Ok(self.add(id, request, now_ms, initial_delay_ms, outbox));
        }
        self.check_member(&id, request.instance_id.as_deref())?;
        let is_leader = self.leader == id;
        let member = self.member_mut(&id).ok_or(ErrorCode::UnknownMemberId)?;
        let is_same = member.protocols == request.protocols;
        member.update(request);
        let token = outbox.token();
        // A new join cancels the pending join of the same member.
        let older = member.joining.take();
        outbox.join(older, Err(ErrorCode::RebalanceInProgress));
        let holds = match self.state {
            GroupState::CompletingRebalance => is_same,
            GroupState::Stable => is_same && !is_leader,
            GroupState::PreparingRebalance | GroupState::Empty => false,
        };
        if holds {
            let reply = self.reply_to(&id, false);
            outbox.join(Some(token), Ok(reply));
            return Ok(token);
        }
        if let Some(member) = self.member_mut(&id) {
            member.joining = Some(token);
        }
        self.rebalance(now_ms, outbox);
        Ok(token)
    }

    fn add(
        &mut self,
        id: String,
        request: JoinRequest,
        now_ms: i64,
        initial_delay_ms: i64,
        outbox: &mut Outbox,
    ) -> Token {
        let token = outbox.token();
        self.protocol_type.clone_from(&request.protocol_type);
        let mut member = Member::new(id, request, now_ms);
        member.joining = Some(token);
        self.members.push(member);
        if self.state == GroupState::Empty && initial_delay_ms > 0 {
            self.initial_until_ms = Some(now_ms + initial_delay_ms);
        }
        self.rebalance(now_ms, outbox);
        token
    }

    /// Replaces the member id of a static member that has returned. A client that still uses the old id is fenced.
    fn replace_static(
        &mut self,
        old_id: &str,
        id: String,
        request: JoinRequest,
        now_ms: i64,
        outbox: &mut Outbox,
    ) -> Token {
        let token = outbox.token();
        let can_skip = request.can_skip_assignment;
        if let Some(member) = self.member_mut(old_id) {
            outbox.join(member.joining.take(), Err(ErrorCode::FencedInstanceId));
            outbox.sync(member.syncing.take(), Err(ErrorCode::FencedInstanceId));
            member.id.clone_from(&id);
            member.update(request);
            member.touch(now_ms);
        }
        let was_leader = self.leader == old_id;
        if was_leader {
            self.leader.clone_from(&id);
        }
        if self.state == GroupState::Stable && self.choose_protocol() == self.protocol {
            let mut reply = self.reply_to(&id, was_leader && can_skip);
            if was_leader && !can_skip {
                // Older clients do not support `skip_assignment`. With another leader in the response, such a client
                // does not compute an assignment.
                reply.leader = old_id.to_owned();
                reply.members.clear();
            }
            outbox.join(Some(token), Ok(reply));
            return token;
        }
        if let Some(member) = self.member_mut(&id) {
            member.joining = Some(token);
        }
        self.rebalance(now_ms, outbox);
        token
    }

    pub(super) fn reply_to(&self, id: &str, skip_assignment: bool) -> JoinReply {
        let protocol = self.protocol.clone().unwrap_or_default();
        let joined = |member: &Member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(&protocol),
        };
        let is_leader = self.leader == id;
        let members = if is_leader { self.members.iter().map(joined).collect() } else { Vec::new() };
        JoinReply {
            member_id: id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            leader: self.leader.clone(),
            skip_assignment,
            members,
            protocol,
        }
    }
}
