//! The error codes of the Kafka protocol that this broker returns.

/// An error of a broker operation, with its Kafka error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(i16)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The offset is before the start or after the end of the log.
    #[error("offset out of range")]
    OffsetOutOfRange = 1,
    /// The checksum of the batch is wrong, or its lengths contradict each other.
    #[error("corrupt message")]
    CorruptMessage = 2,
    /// The topic does not exist, or it has no such partition.
    #[error("unknown topic or partition")]
    UnknownTopicOrPartition = 3,
    /// The batch is larger than the topic's `max.message.bytes`, or too large after decompression.
    #[error("message too large")]
    MessageTooLarge = 10,
    /// The metadata of a committed offset is longer than the broker's `offset.metadata.max.bytes`.
    #[error("offset metadata too large")]
    OffsetMetadataTooLarge = 12,
    /// The topic name is empty, too long or contains an invalid character.
    #[error("invalid topic name")]
    InvalidTopic = 17,
    /// The generation is not the group's current generation.
    #[error("illegal generation")]
    IllegalGeneration = 22,
    /// The member supports no protocol that the group supports.
    #[error("inconsistent group protocol")]
    InconsistentGroupProtocol = 23,
    /// The group id is empty.
    #[error("invalid group id")]
    InvalidGroupId = 24,
    /// The group has no such member.
    #[error("unknown member id")]
    UnknownMemberId = 25,
    /// The session timeout is outside the range that the broker allows.
    #[error("invalid session timeout")]
    InvalidSessionTimeout = 26,
    /// The group is rebalancing; the member must rejoin.
    #[error("rebalance in progress")]
    RebalanceInProgress = 27,
    /// A timestamp is outside the topic's `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.
    #[error("invalid timestamp")]
    InvalidTimestamp = 32,
    /// The broker does not support this request or this version of it.
    #[error("unsupported version")]
    UnsupportedVersion = 35,
    /// A topic with this name already exists.
    #[error("topic already exists")]
    TopicAlreadyExists = 36,
    /// The number of partitions is less than one or not larger than the current one.
    #[error("invalid number of partitions")]
    InvalidPartitions = 37,
    /// The replication factor is not 1, the only one possible on a single node.
    #[error("invalid replication factor: this broker is a single node, use 1")]
    InvalidReplicationFactor = 38,
    /// An assignment of replicas names other nodes than this one, or is incomplete.
    #[error("invalid replica assignment: this broker is a single node, assign each partition to it alone")]
    InvalidReplicaAssignment = 39,
    /// A configuration has an unknown name or an invalid value.
    #[error("invalid config")]
    InvalidConfig = 40,
    /// The request is inconsistent.
    #[error("invalid request")]
    InvalidRequest = 42,
    /// The sequence number of an idempotent producer does not follow its last one.
    #[error("out of order sequence number")]
    OutOfOrderSequence = 45,
    /// The producer has been fenced by a newer epoch.
    #[error("invalid producer epoch")]
    InvalidProducerEpoch = 47,
    /// There is no open transaction, or it has ended otherwise.
    #[error("invalid transaction state")]
    InvalidTxnState = 48,
    /// The transactional id has another producer id.
    #[error("the producer id is not that of the transactional id")]
    InvalidProducerIdMapping = 49,
    /// The timeout of a transaction is not positive, or larger than `transaction.max.timeout.ms`.
    #[error("invalid transaction timeout")]
    InvalidTransactionTimeout = 50,
    /// The previous transaction is still ending; the client must try again.
    #[error("the previous transaction is still ending")]
    ConcurrentTransactions = 51,
    /// The broker has no authorizer, so it has no access rights to describe or change.
    #[error("no authorizer is configured: this broker grants every request")]
    SecurityDisabled = 54,
    /// Another part of the request has failed.
    #[error("operation not attempted: another part of the request has failed")]
    OperationNotAttempted = 55,
    /// Reading from or writing to the disk failed; the broker logs the cause.
    #[error("storage error")]
    StorageError = 56,
    /// The log directory is not that of this broker.
    #[error("log directory not found")]
    LogDirNotFound = 57,
    /// The group has members, so it cannot be deleted.
    #[error("group is not empty")]
    NonEmptyGroup = 68,
    /// The group does not exist.
    #[error("group id not found")]
    GroupIdNotFound = 69,
    /// The request names a fetch session; this broker does not support fetch sessions.
    #[error("fetch session id not found")]
    FetchSessionIdNotFound = 70,
    /// The client's leader epoch is older than the broker's.
    #[error("fenced leader epoch")]
    FencedLeaderEpoch = 74,
    /// The client's leader epoch is newer than the broker's.
    #[error("unknown leader epoch")]
    UnknownLeaderEpoch = 75,
    /// The codec of the batch is unknown, or this build of the broker does not include it.
    #[error("unsupported compression type")]
    UnsupportedCompressionType = 76,
    /// The member must join again with the member id in the response.
    #[error("member id required")]
    MemberIdRequired = 79,
    /// The group has as many members as it may have.
    #[error("the group is full: raise `group.consumer.max.size` of the broker")]
    GroupMaxSizeReached = 81,
    /// Another member uses this `group.instance.id` now.
    #[error("fenced instance id")]
    FencedInstanceId = 82,
    /// The leader of the partition is the preferred one already.
    #[error("leader election not needed for the partition: its only replica leads it")]
    ElectionNotNeeded = 84,
    /// The partition is not moved to other nodes, so the move cannot be cancelled.
    #[error("no partition reassignment in progress")]
    NoReassignmentInProgress = 85,
    /// Offsets cannot be deleted because a member of the group is subscribed to the topic.
    #[error("group is subscribed to the topic")]
    GroupSubscribedToTopic = 86,
    /// The batch is not allowed in a produce request, for example a control batch, several batches at once, a format
    /// older than version 2, or records that cannot be read.
    #[error("invalid record")]
    InvalidRecord = 87,
    /// An open transaction has committed an offset of the partition.
    #[error("an open transaction has committed an offset of the partition")]
    UnstableOffsetCommit = 88,
    /// A newer producer of the same transactional id has fenced this one, or its transaction has timed out.
    #[error("producer fenced")]
    ProducerFenced = 90,
    /// The described thing does not exist.
    #[error("resource not found")]
    ResourceNotFound = 91,
    /// No topic has this id.
    #[error("unknown topic id")]
    UnknownTopicId = 100,
    /// No transaction has this id.
    #[error("transactional id not found")]
    TransactionalIdNotFound = 105,
    /// The epoch of the member is not the one that the group knows; the member must give up its partitions and join again.
    #[error("fenced member epoch")]
    FencedMemberEpoch = 110,
    /// Another member still uses this instance id.
    #[error("the instance id is still in use")]
    UnreleasedInstanceId = 111,
    /// The group has no such assignor.
    #[error("unsupported assignor")]
    UnsupportedAssignor = 112,
    /// The epoch of the member is an older one, or the partition was not assigned to it in that epoch.
    #[error("stale member epoch")]
    StaleMemberEpoch = 113,
    /// The operation is not part of an open transaction; the client must abort it.
    #[error("not part of an open transaction: abort it and begin another one")]
    TransactionAbortable = 120,
    /// The regular expression of a subscription cannot be compiled.
    #[error("invalid regular expression")]
    InvalidRegularExpression = 128,
}

impl ErrorCode {
    /// Returns the error code in the protocol.
    pub fn code(self) -> i16 {
        self as i16
    }
}

/// Returns the error code of a result in the protocol, 0 for success.
pub fn code_of<T>(outcome: &Result<T, ErrorCode>) -> i16 {
    outcome.as_ref().err().map_or(0, |code| code.code())
}
