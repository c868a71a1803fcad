//! Membership in a consumer group: one consumer, which a thread of its own polls continuously.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{debug, error, warn};

use super::blocking::beside;
use super::config::{GroupProtocol, KafkaConfig};
use super::connection::ConnectionWatch;
use super::errors::{failed, refused, unusable};
use super::native::{GroupConsumer, member_id};
use super::offsets::{committed, to_commit};
use super::rebalance::GroupContext;
use crate::error::{TransportError, TransportErrorKind};
use crate::transport::outage::Outage;
use crate::transport::port::{Committed, Group, GroupListener, RefusedOffsets, Subscription, TopicPartition};
use crate::transport::transaction::GroupMembership;

/// Maximum duration of one poll, and so the maximum delay of a request to leave.
const POLL: Duration = Duration::from_millis(100);
/// Interval at which pending queues and a thread of the runtime are woken, in case a wake-up was lost, and unavailable brokers are
/// probed.
const TICK: Duration = Duration::from_secs(1);

/// A member of a group.
pub(super) struct KafkaGroup {
    name: String,
    member: Weak<GroupConsumer<GroupContext>>,
    request_timeout: Duration,
    signal: Arc<AtomicU8>,
    ended: watch::Receiver<bool>,
}

const RUN: u8 = 0;
const LEAVE: u8 = 1;
const ABANDON: u8 = 2;

impl KafkaGroup {
    /// Starts the consumer and its thread. Assigned partitions are passed to `listener`.
    pub(super) fn join(
        config: &Arc<KafkaConfig>,
        outage: &Arc<Outage>,
        subscription: Subscription,
        listener: Arc<dyn GroupListener>,
    ) -> Result<Self, TransportError> {
        let what = format!("joining group `{}`", subscription.group);
        let runtime = Handle::try_current().map_err(|error| TransportError::fatal(&*what, error))?;
        let context = GroupContext {
            listener,
            config: Arc::clone(config),
            group: subscription.group.clone(),
            topics: subscription.topics,
            runtime,
            nonce: RandomState::new().hash_one(()) as u16,
            connection: ConnectionWatch::default(),
            outage: Arc::clone(outage),
            suspicion: Mutex::default(),
            member: OnceLock::new(),
            readers: Mutex::default(),
            membership: Mutex::default(),
            rejoin: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
        };
        let client = config.member(&subscription.group, subscription.partitions);
        let consumer: BaseConsumer<_> =
            client.create_with_context(context).map_err(|error| unusable(&*what, &error))?;
        let member =
            GroupConsumer::resetting(consumer, |context| &context.topics).map_err(|code| refused(&*what, code))?;
        let member = Arc::new(member);
        // Set once, before the first poll.
        drop(member.consumer().context().member.set(Arc::downgrade(&member)));
        let (end, ended) = watch::channel(false);
        let signal = Arc::new(AtomicU8::new(RUN));
        let group = Self {
            name: subscription.group,
            member: Arc::downgrade(&member),
            request_timeout: config.request_timeout,
            signal: Arc::clone(&signal),
            ended,
        };
        let mut poller = Poller { member, signal, ticked: Instant::now() };
        poller.subscribe().map_err(|error| failed(&*what, &error))?;
        let thread = std::thread::Builder::new().name("faust-consumer".to_owned());
        let run = move || {
            poller.run();
            drop(poller);
            end.send_replace(true);
        };
        thread.spawn(run).map_err(|error| TransportError::fatal(what, error))?;
        Ok(group)
    }

    fn end(&self, how: u8) {
        self.signal.fetch_max(how, Ordering::Relaxed);
    }
}

impl fmt::Debug for KafkaGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaGroup({})", self.name)
    }
}

impl Drop for KafkaGroup {
    fn drop(&mut self) {
        self.end(LEAVE);
    }
}

impl crate::transport::port::Sealed for KafkaGroup {}

