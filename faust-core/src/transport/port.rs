//! The traits of the port, and the values that pass through it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending};

use super::delivery::Delivery;
use super::inspection::ClusterState;
use super::outage::Outage;
use super::transaction::{GroupMembership, TransactionError};
use crate::config::OffsetReset;
use crate::error::TransportError;
use crate::message::{Headers, Offset, OwnedMessage, RawMessage};
use crate::time::{Clock, Timestamp};

/// Seals the traits of the port: they change with the engine, so only its own adapters implement them.
pub(crate) mod sealed {
    pub trait Sealed {}
}

pub(crate) use self::sealed::Sealed;

/// A cluster of brokers, real or embedded.
pub trait Transport: Sealed + Send + Sync + 'static {
    /// Returns the address or name of the cluster, for log lines and errors.
    fn describe(&self) -> String;

    /// Returns the clock of the cluster: the system's clock, unless the cluster has its own.
    fn clock(&self) -> Clock {
        Clock::default()
    }

    /// Returns the address of the brokers, with the cause if they are unavailable.
    fn outage(&self) -> Arc<Outage>;

    /// Opens an idempotent producer: its internal retries do not duplicate messages.
    fn sink(&self) -> Result<Arc<dyn Sink>, TransportError>;

    /// Opens a transactional producer under this id. A producer that had it before cannot continue, and its open transaction is
    /// aborted; one that was being committed is completed first.
    fn transactions(&self, id: &str) -> BoxFuture<'_, Result<Arc<dyn Transactions>, TransactionError>>;

    /// Returns the client for look-ups and administration.
    fn admin(&self) -> Result<Arc<dyn Admin>, TransportError>;

    /// Joins the consumer group until [`Group::leave`]. Assignments and revocations are passed to `listener`.
    fn join(
        &self,
        subscription: Subscription,
        listener: Arc<dyn GroupListener>,
    ) -> Result<Arc<dyn Group>, TransportError>;

    /// Reads partitions outside of any group, from given offsets, message by message. While there is nothing to read, a
    /// broker may hold each request for up to `wait`; the end of a partition is reported only after that.
    fn read(&self, from: Vec<(TopicPartition, StartAt)>, wait: Duration) -> Result<Box<dyn Reader>, TransportError>;

    /// Reads partitions outside of any group, at a pace. Returns one queue for each partition, in the given order.
    ///
    /// An offset that is out of the log's range is reported by the queue as an error of kind
    /// [`OffsetOutOfRange`](crate::error::TransportErrorKind::OffsetOutOfRange): no message is skipped silently.
    fn tail(
        &self,
        from: Vec<(TopicPartition, StartAt)>,
        pace: TailPace,
    ) -> BoxFuture<'_, Result<Vec<Box<dyn PartitionQueue>>, TransportError>>;
}

/// The pace of a [`tail`](Transport::tail).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailPace {
    /// As fast as a group reads its own partitions, with as much memory for prefetched messages. Ends are found soon.
    Fast,
    /// With few requests and an eighth of that memory, for a reader that never ends.
    Steady,
}

