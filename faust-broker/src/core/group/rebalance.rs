//! The phases of a rebalance and the removal of members that do not respond in time.

use bytes::Bytes;

use crate::core::ErrorCode;
use crate::core::group::{Group, GroupState, Member, Outbox};

impl Group {
    /// Starts a rebalance unless one is in progress, and completes it if all members have joined.
    pub(super) fn rebalance(&mut self, now_ms: i64, outbox: &mut Outbox) {
        if self.state != GroupState::PreparingRebalance {
            for member in &mut self.members {
                member.assignment = Bytes::new();
                outbox.sync(member.syncing.take(), Err(ErrorCode::RebalanceInProgress));
            }
            self.state = GroupState::PreparingRebalance;
            self.deadline_ms = Some(now_ms + self.longest_rebalance_timeout());
        }
        self.complete_if_all_joined(now_ms, outbox);
    }

    pub(super) fn complete_if_all_joined(&mut self, now_ms: i64, outbox: &mut Outbox) {
        let all_joined = self.members.iter().all(|member| member.joining.is_some()) && self.pending.is_empty();
        let has_waited = self.initial_until_ms.is_none_or(|until| now_ms >= until);
        if self.state == GroupState::PreparingRebalance && all_joined && (has_waited || self.members.is_empty()) {
            self.complete_join(now_ms, outbox);
        }
    }

    /// Completes the join phase. Members that have not joined are removed, except static members, which keep their
    /// place.
    fn complete_join(&mut self, now_ms: i64, outbox: &mut Outbox) {
        self.members.retain(|member| member.joining.is_some() || member.instance_id.is_some());
        self.initial_until_ms = None;
        let Some(first) = self.members.iter().find(|member| member.joining.is_some()) else {
            self.complete_without_joiners(now_ms);
            return;
        };
        let leads = |member: &Member| member.id == self.leader && member.joining.is_some();
        if !self.members.iter().any(leads) {
            self.leader = first.id.clone();
        }
        self.generation += 1;
        self.protocol = self.choose_protocol();
        self.state = GroupState::CompletingRebalance;
        self.deadline_ms = Some(now_ms + self.longest_rebalance_timeout());
        let joined: Vec<String> =
            self.members.iter().filter(|member| member.joining.is_some()).map(|member| member.id.clone()).collect();
        for id in joined {
            let reply = self.reply_to(&id, false);
            if let Some(member) = self.member_mut(&id) {
                member.touch(now_ms);
                outbox.join(member.joining.take(), Ok(reply));
            }
        }
    }

    fn complete_without_joiners(&mut self, now_ms: i64) {
        if self.members.is_empty() {
            self.generation += 1;
            self.state = GroupState::Empty;
            self.protocol = None;
            self.leader.clear();
            self.deadline_ms = None;
        } else {
            // Only static members are left and none of them has joined: wait until one joins or their sessions expire.
            self.deadline_ms = Some(now_ms + self.longest_rebalance_timeout());
        }
    }

    /// Chooses the assignor that most members prefer among those that all members support.
    pub(super) fn choose_protocol(&self) -> Option<String> {
        let is_shared = |name: &str| self.members.iter().all(|member| member.supports(name));
        let votes: Vec<&str> = self
            .members
            .iter()
            .filter_map(|member| member.protocols.iter().map(|(name, _)| name.as_str()).find(|name| is_shared(name)))
            .collect();
        let count = |name: &str| votes.iter().filter(|vote| **vote == name).count();
        // Reversed, because `max_by_key` returns the last maximum and the first one is needed.
        votes.iter().rev().max_by_key(|name| count(name)).map(|name| (*name).to_owned())
    }

    pub(super) fn remove_member(&mut self, id: &str, now_ms: i64, outbox: &mut Outbox) {
        let Some(at) = self.members.iter().position(|member| member.id == id) else {
            return;
        };
        let member = self.members.remove(at);
        outbox.join(member.joining, Err(ErrorCode::UnknownMemberId));
        outbox.sync(member.syncing, Err(ErrorCode::UnknownMemberId));
        self.rebalance(now_ms, outbox);
    }

    pub(super) fn tick(&mut self, now_ms: i64, outbox: &mut Outbox) {
        self.pending.retain(|_, lapses_ms| now_ms < *lapses_ms);
        self.complete_if_all_joined(now_ms, outbox);
        let silent = |member: &&Member| !member.is_alive(now_ms);
        let silent: Vec<String> = self.members.iter().filter(silent).map(|member| member.id.clone()).collect();
        for id in silent {
            self.remove_member(&id, now_ms, outbox);
        }
        if self.deadline_ms.is_none_or(|deadline| now_ms < deadline) {
            return;
        }
        match self.state {
            GroupState::PreparingRebalance => self.complete_join(now_ms, outbox),
            GroupState::CompletingRebalance => self.drop_unsynced(now_ms, outbox),
            GroupState::Stable | GroupState::Empty => self.deadline_ms = None,
        }
    }

    /// Removes members that have joined but not synced, because they block all the others.
    fn drop_unsynced(&mut self, now_ms: i64, outbox: &mut Outbox) {
        self.members.retain(|member| member.syncing.is_some());
        self.rebalance(now_ms, outbox);
    }

    fn longest_rebalance_timeout(&self) -> i64 {
        self.members.iter().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }
}
