//! Expiry of committed offsets and of the groups that have none, as in KIP-211.
//!
//! Offsets expire while they are not in use: those of a group without members once `offsets.retention.minutes` have passed
//! since its last member left, those of a client that was never a member once they have passed since the commit, and
//! those of a topic that no member is subscribed to any more likewise.

use crate::core::BrokerCore;
use crate::core::change::{Change, Committed};
use crate::core::group::offsets::CONSUMER;
use crate::core::group::{ConsumerGroup, Group, GroupState, Groups};

/// Expiry of committed offsets.
impl BrokerCore {
    /// Sets the wall clock. Group operations have a clock of their own, which a change of the system's time does not
    /// affect; without this call, both are the same.
    pub(crate) fn set_wall_clock(&mut self, now_ms: i64, wall_ms: i64) {
        self.groups.wall_lead_ms = wall_ms - now_ms;
    }

    /// Deletes committed offsets that have expired, then groups that have neither members nor committed offsets.
    pub(crate) fn expire_offsets(&mut self, wall_ms: i64) {
        let retention_ms = self.groups.config.offsets_retention_ms;
        let expired: Vec<Change> = self
            .groups
            .by_id
            .iter()
            .flat_map(|(id, group)| {
                group.expired(wall_ms, retention_ms).map(|(topic, partition)| deletion(id, topic, partition))
            })
            .collect();
        self.note_and_apply(expired);
        let blank = self.groups.by_id.iter().filter(|(_, group)| group.is_blank());
        let blank = blank.map(|(id, _)| Change::GroupDeleted { group: id.clone() }).collect();
        self.note_and_apply(blank);
    }

    fn note_and_apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            // If it cannot be written, which is logged once, the next check tries again.
            if self.note(&change).is_err() {
                return;
            }
            self.groups.apply(change);
        }
    }

    /// Records which groups have got their first member or lost their last one, so that the time since then is known
    /// after a restart, and what consumer groups have not recorded yet.
    pub(crate) fn note_groups(&mut self, now_ms: i64) {
        let unnoted = self.groups.by_id.iter().filter(|(_, group)| !group.is_noted());
        let unnoted: Vec<String> = unnoted.map(|(id, _)| id.clone()).collect();
        unnoted.iter().for_each(|id| self.note_group(id, now_ms));
    }

    /// Records the changes of a group, except its offsets.
    pub(super) fn note_group(&mut self, id: &str, now_ms: i64) {
        let wall_ms = self.groups.wall_ms(now_ms);
        let Some(group) = self.groups.by_id.get_mut(id) else { return };
        // If this entry is lost, the offsets' own times decide.
        let mut changes = Vec::from_iter(group.take_transition(id, wall_ms));
        match &group.consumer {
            Some(consumer) => changes.extend(consumer.unnoted(id)),
            None if group.noted_consumer => changes.push(Change::ConsumerGroupEnded { group: id.to_owned() }),
            None => {}
        }
        for change in &changes {
            // The error has been logged, and the next tick tries again.
            if self.note(change).is_err() {
                return;
            }
        }
        if let Some(group) = self.groups.by_id.get_mut(id) {
            group.noted_consumer = group.consumer.is_some();
            group.consumer.iter_mut().for_each(ConsumerGroup::set_noted);
        }
    }
}

fn deletion(group: &str, topic: &str, partition: i32) -> Change {
    Change::OffsetDeleted { group: group.to_owned(), topic: topic.to_owned(), partition }
}

impl Groups {
    /// Returns the time of the wall clock at a time of group operations.
    pub(in crate::core) fn wall_ms(&self, now_ms: i64) -> i64 {
        now_ms + self.wall_lead_ms
    }
}

impl Group {
    /// Returns the partitions whose committed offsets have expired.
    fn expired(&self, wall_ms: i64, retention_ms: i64) -> impl Iterator<Item = (&str, i32)> {
        let has_expired = move |committed: &Committed| {
            let unused_since = match self.state {
                _ if self.protocol_type.is_empty() => committed.committed_ms,
                _ if self.consumer.as_ref().is_some_and(|consumer| !consumer.is_empty()) => committed.committed_ms,
                // Offsets that were committed since are as old as their commit: the time may be that of an earlier end, if the
                // entry of a later one was lost.
                GroupState::Empty => self.emptied_ms?.max(committed.committed_ms),
                GroupState::Stable if self.protocol_type == CONSUMER => committed.committed_ms,
                _ => return None,
            };
            let ends_ms = committed.expires_ms.unwrap_or_else(|| unused_since.saturating_add(retention_ms));
            Some(wall_ms >= ends_ms)
        };
        self.offsets
            .iter()
            .filter(move |(_, committed)| has_expired(committed).unwrap_or(false))
            .map(|((topic, partition), _)| (topic.as_str(), *partition))
            .filter(|(topic, _)| !self.reads(topic))
    }

    fn is_noted(&self) -> bool {
        let knows_members = self.protocol_type.is_empty() || self.noted_empty == Some(!self.has_members());
        let knows_protocol = self.noted_consumer == self.consumer.is_some();
        knows_members && knows_protocol && self.consumer.as_ref().is_none_or(ConsumerGroup::is_noted)
    }

    /// Returns the change to record if the group has got its first member or lost its last one since the last call.
    fn take_transition(&mut self, id: &str, wall_ms: i64) -> Option<Change> {
        if self.protocol_type.is_empty() {
            return None;
        }
        let is_empty = !self.has_members();
        self.emptied_ms = is_empty.then(|| self.emptied_ms.unwrap_or(wall_ms));
        let is_new = self.noted_empty != Some(is_empty);
        self.noted_empty = Some(is_empty);
        is_new.then(|| self.as_change(id))
    }

    pub(super) fn as_change(&self, id: &str) -> Change {
        Change::GroupNoted {
            group: id.to_owned(),
            protocol_type: self.protocol_type.clone(),
            emptied_ms: self.emptied_ms,
        }
    }
}

#[cfg(test)]
mod tests;