/// The parameters for joining a group.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Subscription {
    /// Name of the consumer group: the app's id with its version.
    pub group: String,
    /// Topics that the stages of the plan read, each with the start position of a partition that has no committed
    /// offset, or whose next message has been deleted.
    pub topics: BTreeMap<Arc<str>, OffsetReset>,
    /// Total number of partitions of these topics, by which the fetch memory is divided.
    pub partitions: usize,
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct TopicPartition {
    /// Name of the topic, shared because it is cloned with every report.
    pub topic: Arc<str>,
    /// Number of the partition, counted from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Creates a pair of topic and partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// A listener for assignments, called on the transport's own thread. `assigned` must not block.
pub trait GroupListener: Sealed + Send + Sync {
    /// Called when these partitions have been assigned to this worker, each with its queue positioned at
    /// [`Assigned::start`].
    fn assigned(&self, partitions: Vec<Assigned>);

    /// Called when these partitions are revoked. The transport waits for the future (finish, commit) before it gives
    /// them up, but never longer than its rebalance budget. If `lost` is set, the partitions are already lost and a
    /// commit would be rejected.
    fn revoked(&self, partitions: Vec<TopicPartition>, lost: bool) -> BoxFuture<'static, ()>;

    /// Called when the committed offsets of these partitions could not be looked up for [`PENDING_AFTER`], and again now and then: a
    /// transaction may have offsets of them.
    fn offsets_pending(&self, _partitions: &[TopicPartition]) {}

    /// Called when the group or the connection has an error that a retry within the transport cannot resolve.
    fn failed(&self, error: TransportError);

    /// Called when the brokers have become unavailable or available again. This is for logs and metrics; no action is
    /// needed.
    fn connection(&self, up: bool, detail: &str);

    /// Called when the messages at these offsets were deleted before the partition's queue came to them, so that it
    /// continues at offset `next`. This is for logs and metrics; no action is needed.
    fn deleted(&self, _partition: &TopicPartition, _unread: Range<Offset>, _next: Offset) {}
}

/// Time for which a partition waits for an open transaction before the worker looks for the program that has left it open.
pub const PENDING_AFTER: Duration = Duration::from_secs(2);

/// A partition assigned to this worker.
#[non_exhaustive]
pub struct Assigned {
    /// The partition.
    pub partition: TopicPartition,
    /// Last committed offset and metadata of the partition, if any.
    pub committed: Option<Committed>,
    /// Generation of the group in which the partition was assigned.
    pub generation: u64,
    /// A random number of the member. A static member that restarts keeps the generation of its predecessor, which may still
    /// run.
    pub nonce: u16,
    /// Log start offset and high watermark when the partition was assigned.
    pub bounds: (Offset, Offset),
    /// Id of the topic, as [`Admin::topic_ids`] returns it, looked up after the bounds. It is empty if the look-up failed.
    pub topic_id: String,
    /// First offset that the queue yields: the committed one, or the one that the subscription selects for the topic.
    pub start: Offset,
    /// Queue of its messages.
    pub queue: Box<dyn PartitionQueue>,
}

impl fmt::Debug for Assigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.partition, self.start)
    }
}

/// A committed offset and its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// Next offset to read.
    pub offset: Offset,
    /// Metadata, as written by [`Group::commit`]. Other programs leave it empty or write their own.
    pub metadata: String,
}

impl Committed {
    /// Creates an offset without metadata.
    pub fn at(offset: Offset) -> Self {
        Self { offset, metadata: String::new() }
    }
}

/// The messages of one assigned partition, in offset order.
pub trait PartitionQueue: Sealed + Send {
    /// Passes up to `max` available messages to `each`. If there are none, registers the waker and returns `Pending`.
    ///
    /// # Errors
    /// Returns an error of this partition. Reading may continue after a retriable one. After any other, messages behind the
    /// error may have been dropped: [`seek`](Self::seek) before reading on.
    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        each: &mut dyn FnMut(RawMessage<'_>),
    ) -> Poll<Result<usize, TransportError>>;

    /// Moves the position to `offset` and discards prefetched messages.
    fn seek(&mut self, offset: Offset) -> Result<(), TransportError>;

    /// Returns the partition's end if the last poll reached it and no message has arrived since. It may be after the
    /// last message by more than one: retention, compaction and transactions leave offsets without messages. Reaching
    /// the end wakes the waiting task: check this after every poll, even a pending one.
    fn end(&self) -> Option<Offset>;

    /// Returns `true` if messages follow the end that cannot be read yet: those of an open transaction.
    fn is_held(&self) -> bool;

    /// Returns the partition's high watermark, as far as it is known without a request.
    fn high_watermark(&self) -> Option<Offset> {
        None
    }
}

/// A membership in a consumer group.
pub trait Group: Sealed + Send + Sync {
    /// Commits all these offsets in one request and waits for the response. Returns the partitions whose offsets the broker
    /// has refused, with the reason.
    ///
    /// # Errors
    /// Returns an error if no offset was accepted, or if it is unknown which.
    fn commit(
        &self,
        offsets: BTreeMap<TopicPartition, Committed>,
    ) -> BoxFuture<'_, Result<RefusedOffsets, TransportError>>;

    /// Returns the member's identity in the generation of its last assignment; `None` before the first, and once it is lost.
    fn membership(&self) -> Option<GroupMembership>;

    /// Returns the id that the broker has given to the member; `None` before it has joined, and once it has left.
    fn member_id(&self) -> BoxFuture<'_, Option<String>>;