impl Group for KafkaGroup {
    fn commit(
        &self,
        offsets: BTreeMap<TopicPartition, Committed>,
    ) -> BoxFuture<'_, Result<RefusedOffsets, TransportError>> {
        let what = format!("commit of group `{}`", self.name);
        let (member, within) = (self.member.upgrade(), self.request_timeout);
        async move {
            let Some(member) = member else {
                let why = "the consumer has left the group".to_owned();
                return Err(TransportError { what, why, kind: TransportErrorKind::Rebalanced });
            };
            if offsets.is_empty() {
                return Ok(RefusedOffsets::new());
            }
            let of_commit = what.clone();
            let commit = move || commit(member.consumer(), &offsets, &of_commit, within);
            let commit = tokio::task::spawn_blocking(commit);
            match tokio::time::timeout(within, commit).await {
                Ok(Ok(committed)) => committed,
                Ok(Err(error)) => Err(TransportError::fatal(what, error)),
                Err(_) => Err(TransportError::retriable(what, format!("no answer within {within:?}"))),
            }
        }
        .boxed()
    }

    fn membership(&self) -> Option<GroupMembership> {
        let member = self.member.upgrade()?;
        let context = member.consumer().context();
        let at_assignment = context.membership().clone()?;
        match context.config.group_protocol {
            GroupProtocol::Classic => Some(at_assignment),
            // The epoch of a member advances without a callback, and brokers before Kafka 4.3 refuse an earlier one. It has lost
            // its partitions before it has the epoch in which it rejoins, and the caller looks after this call what it owns.
            GroupProtocol::Consumer => member.consumer().group_metadata().map(GroupMembership::new),
        }
    }

    fn member_id(&self) -> BoxFuture<'_, Option<String>> {
        let member = self.member.upgrade();
        async move {
            let member = member?;
            // librdkafka asks its own thread.
            beside("lookup of the member's id", move || Ok(member_id(member.consumer()))).await.ok()?
        }
        .boxed()
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        self.end(LEAVE);
        let mut ended = self.ended.clone();
        async move {
            // An error means that the thread has panicked, which ends the membership as well.
            drop(ended.wait_for(|ended| *ended).await);
        }
        .boxed()
    }

    fn abandon(&self) {
        self.end(ABANDON);
        if let Some(member) = self.member.upgrade() {
            member.consumer().context().abandoned.store(true, Ordering::Relaxed);
            member.abandon();
        }
    }
}

fn commit(
    consumer: &BaseConsumer<GroupContext>,
    offsets: &BTreeMap<TopicPartition, Committed>,
    what: &str,
    within: Duration,
) -> Result<RefusedOffsets, TransportError> {
    let list = to_commit(offsets).map_err(|error| failed(what, &error))?;
    match consumer.commit(&list, CommitMode::Sync) {
        // All offsets were committed already.
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(RefusedOffsets::new()),
        Err(error) => partly_refused(consumer, offsets, failed(what, &error), within),
    }
}

/// Finds out which offsets a failed commit concerns: librdkafka reports the refusal of one as the error of all. Offsets that
/// were accepted are found with their metadata, which no other commit has.
fn partly_refused(
    consumer: &BaseConsumer<GroupContext>,
    offsets: &BTreeMap<TopicPartition, Committed>,
    error: TransportError,
    within: Duration,
) -> Result<RefusedOffsets, TransportError> {
    if error.kind == TransportErrorKind::Rebalanced || offsets.len() == 1 {
        return Err(error);
    }
    let partitions: Vec<_> = offsets.keys().cloned().collect();
    let Ok(committed) = committed(consumer, &partitions, within) else { return Err(error) };
    let is_refused = |(partition, offset): &(&TopicPartition, &Committed)| committed.get(partition) != Some(offset);
    let refused: RefusedOffsets =
        offsets.iter().filter(is_refused).map(|(partition, _)| (partition.clone(), error.clone())).collect();
    if refused.len() == offsets.len() { Err(error) } else { Ok(refused) }
}

/// State of the thread that owns the consumer.
struct Poller {
    member: Arc<GroupConsumer<GroupContext>>,
    signal: Arc<AtomicU8>,
    ticked: Instant,
}

impl Poller {
    fn run(&mut self) {
        loop {
            match self.signal.load(Ordering::Relaxed) {
                RUN => self.poll(),
                LEAVE => return self.leave(),
                _ => return self.abandon(),
            }
            if self.ticked.elapsed() >= TICK {
                self.ticked = Instant::now();
                self.tick();
            }
        }
    }

    fn subscribe(&self) -> Result<(), KafkaError> {
        let consumer = self.member.consumer();
        let topics: Vec<&str> = consumer.context().topics.keys().map(|topic| &**topic).collect();
        consumer.subscribe(&topics)
    }

