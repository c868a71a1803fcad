//! The traits of the port, and the values that pass through it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;

use super::delivery::Delivery;
use crate::error::TransportError;
use crate::message::{Headers, OwnedMessage, RawMessage};
use crate::time::{Clock, Timestamp};

/// A cluster of brokers, real or embedded.
pub trait Transport: Send + Sync + 'static {
    /// The address or name to show people.
    fn describe(&self) -> String;

    /// Its time: the system's, unless it is a cluster that has one of its own.
    fn clock(&self) -> Clock {
        Clock::default()
    }

    /// Opens a producer. Its messages are idempotent: a retry inside it repeats nothing.
    fn sink(&self) -> Result<Arc<dyn Sink>, TransportError>;

    /// Look-ups and declarations.
    fn admin(&self) -> Result<Arc<dyn Admin>, TransportError>;

    /// Joins the consumer group and stays in it until [`Group::leave`]. What is assigned and revoked goes to `listener`.
    fn join(
        &self,
        subscription: Subscription,
        listener: Arc<dyn GroupListener>,
    ) -> Result<Arc<dyn Group>, TransportError>;

    /// Reads partitions outside any group from chosen offsets, message by message, for `consume`.
    fn read(&self, from: Vec<(TopicPartition, StartAt)>) -> Result<Box<dyn Reader>, TransportError>;

    /// Reads partitions outside any group as fast as a group reads its own, each from its own queue, in the order given.
    ///
    /// An offset that the log does not hold is the queue's error of the kind
    /// [`OffsetOutOfRange`](TransportErrorKind::OffsetOutOfRange): nothing is skipped in silence.
    fn tail(
        &self,
        from: Vec<(TopicPartition, StartAt)>,
    ) -> BoxFuture<'_, Result<Vec<Box<dyn PartitionQueue>>, TransportError>>;
}

/// What to join a group with.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The consumer group: the app's id with its version.
    pub group: String,
    /// Every topic some stage of the plan reads.
    pub topics: Vec<Arc<str>>,
    /// Partitions of all those topics together: the reading memory is divided by it.
    pub partitions: usize,
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name, shared because it is cloned with every report.
    pub topic: Arc<str>,
    /// Counted from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Pairs the two.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// Hears of assignments. Called on the transport's own thread; must not block in `assigned`.
pub trait GroupListener: Send + Sync {
    /// These partitions are this worker's now, each with its queue standing at [`Assigned::start`].
    fn assigned(&self, partitions: Vec<Assigned>);

    /// These partitions go. The transport waits for the future (finish, commit) before it lets them go, but never
    /// longer than its rebalance budget. With `lost` they have gone already and a commit would be refused.
    fn revoked(&self, partitions: Vec<TopicPartition>, lost: bool) -> BoxFuture<'static, ()>;

    /// The group or the connection has a fault that a retry inside the transport cannot mend.
    fn failed(&self, error: TransportError);

    /// The brokers went away or came back: for logs and metrics, nothing to do.
    fn connection(&self, up: bool, detail: &str);
}

/// A partition given to this worker.
pub struct Assigned {
    /// Which.
    pub partition: TopicPartition,
    /// What was last committed for it, if anything.
    pub committed: Option<Committed>,
    /// The first offset the queue will yield: the committed one, or where `consumer_auto_offset_reset` points.
    pub start: i64,
    /// Where its messages are read.
    pub queue: Box<dyn PartitionQueue>,
}

impl fmt::Debug for Assigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.partition, self.start)
    }
}

/// A committed offset and the text committed with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// Written by [`Group::commit`]; other programs leave it empty or write their own.
    pub metadata: String,
}

/// The messages of one assigned partition, in offset order.
pub trait PartitionQueue: Send {
    /// Hands up to `max` messages that are there to `each`. With none, registers the waker and is pending.
    ///
    /// # Errors
    /// What went wrong with this partition; reading may go on after a retriable one.
    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        each: &mut dyn FnMut(RawMessage<'_>),
    ) -> Poll<Result<usize, TransportError>>;

    /// Goes on reading at `offset`; what was prefetched is dropped.
    fn seek(&mut self, offset: i64) -> Result<(), TransportError>;

    /// Whether the last poll saw the partition's end and nothing has arrived since. An end wakes who waits: look at
    /// this after every poll, also after a pending one.
    fn at_end(&self) -> bool;
}

/// Membership in a consumer group.
pub trait Group: Send + Sync {
    /// Commits all of these in one request and waits for the answer.
    fn commit(&self, offsets: BTreeMap<TopicPartition, Committed>) -> BoxFuture<'_, Result<(), TransportError>>;

    /// Gives the partitions back (through [`GroupListener::revoked`]) and leaves.
    fn leave(&self) -> BoxFuture<'_, ()>;

    /// Drops out as a crashed process would, without a revocation: another member takes over after the session timeout.
    fn abandon(&self);
}

/// A producer.
pub trait Sink: Send + Sync {
    /// A handle to write to one topic: what is looked up once rather than per message.
    fn topic(&self, name: &str) -> Result<Arc<dyn SinkTopic>, TransportError>;

