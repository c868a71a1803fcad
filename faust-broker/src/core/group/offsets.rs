//! Committed offsets, stored per group and partition, also for groups without members.

use std::collections::BTreeSet;

use crate::core::change::{Change, Committed};
use crate::core::group::{Group, GroupState, MemberRef};
use crate::core::{BrokerCore, ErrorCode, note};

/// Protocol type of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// One offset to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OffsetToCommit {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch reported by the client, or -1.
    pub leader_epoch: i32,
    /// Metadata set by the client, at most `offset.metadata.max.bytes` of the broker.
    pub metadata: String,
    /// Time in milliseconds after which the offset expires, instead of the broker's `offsets.retention.minutes`. Only
    /// older clients set it.
    pub retention_ms: Option<i64>,
}

impl OffsetToCommit {
    /// Creates an offset without metadata.
    pub fn new(topic: impl Into<String>, partition: i32, offset: i64) -> Self {
        let (topic, metadata) = (topic.into(), String::new());
        Self { topic, partition, offset, leader_epoch: -1, metadata, retention_ms: None }
    }
}

/// A committed offset with its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The committed offset and its metadata.
    pub committed: Committed,
}

/// Committed offsets of groups.
impl BrokerCore {
    /// Commits offsets independently of each other. The results are in the order of `offsets`.
    ///
    /// A client that is not a member (generation -1, no member id) may commit for a group without members.
    ///
    /// # Errors
    /// For all offsets: `UnknownMemberId`, `IllegalGeneration`, `FencedInstanceId`, `RebalanceInProgress`,
    /// `InvalidGroupId`; of consumer groups `StaleMemberEpoch`, `UnsupportedVersion` and `GroupIdNotFound`. For a single offset: `UnknownTopicOrPartition`, `OffsetMetadataTooLarge`, `StorageError`.
    pub fn commit_offsets(
        &mut self,
        group: &str,
        member: &MemberRef,
        offsets: Vec<OffsetToCommit>,
        now_ms: i64,
    ) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
        if self.check_committer(group, member, now_ms)? {
            self.check_late_commits(group, member, &offsets)?;
        }
        Ok(offsets.into_iter().map(|offset| self.commit_offset(group, offset, now_ms)).collect())
    }

    /// Checks that a client may commit offsets for a group. Returns true if each partition must be checked as well, since the
    /// epoch of the member is an older one.
    pub(in crate::core) fn check_committer(
        &mut self,
        group: &str,
        member: &MemberRef,
        now_ms: i64,
    ) -> Result<bool, ErrorCode> {
        if group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        match self.groups.by_id.get_mut(group) {
            Some(group) => group.check_commit(member, now_ms),
            None if member.generation < 0 => Ok(false),
            None if member.knows_member_epochs => Err(ErrorCode::GroupIdNotFound),
            None => Err(ErrorCode::IllegalGeneration),
        }
    }

    /// Checks that a client may commit offsets for a group in a transaction, to which the group has been added.
    pub(in crate::core) fn check_transactional_committer(
        &mut self,
        group: &str,
        member: &MemberRef,
        offsets: &[OffsetToCommit],
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        if member.generation < 0 && member.member_id.is_empty() && member.instance_id.is_none() {
            return Ok(());
        }
        let held = self.groups.by_id.get_mut(group).ok_or(ErrorCode::IllegalGeneration)?;
        if let Some(consumer) = &held.consumer {
            let outdated = |code| if code == ErrorCode::StaleMemberEpoch { ErrorCode::IllegalGeneration } else { code };
            let client = MemberRef { knows_member_epochs: true, ..member.clone() };
            let is_late = consumer.check_commit(&client).map_err(outdated)?;
            return if is_late { self.check_late_commits(group, member, offsets).map_err(outdated) } else { Ok(()) };
        }
        let group = held;
        group.check_generation(member)?;
        if let Some(member) = group.member_mut(&member.member_id) {
            member.touch(now_ms);
        }
        Ok(())
    }

    /// Checks the partitions that a member commits with an older epoch.
    fn check_late_commits(&self, group: &str, member: &MemberRef, offsets: &[OffsetToCommit]) -> Result<(), ErrorCode> {
        let consumer = self.groups.by_id.get(group).and_then(|group| group.consumer.as_ref());
        let check = |offset: &OffsetToCommit| {
            let topic = self.topics.get(&offset.topic).map(|topic| topic.id());
            consumer.map_or(Ok(()), |group| group.check_late_commit(member, topic.map(|id| (id, offset.partition))))
        };
        offsets.iter().try_for_each(check)
    }

    /// Checks that a member of a consumer group may fetch committed offsets; any client may that states no member.
    ///
    /// # Errors
    /// `UnknownMemberId`, `StaleMemberEpoch`.
    pub fn check_offset_fetch(&self, group: &str, member_id: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        let consumer = self.groups.by_id.get(group).and_then(|group| group.consumer.as_ref());
        match (consumer, member_id) {
            (None, _) => Ok(()),
            (Some(_), None) if epoch < 0 => Ok(()),
            (Some(group), member_id) => group.check_fetch(member_id.unwrap_or_default(), epoch),
        }
    }

    fn commit_offset(&mut self, group: &str, offset: OffsetToCommit, now_ms: i64) -> Result<(), ErrorCode> {
        let (topic, partition, committed) = self.checked_offset(offset, now_ms)?;
        let change = Change::OffsetCommitted { group: group.to_owned(), topic, partition, committed };
        self.note(&change)?;
        self.groups.apply(change);
        Ok(())
    }

    /// Checks an offset to commit. Returns its topic, its partition and what is stored.
    pub(in crate::core) fn checked_offset(
        &self,
        offset: OffsetToCommit,
        now_ms: i64,
    ) -> Result<(String, i32, Committed), ErrorCode> {
        let OffsetToCommit { topic, partition, offset, leader_epoch, metadata, retention_ms } = offset;
        let partitions = self.topics.get(&topic).map_or(0, |topic| topic.partitions());
        if !(0..partitions).contains(&partition) {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        if i64::try_from(metadata.len()).is_ok_and(|len| len > self.values.number("offset.metadata.max.bytes")) {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        let committed_ms = self.groups.wall_ms(now_ms);
        let expires_ms = retention_ms.map(|ms| committed_ms.saturating_add(ms));
        Ok((topic, partition, Committed { offset, leader_epoch, metadata, committed_ms, expires_ms }))
    }

    /// Returns the committed offset of a group for one partition.
    pub fn committed_offset(&self, group: &str, topic: &str, partition: i32) -> Option<&Committed> {
        self.groups.by_id.get(group)?.offsets.get(&(topic.to_owned(), partition))
    }

    /// Returns all committed offsets of a group, ordered by topic and partition.
    pub fn committed_offsets(&self, group: &str) -> Vec<CommittedOffset> {
        let offsets = self.groups.by_id.get(group).map(|group| &group.offsets);
        let committed = |((topic, partition), committed): (&(String, i32), &Committed)| CommittedOffset {
            topic: topic.clone(),
            partition: *partition,
            committed: committed.clone(),
        };
        offsets.into_iter().flatten().map(committed).collect()
    }

    /// Deletes the committed offset of a group for one partition.
    ///
    /// # Errors
    /// `GroupIdNotFound`, `NonEmptyGroup` if the members are no consumers, `GroupSubscribedToTopic` if a member is
    /// subscribed to the topic, `StorageError`.
    pub fn delete_offset(&mut self, group: &str, topic: &str, partition: i32) -> Result<(), ErrorCode> {
        let held = self.groups.by_id.get_mut(group).ok_or(ErrorCode::GroupIdNotFound)?;
        if held.has_members() && held.protocol_type != CONSUMER {
            return Err(ErrorCode::NonEmptyGroup);
        }
        if held.reads(topic) {
            return Err(ErrorCode::GroupSubscribedToTopic);
        }
        let change = Change::OffsetDeleted { group: group.to_owned(), topic: topic.to_owned(), partition };
        note(self.storage.as_mut(), &change)?;
        self.groups.apply(change);
        Ok(())
    }

    /// Deletes a group without members and its committed offsets. Members whose sessions have expired by `now_ms` are
    /// removed first.
    ///
    /// # Errors
    /// `GroupIdNotFound`, `NonEmptyGroup`, `StorageError`.
    pub fn delete_group(&mut self, group: &str, now_ms: i64) -> Result<(), ErrorCode> {
        let session_ms = self.groups.consumer_session_ms(group);
        let held = self.groups.by_id.get_mut(group).ok_or(ErrorCode::GroupIdNotFound)?;
        match &mut held.consumer {
            Some(consumer) => consumer.tick(now_ms, session_ms),
            None => held.tick(now_ms, &mut self.groups.outbox),
        }
        if held.state != GroupState::Empty || held.has_members() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let change = Change::GroupDeleted { group: group.to_owned() };
        self.note(&change)?;
        self.groups.apply(change);
        Ok(())
    }
}

impl Group {
    fn check_commit(&mut self, member: &MemberRef, now_ms: i64) -> Result<bool, ErrorCode> {
        if let Some(consumer) = &self.consumer {
            return consumer.check_commit(member);
        }
        if member.generation < 0 && self.state == GroupState::Empty {
            return Ok(false);
        }
        self.check_generation(member)?;
        if self.state == GroupState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        if let Some(member) = self.member_mut(&member.member_id) {
            member.touch(now_ms);
        }
        Ok(false)
    }

    /// Returns true if a member is subscribed to `topic`, or if the subscription of a member cannot be parsed.
    pub(super) fn reads(&self, topic: &str) -> bool {
        if let Some(consumer) = &self.consumer {
            return consumer.reads(topic);
        }
        let protocol = self.protocol.as_deref().unwrap_or_default();
        self.members
            .iter()
            .any(|member| subscription(&member.metadata(protocol)).is_none_or(|topics| topics.contains(topic)))
    }
}

/// Returns the subscribed topics in a consumer's metadata, which starts with a version and a list of names. Returns
/// `None` if the metadata has another format.
fn subscription(mut metadata: &[u8]) -> Option<BTreeSet<String>> {
    use bytes::Buf;
    metadata.try_get_i16().ok()?;
    let count = metadata.try_get_i32().ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        let len = usize::try_from(metadata.try_get_i16().ok()?).ok()?;
        let (name, rest) = metadata.split_at_checked(len)?;
        topics.insert(String::from_utf8_lossy(name).into_owned());
        metadata = rest;
    }
    Some(topics)
}