    fn poll(&self) {
        let consumer = self.member.consumer();
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                // The message was fetched between an assignment and the split of its queue, and the seek did not
                // invalidate it. This queue has no reader, so the message is fetched again.
                let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
                error!(target: "faust::kafka", "{topic}[{partition}] was read before its queue was split; reading offset {offset} again");
                if let Err(error) = consumer.seek(topic, partition, rdkafka::Offset::Offset(offset), TICK) {
                    consumer
                        .context()
                        .listener
                        .failed(failed(format!("seek of {topic}[{partition}] to {offset}"), &error));
                }
            }
            Some(Err(error)) => self.fault(&error),
        }
    }

    fn fault(&self, error: &KafkaError) {
        let context = self.member.consumer().context();
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let is_new_protocol = context.config.group_protocol == GroupProtocol::Consumer;
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnsupportedVersion | RDKafkaErrorCode::UnsupportedFeature) if is_new_protocol => {
                context.listener.failed(TransportError::fatal(
                    format!("joining group `{}`", context.group),
                    format!("{error}: the brokers do not have the group protocol `consumer` (KIP-848), or it is switched off there: set `group_protocol` to `classic`, or use Kafka 4 or later"),
                ));
            }
            Some(RDKafkaErrorCode::UnreleasedInstanceId) => context.listener.failed(TransportError::fatal(
                format!("joining group `{}`", context.group),
                format!("{error}: another worker with this `consumer_group_instance_id` is a member: give each worker its own, or wait until the session of one that has crashed has ended"),
            )),
            Some(RDKafkaErrorCode::FencedInstanceId) => context.listener.failed(TransportError::fatal(
                format!("membership in group `{}`", context.group),
                format!("{error}: another worker with this `consumer_group_instance_id` has joined: give each worker its own"),
            )),
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::InvalidGroupId
                | RDKafkaErrorCode::InvalidSessionTimeout
                | RDKafkaErrorCode::InconsistentGroupProtocol
                | RDKafkaErrorCode::UnsupportedAssignor,
            ) => context
                .listener
                .failed(TransportError { kind: TransportErrorKind::Fatal, ..failed("consuming", error) }),
            _ if fatal => context
                .listener
                .failed(TransportError { kind: TransportErrorKind::Fatal, ..failed("consuming", error) }),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                debug!(target: "faust::kafka", "one of the topics {:?} does not exist yet", context.topics.keys());
            }
            // The context reports lost connections; librdkafka recovers from all other errors itself.
            _ => debug!(target: "faust::kafka", "{error}"),
        }
    }

    fn tick(&self) {
        let consumer = self.member.consumer();
        let context = consumer.context();
        for reader in context.readers().values() {
            reader.wake();
        }
        // One idle thread of Tokio waits for the timers and sockets of all. If a timer wakes an agent that then blocks this thread, no
        // other one takes its place until it is woken: the control loop would stand still. A task from outside wakes one.
        drop(context.runtime.spawn(async {}));
        self.probe();
        if context.rejoin.swap(false, Ordering::Relaxed) {
            consumer.unsubscribe();
            if let Err(error) = self.subscribe() {
                context.listener.failed(failed("joining the group again", &error));
            }
        }
    }

    /// Checks whether the brokers are available, unless they are known to be.
    fn probe(&self) {
        let consumer = self.member.consumer();
        let context = consumer.context();
        let suspicion = context.suspicion().take();
        if suspicion.is_none() && context.connection.is_up() {
            return;
        }
        let answer = consumer.fetch_metadata(context.topics.keys().next().map(|topic| &**topic), TICK);
        match (answer, suspicion) {
            (Ok(_), _) => context.came_up(),
            (Err(_), Some(reason)) => context.went_down(&reason),
            (Err(_), None) => {}
        }
    }

    fn leave(&self) {
        let context = self.member.consumer().context();
        let is_static = context.config.group_instance_id.is_some();
        if is_static && !self.is_away() {
            self.close();
            return;
        }
        self.member.consumer().unsubscribe();
        self.poll_until(|| context.readers().is_empty());
        // librdkafka 2.12.1 can crash when it leaves a group whose coordinator is unavailable. Without the request, the
        // session times out.
        if self.is_away() || self.signal.load(Ordering::Relaxed) == ABANDON {
            warn!(target: "faust::kafka", "stopped without leaving the group: its partitions are reassigned after the session timeout");
            self.abandon();
        }
        context.readers().clear();
    }

    /// Ends the membership so that the group keeps the partitions of a static member until it returns or its session times out.
    /// To unsubscribe before would tell the group that it leaves.
    fn close(&self) {
        let consumer = self.member.consumer();
        if let Err(error) = consumer.close_queue() {
            debug!(target: "faust::kafka", "{}", failed("closing the consumer", &error));
        }
        self.poll_until(|| consumer.closed());
        // It is closed already, or has taken too long.
        self.abandon();
    }

    fn is_away(&self) -> bool {
        let context = self.member.consumer().context();
        context.connection.is_down() || context.suspicion().is_some()
    }

    /// Serves callbacks until `is_done`, at most for as long as a revocation may take.
    fn poll_until(&self, is_done: impl Fn() -> bool) {
        let consumer = self.member.consumer();
        let deadline = Instant::now() + consumer.context().config.rebalance_budget + TICK;
        while !is_done() && Instant::now() < deadline && self.signal.load(Ordering::Relaxed) == LEAVE {
            if let Some(Err(error)) = consumer.poll(POLL) {
                debug!(target: "faust::kafka", "while leaving: {error}");
            }
        }
    }

    fn abandon(&self) {
        let context = self.member.consumer().context();
        context.abandoned.store(true, Ordering::Relaxed);
        self.member.abandon();
        // Breaks a reference cycle: each reader holds the consumer, which holds the context, which holds the readers.
        context.readers().clear();
    }
}