    /// Waits until the buffer has room again, or a moment has passed.
    fn room(&self) -> BoxFuture<'_, ()>;

    /// Waits until everything sent so far is delivered or has failed, at most `within`.
    fn flush(&self, within: Duration) -> BoxFuture<'_, Result<(), TransportError>>;
}

/// Writes to one topic.
pub trait SinkTopic: Send + Sync {
    /// Puts a message into the producer's buffer; `delivery` counts it and hears of its fate.
    fn try_send(&self, message: &Outgoing<'_>, delivery: &Arc<Delivery>) -> Result<(), SendRefused>;
}

/// A message to be sent.
#[derive(Clone, Debug, Default)]
pub struct Outgoing<'a> {
    /// A fixed partition; otherwise the key places it by murmur2 as in Java.
    pub partition: Option<i32>,
    /// See [`RawMessage::key`].
    pub key: Option<&'a [u8]>,
    /// See [`RawMessage::payload`].
    pub payload: Option<&'a [u8]>,
    /// Go along unchanged.
    pub headers: Headers,
    /// Absent means the time of sending.
    pub timestamp: Option<Timestamp>,
}

/// Why a message did not enter the producer's buffer.
#[derive(Debug)]
pub enum SendRefused {
    /// No room: wait for [`Sink::room`] and try again.
    Full,
    /// It would never be accepted.
    Failed(TransportError),
}

/// Reads outside any group.
pub trait Reader: Send {
    /// The next message of any of the partitions; `None` when `within` passed without one.
    fn next(&mut self, within: Duration) -> BoxFuture<'_, Result<Option<Read>, TransportError>>;
}

/// What a [`Reader`] came upon.
#[derive(Clone, Debug)]
pub enum Read {
    /// A message.
    Message(TopicPartition, OwnedMessage),
    /// The partition's end as of now.
    End(TopicPartition),
}

/// Where to begin to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest message kept.
    Earliest,
    /// Only what comes from now on.
    Latest,
    /// This offset.
    Offset(i64),
}

/// The oldest kept offset and the high watermark of each partition.
pub type Watermarks = BTreeMap<TopicPartition, (i64, i64)>;

/// Look-ups and declarations.
pub trait Admin: Send + Sync {
    /// The topics of these names that exist, or all; by name, with their partition counts.
    fn topics(&self, names: Option<Vec<String>>) -> BoxFuture<'_, Result<BTreeMap<String, i32>, TransportError>>;

    /// Creates topics; one that exists already is left as it is and is no error.
    fn create(&self, topics: Vec<NewTopic>) -> BoxFuture<'_, Result<(), TransportError>>;

    /// Deletes topics; one that does not exist is no error.
    fn delete(&self, topics: Vec<String>) -> BoxFuture<'_, Result<(), TransportError>>;

    /// Deletes the messages before these offsets for good. Messages that are gone already are no error.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](TransportErrorKind::OffsetOutOfRange) for an offset above the high watermark.
    fn delete_records(&self, before: BTreeMap<TopicPartition, i64>) -> BoxFuture<'_, Result<(), TransportError>>;

    /// The ids of those of these topics that exist, as Kafka's own tools write them: a topic that was deleted and created
    /// again has another one. Empty for a topic of a broker from before Kafka 2.8, which knows no ids.
    fn topic_ids(&self, names: Vec<String>) -> BoxFuture<'_, Result<BTreeMap<String, String>, TransportError>>;

    /// The oldest kept offset and the high watermark of each.
    fn watermarks(&self, of: Vec<TopicPartition>) -> BoxFuture<'_, Result<Watermarks, TransportError>>;

    /// The value of one configuration, such as `cleanup.policy`, of each of these topics; those that do not exist, or
    /// do not tell, are left out.
    fn configs(
        &self,
        topics: Vec<String>,
        name: &'static str,
    ) -> BoxFuture<'_, Result<BTreeMap<String, String>, TransportError>>;

    /// What the group has committed; partitions without a commit are left out.
    fn committed(
        &self,
        group: &str,
        of: Vec<TopicPartition>,
    ) -> BoxFuture<'_, Result<BTreeMap<TopicPartition, Committed>, TransportError>>;

    /// Every consumer group, by name, with the number of its members. A group of KIP-848's protocol may be told as empty.
    fn groups(&self) -> BoxFuture<'_, Result<BTreeMap<String, usize>, TransportError>>;

    /// Deletes a group with all that it has committed; one that does not exist is no error.
    ///
    /// # Errors
    /// [`Fatal`](TransportErrorKind::Fatal) for a group that has members.
    fn delete_group(&self, group: &str) -> BoxFuture<'_, Result<(), TransportError>>;
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication: i16,
    /// Kafka's own names, such as `retention.ms`.
    pub configs: BTreeMap<String, String>,
}

/// A group that cannot be deleted yet.
pub(super) fn has_members(group: &str) -> TransportError {
    TransportError::fatal(format!("deletion of group `{group}`"), "it has members: stop its workers first")
}

/// A topic's id (KIP-516) as text.
pub(super) fn topic_id_text(id: u128) -> String {
    if id == 0 { String::new() } else { BASE64_URL_SAFE_NO_PAD.encode(id.to_be_bytes()) }
}