    /// Gives up the partitions (through [`GroupListener::revoked`]) and leaves the group.
    fn leave(&self) -> BoxFuture<'_, ()>;

    /// Drops out as a crashed process would, without a revocation: another member takes over after the session timeout.
    fn abandon(&self);
}

/// The partitions whose offsets were not committed, with the reason.
pub type RefusedOffsets = BTreeMap<TopicPartition, TransportError>;

/// A producer.
pub trait Sink: Sealed + Send + Sync {
    /// Returns a handle for writing to one topic, which is looked up once rather than for every message.
    fn topic(&self, name: &str) -> Result<Arc<dyn SinkTopic>, TransportError>;

    /// Waits until the buffer has room again, or a short time has passed.
    fn room(&self) -> BoxFuture<'_, ()>;

    /// Waits until all messages sent so far have been acknowledged or have failed, for `within` at most.
    fn flush(&self, within: Duration) -> BoxFuture<'_, Result<(), TransportError>>;

    /// Waits until the producer has failed for good, and returns the reason. From then on, every message fails with an error that is
    /// retriable: another producer can send it.
    fn lost(&self) -> BoxFuture<'_, TransportError> {
        pending().boxed()
    }
}

/// A transactional producer (KIP-98). At most one transaction is open at a time, and at most one of the calls is in progress.
///
/// A call whose outcome is unknown is repeated by the adapter until it is known, so that each error is definite.
pub trait Transactions: Sealed + Send + Sync {
    /// Returns the producer. Its messages are part of the open transaction.
    fn sink(&self) -> Arc<dyn Sink>;

    /// Begins a transaction.
    fn begin(&self) -> BoxFuture<'_, Result<(), TransactionError>>;

    /// Adds offsets to the open transaction. The broker accepts them only from a current member of the group.
    fn send_offsets(
        &self,
        member: GroupMembership,
        offsets: BTreeMap<TopicPartition, Committed>,
    ) -> BoxFuture<'_, Result<(), TransactionError>>;

    /// Commits the open transaction. Every message must have been acknowledged: an adapter does not notice one that was refused.
    fn commit(&self) -> BoxFuture<'_, Result<(), TransactionError>>;

    /// Aborts the open transaction, and discards the messages that have not been sent.
    fn abort(&self) -> BoxFuture<'_, Result<(), TransactionError>>;

    /// Returns whether the producer must not make another transaction after an abort: the brokers may take its messages for those of
    /// the aborted one.
    fn is_spent(&self) -> bool {
        false
    }
}

/// A handle for writing to one topic.
pub trait SinkTopic: Sealed + Send + Sync {
    /// Adds a message to the producer's buffer. `delivery` counts the message and records its result.
    fn try_send(&self, message: &Outgoing<'_>, delivery: &Arc<Delivery>) -> Result<(), SendRefused>;

    /// Checks whether the producer would reject the message permanently, such as one that is too large.
    fn check(&self, message: &Outgoing<'_>) -> Result<(), TransportError>;
}

/// A message to be sent.
#[derive(Clone, Debug, Default)]
pub struct Outgoing<'a> {
    /// Partition to send to. If absent, the key determines it, by murmur2 as in the Java client.
    pub partition: Option<i32>,
    /// Key of the message; see [`RawMessage::key`].
    pub key: Option<&'a [u8]>,
    /// Payload of the message; see [`RawMessage::payload`].
    pub payload: Option<&'a [u8]>,
    /// Headers of the message, which are sent unchanged.
    pub headers: Headers,
    /// Timestamp of the message. If absent, the time of sending is used. One that is not after 1970-01-01 is rejected.
    pub timestamp: Option<Timestamp>,
    /// A header behind the others. It is borrowed: one that differs in each message needs no allocation.
    pub last_header: Option<(&'a str, &'a [u8])>,
}

impl Outgoing<'_> {
    /// Returns all headers in order.
    pub(super) fn all_headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.headers.iter().chain(self.last_header.map(|(name, value)| (name, Some(value))))
    }

    /// Returns the maximum size of the message in a batch, as librdkafka computes it before it accepts a message
    /// (`rd_kafka_msg_max_wire_size`).
    pub(super) fn max_wire_size(&self) -> usize {
        const VARINT: usize = 5;
        // The length of the record, its attributes, and the differences of its timestamp and its offset.
        const FIXED: usize = VARINT + 1 + 10 + VARINT;
        let length = |bytes: Option<&[u8]>| VARINT + bytes.map_or(0, <[u8]>::len);
        let headers = self.all_headers().map(|(name, value)| VARINT + name.len() + length(value));
        FIXED + length(self.key) + length(self.payload) + VARINT + headers.sum::<usize>()
    }

    /// Rejects a timestamp that would be changed on the way: librdkafka sends the current time for 0, and negative
    /// timestamps stand for none in Kafka.
    pub(super) fn check_timestamp(&self, topic: &str) -> Result<(), TransportError> {
        match self.timestamp.filter(|time| !is_storable(*time)) {
            None => Ok(()),
            Some(time) => Err(TransportError::fatal(
                format!("sending to `{topic}`"),
                format!(
                    "the timestamp {time} is not after 1970-01-01, and Kafka would store another; give the message a later one, or none"
                ),
            )),
        }
    }
}

