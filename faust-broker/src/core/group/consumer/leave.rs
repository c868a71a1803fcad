//! Members that leave, are silent for too long, or do not give up partitions in time.

use crate::core::ErrorCode;
use crate::core::Refusal;
use crate::core::group::consumer::ConsumerGroup;
use crate::core::group::consumer::heartbeat::{ConsumerHeartbeat, ConsumerReply, unknown_member};
use crate::core::group::consumer::member::{Assigned, ConsumerMember, LEFT_FOR_A_WHILE, MemberPhase};

impl ConsumerGroup {
    /// Removes a member that leaves. A static member that leaves for a while keeps its partitions until its session expires.
    pub(super) fn leave(&mut self, group: &str, request: &ConsumerHeartbeat) -> Result<ConsumerReply, Refusal> {
        let id = &request.member_id;
        match &request.instance_id {
            Some(instance_id) => _ = self.check_static(group, id, instance_id)?,
            None if self.members.contains_key(id) => {}
            None => return Err(unknown_member(group, id)),
        }
        if request.epoch == LEFT_FOR_A_WHILE {
            self.change(id, |member, _| {
                (member.epoch, member.revoking, member.revoke_by_ms) = (LEFT_FOR_A_WHILE, Assigned::new(), None);
            });
        } else {
            self.fence(id);
        }
        Ok(ConsumerReply { member_id: id.clone(), epoch: request.epoch, interval_ms: 0, assignment: None })
    }

    /// Removes a member of which an administrator knows the instance id alone, or the member id.
    ///
    /// # Errors
    /// `UnknownMemberId`, `FencedInstanceId`.
    pub(in crate::core::group) fn remove(&mut self, id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        let id = match instance_id {
            Some(instance_id) if id.is_empty() => {
                self.instances.get(instance_id).cloned().ok_or(ErrorCode::UnknownMemberId)?
            }
            Some(instance_id) => {
                self.check_static("", id, instance_id).map_err(|refusal| refusal.code)?;
                id.to_owned()
            }
            None => id.to_owned(),
        };
        if !self.members.contains_key(&id) {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.fence(&id);
        Ok(())
    }

    /// Removes a member, so that the next heartbeat of another one distributes its partitions.
    fn fence(&mut self, id: &str) {
        if self.take(id).is_some() {
            self.raise_epoch();
        }
    }

    /// Takes a member out of the group, and its partitions from those that some member has.
    pub(super) fn take(&mut self, id: &str) -> Option<ConsumerMember> {
        let member = self.members.remove(id)?;
        member.held().for_each(|at| _ = self.held.remove(&at));
        member.instance_id.iter().for_each(|instance_id| drop(self.instances.remove(instance_id)));
        self.unnoted.member(id);
        Some(member)
    }

    /// Removes the members whose session has expired, or that have not given up partitions in time. After a restart of the
    /// broker, both times begin anew.
    pub(in crate::core::group) fn tick(&mut self, now_ms: i64, session_ms: i32) {
        let mut late = Vec::new();
        for (id, member) in &mut self.members {
            let ends_ms = *member.session_ends_ms.get_or_insert(now_ms.saturating_add(i64::from(session_ms)));
            if member.phase == MemberPhase::Revoking
                && member.epoch != LEFT_FOR_A_WHILE
                && member.revoke_by_ms.is_none()
            {
                member.time_revocation(now_ms);
            }
            if now_ms >= ends_ms || member.revoke_by_ms.is_some_and(|by| now_ms >= by) {
                late.push(id.clone());
            }
        }
        late.iter().for_each(|id| self.fence(id));
    }
}

impl ConsumerMember {
    /// Sets the time by which the member must have given up partitions, if it has to give up any.
    pub(super) fn time_revocation(&mut self, now_ms: i64) {
        let is_due = self.phase == MemberPhase::Revoking;
        self.revoke_by_ms = is_due.then(|| now_ms.saturating_add(i64::from(self.rebalance_timeout_ms.max(0))));
    }
}
