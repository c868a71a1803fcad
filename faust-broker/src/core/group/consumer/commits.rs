//! The epochs with which members may commit and fetch offsets.

use crate::core::ErrorCode;
use crate::core::group::MemberRef;
use crate::core::group::consumer::{ConsumerGroup, TopicPartition};

impl ConsumerGroup {
    /// Checks that a client may commit offsets. Returns true if its epoch is an older one, with which it may commit only
    /// the partitions that have been assigned to it since.
    ///
    /// # Errors
    /// `UnknownMemberId`, `StaleMemberEpoch`, `UnsupportedVersion` if the client would not know these.
    pub(in crate::core::group) fn check_commit(&self, client: &MemberRef) -> Result<bool, ErrorCode> {
        if client.generation < 0 && self.members.is_empty() {
            return Ok(false);
        }
        let member = self.members.get(&client.member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if !client.knows_member_epochs {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if client.generation > member.epoch {
            Err(ErrorCode::StaleMemberEpoch)
        } else {
            Ok(client.generation < member.epoch)
        }
    }

    /// Checks that a member with an older epoch may commit an offset of a partition.
    ///
    /// # Errors
    /// `StaleMemberEpoch` if the partition was not assigned to it in that epoch, or is not any more.
    pub(in crate::core::group) fn check_late_commit(
        &self,
        client: &MemberRef,
        partition: Option<TopicPartition>,
    ) -> Result<(), ErrorCode> {
        let since = self.members.get(&client.member_id).zip(partition).and_then(|(member, partition)| {
            member.assigned.get(&partition).or_else(|| member.revoking.get(&partition))
        });
        match since {
            Some(epoch) if client.generation >= *epoch => Ok(()),
            _ => Err(ErrorCode::StaleMemberEpoch),
        }
    }

    /// Checks that a member may fetch committed offsets.
    ///
    /// # Errors
    /// `UnknownMemberId`, `StaleMemberEpoch`.
    pub(in crate::core::group) fn check_fetch(&self, member_id: &str, epoch: i32) -> Result<(), ErrorCode> {
        let member = self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if member.epoch == epoch { Ok(()) } else { Err(ErrorCode::StaleMemberEpoch) }
    }
}
