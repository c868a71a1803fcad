//! The error codes of the Kafka protocol that this broker answers with.

/// Why an operation of the broker was refused, as Kafka numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(i16)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The offset lies before the start or after the end of the log.
    #[error("offset out of range")]
    OffsetOutOfRange = 1,
    /// The batch fails its checksum or its lengths contradict each other.
    #[error("corrupt message")]
    CorruptMessage = 2,
    /// No such topic, or the topic has no such partition.
    #[error("unknown topic or partition")]
    UnknownTopicOrPartition = 3,
    /// The batch is longer than `max.message.bytes` of its topic.
    #[error("message too large")]
    MessageTooLarge = 10,
    /// The text stored beside a committed offset is over 4096 bytes.
    #[error("offset metadata too large")]
    OffsetMetadataTooLarge = 12,
    /// A topic's name is empty, too long or has a forbidden character.
    #[error("invalid topic name")]
    InvalidTopic = 17,
    /// The generation is not the group's present one.
    #[error("illegal generation")]
    IllegalGeneration = 22,
    /// The member shares no protocol with the group.
    #[error("inconsistent group protocol")]
    InconsistentGroupProtocol = 23,
    /// The group's name is empty.
    #[error("invalid group id")]
    InvalidGroupId = 24,
    /// The group does not know this member.
    #[error("unknown member id")]
    UnknownMemberId = 25,
    /// The session timeout lies outside of what the broker allows.
    #[error("invalid session timeout")]
    InvalidSessionTimeout = 26,
    /// The group rebalances: join again.
    #[error("rebalance in progress")]
    RebalanceInProgress = 27,
    /// The broker does not speak this, or not in this version.
    #[error("unsupported version")]
    UnsupportedVersion = 35,
    /// A topic of this name exists.
    #[error("topic already exists")]
    TopicAlreadyExists = 36,
    /// The number of partitions is below one, or not above the present one.
    #[error("invalid number of partitions")]
    InvalidPartitions = 37,
    /// This broker is alone, so a partition has one replica.
    #[error("invalid replication factor: this broker is a single node, use 1")]
    InvalidReplicationFactor = 38,
    /// A configuration has an unknown name or a value that does not parse.
    #[error("invalid config")]
    InvalidConfig = 40,
    /// The request contradicts itself.
    #[error("invalid request")]
    InvalidRequest = 42,
    /// The batch has a format older than version 2.
    #[error("unsupported message format: only record batches of version 2 are stored")]
    UnsupportedForMessageFormat = 43,
    /// An idempotent producer left a gap in its sequence numbers.
    #[error("out of order sequence number")]
    OutOfOrderSequence = 45,
    /// A newer instance of this producer has taken over.
    #[error("invalid producer epoch")]
    InvalidProducerEpoch = 47,
    /// Reading or writing the disk failed; the broker's log says how.
    #[error("storage error")]
    StorageError = 56,
    /// The group has members, so it cannot be deleted.
    #[error("group is not empty")]
    NonEmptyGroup = 68,
    /// No such group.
    #[error("group id not found")]
    GroupIdNotFound = 69,
    /// Fetch sessions are not kept here.
    #[error("fetch session id not found")]
    FetchSessionIdNotFound = 70,
    /// The client's leader epoch is older than the broker's.
    #[error("fenced leader epoch")]
    FencedLeaderEpoch = 74,
    /// The client's leader epoch is newer than the broker's.
    #[error("unknown leader epoch")]
    UnknownLeaderEpoch = 75,
    /// Join again with the member id that comes with this answer.
    #[error("member id required")]
    MemberIdRequired = 79,
    /// Another member has taken over this `group.instance.id`.
    #[error("fenced instance id")]
    FencedInstanceId = 82,
    /// A member of the group reads the topic whose offsets were to be deleted.
    #[error("group is subscribed to the topic")]
    GroupSubscribedToTopic = 86,
    /// The batch is something a client may not send (a control batch, or several at once).
    #[error("invalid record")]
    InvalidRecord = 87,
    /// No topic has this id.
    #[error("unknown topic id")]
    UnknownTopicId = 100,
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> i16 {
        self as i16
    }
}

/// The number on the wire of an outcome: 0 for success.
#[must_use]
pub fn code_of<T>(outcome: &Result<T, ErrorCode>) -> i16 {
    outcome.as_ref().err().map_or(0, |code| code.code())
}
