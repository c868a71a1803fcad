//! Joining a group: new members, members that come back, and static ones that take over their own place.

use bytes::Bytes;

use crate::core::ErrorCode;
use crate::core::group::{Group, GroupState, Member, Outbox, Protocol, Token};

/// What a member says when it joins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinRequest {
    /// Empty the first time.
    pub member_id: String,
    /// A name that outlives restarts (`group.instance.id`): its owner may come back without a rebalance.
    pub instance_id: Option<String>,
    /// How the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// After so many milliseconds without a heartbeat the member is gone.
    pub session_timeout_ms: i32,
    /// How many milliseconds the member may take to join again in a rebalance.
    pub rebalance_timeout_ms: i32,
    /// `consumer` for consumers.
    pub protocol_type: String,
    /// Assignors in order of preference, with what the member tells each (a consumer: its topics).
    pub protocols: Vec<Protocol>,
    /// Whether to refuse a first join with `MemberIdRequired`, so that a lost answer leaves no member behind.
    pub needs_member_id: bool,
    /// Whether the member understands [`JoinReply::skip_assignment`].
    pub can_skip_assignment: bool,
}

impl JoinRequest {
    pub(crate) fn id_prefix(&self) -> &str {
        self.instance_id.as_deref().unwrap_or(&self.client_id)
    }
}

/// What a member is told when everybody has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinReply {
    /// The member's own id.
    pub member_id: String,
    /// Counts the rebalances of the group.
    pub generation: i32,
    /// As in the request.
    pub protocol_type: String,
    /// The chosen assignor.
    pub protocol: String,
    /// The member that makes the assignment.
    pub leader: String,
    /// For a static leader that came back: the assignment holds, make no new one.
    pub skip_assignment: bool,
    /// All members if this one is the leader, else nothing.
    pub members: Vec<JoinedMember>,
}

/// A member as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Its static name, if it has one.
    pub instance_id: Option<String>,
    /// What it told the chosen assignor.
    pub metadata: Bytes,
}

/// Why a join was refused at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRefusal {
    /// The reason.
    pub code: ErrorCode,
    /// With `MemberIdRequired`, the id to join with; else empty.
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
        // The answer to an older join of the same member is not wanted any more.
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

    /// The owner of an instance id is back, with a new member id; whoever still uses the old one is fenced off.
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
                // An older client that is told somebody else leads makes no assignment of its own.
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