/// Returns `true` if Kafka stores this timestamp unchanged, apart from the limits of the topic.
pub(crate) fn is_storable(time: Timestamp) -> bool {
    time.0 > 0
}

/// Returns the timestamp of a stored message. Programs other than Faust may store a negative one; -1 stands for none.
pub(super) fn stored_timestamp(millis: i64) -> Timestamp {
    Timestamp(if millis == -1 { 0 } else { millis })
}

/// The reason for which a message was not added to the producer's buffer.
#[derive(Debug)]
pub enum SendRefused {
    /// The buffer is full: wait for [`Sink::room`] and retry.
    Full,
    /// The message is rejected permanently.
    Failed(TransportError),
}

/// A reader outside of any group.
pub trait Reader: Sealed + Send {
    /// Returns the next message of any of the partitions, or `None` if none arrives within `within`.
    fn next(&mut self, within: Duration) -> BoxFuture<'_, Result<Option<Read>, TransportError>>;
}

/// The time for which a broker holds requests of a [`Reader`] that looks for the ends of partitions.
pub const PROMPT: Duration = Duration::from_millis(50);

/// The result of a read by a [`Reader`].
#[derive(Clone, Debug)]
pub enum Read {
    /// A message.
    Message(TopicPartition, OwnedMessage),
    /// The end of the partition has been reached, for now.
    End(TopicPartition),
}

/// The position at which reading starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The log start offset.
    Earliest,
    /// The high watermark: only messages that arrive from now on.
    Latest,
    /// The given offset.
    Offset(Offset),
}

/// The log start offset and the high watermark of each partition.
pub type Watermarks = BTreeMap<TopicPartition, (Offset, Offset)>;

/// The configurations of topics, by topic and name.
pub type TopicConfigs = BTreeMap<String, BTreeMap<String, String>>;

/// Look-ups and administration of topics and groups.
pub trait Admin: Sealed + Send + Sync {
    /// Returns the topics of these names that exist, or all topics, with their partition counts.
    fn topics(&self, names: Option<Vec<String>>) -> BoxFuture<'_, Result<BTreeMap<String, i32>, TransportError>>;

    /// Creates topics. Topics that already exist are left unchanged, without an error.
    fn create(&self, topics: Vec<NewTopic>) -> BoxFuture<'_, Result<(), TransportError>>;

    /// Deletes topics. Topics that do not exist are ignored.
    fn delete(&self, topics: Vec<String>) -> BoxFuture<'_, Result<(), TransportError>>;

    /// Deletes the messages before these offsets permanently. Messages that are already deleted are ignored.
    ///
    /// # Errors
    /// Returns an error of kind [`OffsetOutOfRange`](crate::error::TransportErrorKind::OffsetOutOfRange) if an offset is above the
    /// high watermark.
    fn delete_records(&self, before: BTreeMap<TopicPartition, Offset>) -> BoxFuture<'_, Result<(), TransportError>>;

    /// Returns the ids of these topics, if they exist, in the format of Kafka's own tools. A topic that was deleted and
    /// created again has another id. The id is empty if the broker is older than Kafka 2.8, which has no ids.
    fn topic_ids(&self, names: Vec<String>) -> BoxFuture<'_, Result<BTreeMap<String, String>, TransportError>>;

    /// Returns the log start offset and the high watermark of each partition.
    fn watermarks(&self, of: Vec<TopicPartition>) -> BoxFuture<'_, Result<Watermarks, TransportError>>;

    /// Returns the configurations of these topics, such as `cleanup.policy`, with the cluster's defaults for those that
    /// a topic does not set. Topics that do not exist are omitted, as are configurations that the broker does not know.
    fn configs(&self, topics: Vec<String>) -> BoxFuture<'_, Result<TopicConfigs, TransportError>>;

    /// Returns the group's committed offsets. Partitions without a commit are omitted.
    fn committed(
        &self,
        group: &str,
        of: Vec<TopicPartition>,
    ) -> BoxFuture<'_, Result<BTreeMap<TopicPartition, Committed>, TransportError>>;

    /// Returns the group's committed offsets like [`committed`](Self::committed), but without waiting for transactions that are
    /// being committed: their offsets are not included. Repeated calls for one group share a client.
    fn committed_now(
        &self,
        group: &str,
        of: Vec<TopicPartition>,
    ) -> BoxFuture<'_, Result<BTreeMap<TopicPartition, Committed>, TransportError>>;

    /// Commits offsets for a group from outside.
    ///
    /// # Errors
    /// Returns an error if the group has members: the broker refuses it.
    fn commit(
        &self,
        group: &str,
        offsets: BTreeMap<TopicPartition, Committed>,
    ) -> BoxFuture<'_, Result<(), TransportError>>;

    /// Describes the brokers, these topics, and the rights of this client for them and for the group.
    fn inspect(&self, topics: Vec<String>, group: &str) -> BoxFuture<'_, Result<ClusterState, TransportError>>;

    /// Checks whether these topics could be created, without creating them. Returns the names of those that would be refused,
    /// with the reasons.
    fn check_creation(&self, topics: Vec<NewTopic>) -> BoxFuture<'_, Result<BTreeMap<String, String>, TransportError>>;

    /// Returns the names of all consumer groups.
    fn groups(&self) -> BoxFuture<'_, Result<BTreeSet<String>, TransportError>>;

    /// Returns the number of members of a group, whatever its protocol is; 0 if the group does not exist.
    fn members(&self, group: &str) -> BoxFuture<'_, Result<usize, TransportError>>;

    /// Returns the members of a group, whatever its protocol is; none if the group does not exist.
    fn group_members(&self, group: &str) -> BoxFuture<'_, Result<Vec<GroupMember>, TransportError>>;

    /// Deletes a group with all its committed offsets. A group that does not exist is ignored.
    ///
    /// # Errors
    /// Returns an error of kind [`Fatal`](crate::error::TransportErrorKind::Fatal) if the group has members.
    fn delete_group(&self, group: &str) -> BoxFuture<'_, Result<(), TransportError>>;
}

/// A member of a consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// The id that the broker has given to the member. With the classic protocol, it begins with the client's id.
    pub member_id: String,
    /// The instance id of a static member.
    pub instance_id: Option<String>,
    /// Id of the member's client. Unless `broker_client_id` is set, it is the name of the worker, a slash, and the client's own.
    pub client_id: String,
    /// Host from which the member is connected, as the broker shows it.
    pub host: String,
    /// The partitions that are assigned to the member, in order.
    pub partitions: Vec<TopicPartition>,
}

impl GroupMember {
    /// Returns whether the member is the worker of this name.
    pub(crate) fn is_of(&self, worker: &str) -> bool {
        self.client_id.strip_prefix(worker).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Name of the topic.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Replication factor.
    pub replication: i16,
    /// Configurations under Kafka's own names, such as `retention.ms`.
    pub configs: BTreeMap<String, String>,
}

/// Returns the error for a group that cannot be changed from outside yet.
pub(super) fn has_members(group: &str) -> TransportError {
    TransportError::fatal(format!("change of group `{group}`"), "it has members: stop its workers first")
}

/// Returns a topic's id (KIP-516) as text.
pub(super) fn topic_id_text(id: u128) -> String {
    if id == 0 { String::new() } else { BASE64_URL_SAFE_NO_PAD.encode(id.to_be_bytes()) }
}
