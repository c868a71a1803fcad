//! The transactions of a worker under exactly-once: each commit is one, with the messages and table changes of all its cuts.
//!
//! A transaction is open only while a commit is in progress. It begins once every cut is taken, so it never waits for user code, and
//! it contains whole events with their positions. The steps after an error are those of the classes of
//! [`TransactionErrorKind`].

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::cut::{CommittedOffsets, Cut};
use super::open_transaction::OpenTransaction;
use super::ownership::Ownership;
use super::partition::TaskPartition;
use crate::error::{Error, TransportError, TransportErrorKind};
use crate::stats::Stats;
use crate::transport::{
    Group, PROGRESS_INTERVAL, Retries, TopicPartition, TransactionError, TransactionErrorKind, Transactions, Transport,
    with_progress,
};

/// Maximum time for the acknowledgement of a transaction's messages. The brokers abort it after ten seconds.
const ARRIVAL_WITHIN: Duration = Duration::from_secs(8);
/// Pause between two looks for topics that did not exist.
const TOPICS_LOOK: Duration = Duration::from_secs(5);
/// Number of producers lost in a row after which the worker stops: another one has its name.
const MAX_LOSSES: u32 = 5;
/// Number of producers with a call that hangs after which the worker stops: each of them leaves a thread behind.
const MAX_HUNG: u32 = 3;

/// The maker of a worker's transactions. There is one at a time.
pub(crate) struct Transactor {
    transport: Arc<dyn Transport>,
    group: Arc<dyn Group>,
    group_name: String,
    ownership: Arc<Ownership>,
    stats: Arc<Stats>,
    /// Reports permanent failures to the worker.
    failed: mpsc::UnboundedSender<Error>,
    /// The transactional id.
    id: String,
    producer: tokio::sync::Mutex<Option<Arc<dyn Transactions>>>,
    /// Number of producers lost since the last commit.
    losses: AtomicU32,
    /// Number of producers with a call that has not returned.
    hung: AtomicU32,
    /// The worker was told to end. The outcome of the last transaction may be unknown.
    has_stopped: AtomicBool,
    running: Mutex<Vec<AbortHandle>>,
    missing: Mutex<MissingTopics>,
}

/// The topics that have been found not to exist any more, and the time of that look.
struct MissingTopics {
    topics: BTreeSet<Arc<str>>,
    looked_at: Instant,
}

/// The end of a transaction that was not committed.
enum NotCommitted {
    /// It has to be aborted. The same cuts are committed again.
    Abort(TransportError),
    /// The producer is lost, and the outcome unknown.
    Lost(TransactionError),
    /// A fault that every further attempt would meet.
    Stop(Error),
}

impl From<TransactionError> for NotCommitted {
    fn from(error: TransactionError) -> Self {
        match error.kind {
            TransactionErrorKind::Abortable => Self::Abort(error.error),
            TransactionErrorKind::Lost | TransactionErrorKind::Hung => Self::Lost(error),
            TransactionErrorKind::Refused => Self::Stop(error.error.into()),
        }
    }
}

/// Resolves when the caller of a commit has given up waiting for it.
type Abandoned = oneshot::Receiver<Infallible>;

impl Transactor {
    /// Creates a transactor with a transactional id and its producer, which is initialized already, for a member of a group with a
    /// name. Permanent failures are reported to `failed`.
    pub(crate) fn new(
        (id, producer): (String, Arc<dyn Transactions>),
        transport: Arc<dyn Transport>,
        (group, group_name): (Arc<dyn Group>, String),
        ownership: Arc<Ownership>,
        stats: &Arc<Stats>,
        failed: &mpsc::UnboundedSender<Error>,
    ) -> Arc<Self> {
        Arc::new(Self {
            transport,
            group,
            group_name,
            ownership,
            stats: Arc::clone(stats),
            failed: failed.clone(),
            id,
            producer: tokio::sync::Mutex::new(Some(producer)),
            losses: AtomicU32::new(0),
            hung: AtomicU32::new(0),
            has_stopped: AtomicBool::new(false),
            running: Mutex::default(),
            missing: Mutex::new(MissingTopics { topics: BTreeSet::new(), looked_at: Instant::now() }),
        })
    }

    /// Commits cuts in one transaction. The tasks learn the result. If the future is dropped, the transaction is aborted, unless its
    /// commit has been requested: its outcome is awaited then.
    pub(crate) async fn commit(self: &Arc<Self>, cuts: Vec<Cut>) -> CommittedOffsets {
        if cuts.is_empty() {
            return CommittedOffsets::new();
        }
        self.spawn(Content { cuts, ..Content::default() }).await
    }

    /// Commits offsets of these partitions alone. Returns those that were committed: all or none, except for topics that were
    /// deleted.
    pub(super) async fn commit_offsets(
        self: &Arc<Self>,
        offsets: CommittedOffsets,
        parts: Vec<TaskPartition>,
    ) -> CommittedOffsets {
        self.spawn(Content { offsets, parts, ..Content::default() }).await
    }

    async fn spawn(self: &Arc<Self>, content: Content) -> CommittedOffsets {
        // Held until the end.
        let (_caller, abandoned) = oneshot::channel();
        let running = tokio::spawn(Arc::clone(self).run(content, abandoned));
        self.note(running.abort_handle());
        running.await.unwrap_or_default()
    }

    fn note(&self, running: AbortHandle) {
        let mut all = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|handle| !handle.is_finished());
        all.push(running);
    }

    /// Ends all transactions in progress as the end of the process would.
    pub(crate) fn end(&self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|handle| handle.abort());
    }

    async fn run(self: Arc<Self>, mut content: Content, mut abandoned: Abandoned) -> CommittedOffsets {
        let mut held = tokio::select! {
            biased;
            held = self.producer.lock() => held,
            _ = &mut abandoned => return content.resolve(&CommittedOffsets::new()),
        };
        let committed = self.transact(&mut held, &mut content, &mut abandoned).await;
        // The next transaction may begin.
        drop(held);
        content.resolve(&committed)
    }

    /// Makes a transaction, and takes the steps that follow its failure. Returns the committed offsets.
    async fn transact(
        &self,
        held: &mut Option<Arc<dyn Transactions>>,
        content: &mut Content,
        abandoned: &mut Abandoned,
    ) -> CommittedOffsets {
        // IMPORTANT: the worker commits once more when it ends. If the last transaction was committed, that would be its repetition.
        if self.has_stopped.load(Ordering::Relaxed) {
            return CommittedOffsets::new();
        }
        let producer = match held.take() {
            Some(producer) => producer,
            None => {
                let opened = tokio::select! {
                    biased;
                    opened = self.open() => opened,
                    _ = &mut *abandoned => return CommittedOffsets::new(),
                };
                match opened {
                    Ok(producer) => producer,
                    Err(error) => return self.stop(error),
                }
            }
        };
        let mut failed = match self.attempt(&*producer, content, abandoned).await {
            Ok(offsets) => {
                *held = Some(producer);
                self.losses.store(0, Ordering::Relaxed);
                return offsets;
            }
            Err(failed) => failed,
        };
        if let NotCommitted::Abort(error) = &failed {
            self.report(error);
            failed = match self.abort(&*producer, content).await {
                Ok(()) => {
                    // IMPORTANT: a spent one loses messages of the next transaction.
                    *held = Some(producer).filter(|producer| !producer.is_spent());
                    self.look_for_topics(&content.requested).await;
                    return CommittedOffsets::new();
                }
                // The transaction of a producer that cannot abort it is aborted by the next one.
                Err(NotCommitted::Abort(error)) => {
                    NotCommitted::Lost(TransactionError { kind: TransactionErrorKind::Lost, error })
                }
                Err(other) => other,
            };
        }
        match failed {
            NotCommitted::Lost(error) => {
                drop(producer);
                self.replace(held, error, content).await
            }
            NotCommitted::Stop(error) => {
                // The others do not wait for its timeout. If this fails, they do.
                drop(producer.abort().await);
                self.stop(error)
            }
            // Replaced above.
            NotCommitted::Abort(error) => self.stop(error.into()),
        }
    }

    /// Makes a transaction. Returns the committed offsets.
    async fn attempt(
        &self,
        producer: &dyn Transactions,
        content: &mut Content,
        abandoned: &mut Abandoned,
    ) -> Result<CommittedOffsets, NotCommitted> {
        self.leave_out_given_away(&mut content.cuts);
        self.leave_out_missing(&mut content.cuts).await;
        if content.cuts.is_empty() && content.offsets.is_empty() {
            return Ok(CommittedOffsets::new());
        }
        let cuts = &mut content.cuts;
        producer.begin().await?;
        let (sink, _guard) = OpenTransaction::of(producer.sink());
        cuts.iter_mut().for_each(|cut| cut.send_in(&sink));
        self.arrived(cuts, abandoned).await?;
        // IMPORTANT: before the ownership is checked. If a partition is given away after that, the member's generation has passed.
        let member = self.group.membership();
        let given_away = content.given_away(&self.ownership);
        if let Some(partition) = given_away.first() {
            return Err(NotCommitted::Abort(rebalanced(format!("{partition} was given away"))));
        }
        let mut offsets = content.offsets.clone();
        for cut in &content.cuts {
            offsets.extend(cut.to_commit().map_err(NotCommitted::Stop)?);
        }
        offsets.retain(|partition, _| !self.is_missing(partition));
        let member =
            member.ok_or_else(|| NotCommitted::Abort(rebalanced("the worker is no member of the group".to_owned())))?;
        if !matches!(abandoned.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
            return Err(NotCommitted::Abort(rebalanced("the time for it has passed".to_owned())));
        }
        content.requested = offsets.clone();
        producer.send_offsets(member, offsets.clone()).await?;
        producer.commit().await?;
        if !content.cuts.is_empty() {
            self.stats.committed();
        }
        Ok(offsets)
    }

    /// Aborts a transaction. Afterwards, nothing more of its content is sent.
    async fn abort(&self, producer: &dyn Transactions, content: &Content) -> Result<(), NotCommitted> {
        producer.abort().await?;
        // The attempt's guard is dropped, so the writers fail at their next message, if they are still sending.
        let ended = join_all(content.cuts.iter().map(Cut::arrived));
        if timeout(ARRIVAL_WITHIN, ended).await.is_ok() {
            return Ok(());
        }
        let why = format!("messages of the aborted transaction did not end within {ARRIVAL_WITHIN:?}");
        let error = TransportError::retriable("the transaction", why);
        Err(NotCommitted::Lost(TransactionError { kind: TransactionErrorKind::Lost, error }))
    }

    /// Waits until every message is acknowledged.
    async fn arrived(&self, cuts: &mut [Cut], abandoned: &mut Abandoned) -> Result<(), NotCommitted> {
        let arrived = async {
            let all = join_all(cuts.iter().map(Cut::arrived));
            let all = with_progress(all, PROGRESS_INTERVAL, || {
                let left: u64 = cuts.iter().map(Cut::pending).sum();
                tracing::warn!("the commit is waiting for {left} messages that the brokers have not acknowledged");
            });
            timeout(ARRIVAL_WITHIN, all).await.is_ok()
        };
        let is_complete = tokio::select! {
            biased;
            is_complete = arrived => is_complete,
            _ = abandoned => return Err(NotCommitted::Abort(rebalanced("the time for it has passed".to_owned()))),
        };
        if !is_complete {
            let left: u64 = cuts.iter().map(Cut::pending).sum();
            let why = format!("{left} messages were not acknowledged within {ARRIVAL_WITHIN:?}");
            return Err(NotCommitted::Abort(TransportError::retriable("the transaction", why)));
        }
        // A producer accepts the commit of a transaction of which a message was refused.
        let undelivered: Vec<_> = cuts.iter_mut().filter_map(Cut::leave_out_refused).collect();
        undelivered.into_iter().next().map_or(Ok(()), |error| Err(NotCommitted::Abort(error)))
    }

    /// Takes the cuts out whose partitions were given away meanwhile: their next owner reads the events again.
    fn leave_out_given_away(&self, cuts: &mut Vec<Cut>) {
        let is_owned = |cut: &Cut| cut.given_away(&self.ownership).next().is_none();
        let (owned, given_away): (Vec<_>, Vec<_>) = std::mem::take(cuts).into_iter().partition(is_owned);
        if !given_away.is_empty() {
            tracing::warn!(
                "{} partitions were given away before they could be committed: their next owner reads the events again",
                given_away.iter().flat_map(|cut| cut.given_away(&self.ownership)).count()
            );
        }
        given_away.into_iter().for_each(|cut| cut.resolve(false));
        *cuts = owned;
    }

    /// Takes the cuts out all of whose topics were deleted: there is nothing to commit their positions to.
    async fn leave_out_missing(&self, cuts: &mut Vec<Cut>) {
        if self.missing().topics.is_empty() {
            return;
        }
        if self.missing().looked_at.elapsed() >= TOPICS_LOOK {
            self.look_for_topics(&CommittedOffsets::new()).await;
        }
        let is_missing = |cut: &Cut| cut.partitions().all(|partition| self.is_missing(partition));
        let (missing, rest): (Vec<_>, Vec<_>) = std::mem::take(cuts).into_iter().partition(is_missing);
        missing.into_iter().for_each(|cut| cut.resolve(false));
        *cuts = rest;
    }

    /// Finds out which topics of these offsets, and of those that were missing before, do not exist: a broker refuses all offsets
    /// of a transaction because of one.
    async fn look_for_topics(&self, offsets: &CommittedOffsets) {
        let mut names = self.missing().topics.clone();
        names.extend(offsets.keys().map(|partition| Arc::clone(&partition.topic)));
        if names.is_empty() {
            return;
        }
        let Ok(admin) = self.transport.admin() else { return };
        let found = admin.topics(Some(names.iter().map(ToString::to_string).collect())).await;
        // Without an answer, the next transaction is aborted as well.
        let Ok(found) = found else { return };
        let topics: BTreeSet<_> = names.into_iter().filter(|name| !found.contains_key(&**name)).collect();
        let mut missing = self.missing();
        if !topics.is_empty() && missing.topics != topics {
            let names = topics.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
            tracing::warn!("the offsets of {names} are not committed: the topics do not exist any more");
        }
        *missing = MissingTopics { topics, looked_at: Instant::now() };
    }

    fn is_missing(&self, partition: &TopicPartition) -> bool {
        self.missing().topics.contains(&partition.topic)
    }

    fn missing(&self) -> MutexGuard<'_, MissingTopics> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces a lost producer, which ends its transaction. Returns what that has committed.
    async fn replace(
        &self,
        held: &mut Option<Arc<dyn Transactions>>,
        lost: TransactionError,
        content: &Content,
    ) -> CommittedOffsets {
        let losses = self.losses.fetch_add(1, Ordering::Relaxed) + 1;
        if lost.kind == TransactionErrorKind::Hung {
            self.stats.producer_hung();
            if self.hung.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_HUNG {
                return self.stop(Error::Misuse(format!(
                    "{lost}; {MAX_HUNG} calls of the Kafka client have not returned, and their threads are left behind: restart the worker"
                )));
            }
        }
        if losses >= MAX_LOSSES {
            return self.stop(Error::Misuse(format!(
                "{lost}; {losses} producers in a row were fenced, so another worker has the same transactional id `{}`: give each worker of the app its own `worker_name`",
                self.id
            )));
        }
        tracing::warn!(
            "{lost}; a new producer takes over, and the committed offsets show whether the transaction was committed"
        );
        // After the initialization: it ends the transaction of the former producer.
        match self.open().await {
            Ok(producer) => *held = Some(producer),
            Err(error) => return self.stop(error),
        }
        match self.committed(content).await {
            Ok(committed) => {
                let outcome =
                    if committed.is_empty() { "not committed: the same is committed again" } else { "committed" };
                tracing::info!("the transaction was {outcome}");
                committed
            }
            Err(error) => self.stop(error),
        }
    }

    async fn open(&self) -> Result<Arc<dyn Transactions>, Error> {
        let mut retries = Retries::default().of(self.transport.outage());
        loop {
            match self.transport.transactions(&self.id).await {
                Ok(producer) => return Ok(producer),
                Err(TransactionError { kind: TransactionErrorKind::Refused, error }) => return Err(error.into()),
                Err(error) => {
                    retries.pause(&format!("waiting for the broker to initialize transactions: {error}")).await
                }
            }
        }
    }

    /// Looks up which of the cuts' offsets are committed, by their metadata: no two commits have the same.
    async fn committed(&self, content: &Content) -> Result<CommittedOffsets, Error> {
        let mut wanted = content.requested.clone();
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let admin = self.transport.admin()?;
        let partitions: Vec<TopicPartition> = wanted.keys().cloned().collect();
        let mut retries = Retries::default().of(self.transport.outage());
        let what = "the broker to look up whether a transaction was committed";
        let found: BTreeMap<_, _> = retries.run(what, || admin.committed(&self.group_name, partitions.clone())).await?;
        wanted.retain(|partition, offset| found.get(partition) == Some(offset));
        Ok(wanted)
    }

    fn report(&self, error: &TransportError) {
        self.stats.transaction_aborted();
        match error.kind {
            TransportErrorKind::Rebalanced => {
                tracing::info!("the transaction is aborted due to a rebalance: {error}");
            }
            _ => tracing::warn!("the transaction is aborted, and the same is committed again: {error}"),
        }
    }

    /// Stops the worker. Nothing more is committed.
    fn stop(&self, error: Error) -> CommittedOffsets {
        self.has_stopped.store(true, Ordering::Relaxed);
        // An error means that the worker has ended already.
        drop(self.failed.send(error));
        CommittedOffsets::new()
    }
}

/// The content of a transaction: the cuts of tasks, and offsets without messages.
#[derive(Default)]
struct Content {
    cuts: Vec<Cut>,
    offsets: CommittedOffsets,
    /// The partitions of these offsets.
    parts: Vec<TaskPartition>,
    /// The offsets that the transaction was asked to commit, if it has come to that.
    requested: CommittedOffsets,
}

impl Content {
    /// Returns the partitions that were given away since they were assigned.
    fn given_away(&self, ownership: &Ownership) -> Vec<TopicPartition> {
        let of_cuts = self.cuts.iter().flat_map(|cut| cut.given_away(ownership));
        let others = self.parts.iter().filter(|part| !part.is_owned(ownership)).map(|part| part.reader.partition());
        of_cuts.chain(others).cloned().collect()
    }

    /// Ends the cuts: each is confirmed if one of its topics has accepted it.
    fn resolve(self, committed: &CommittedOffsets) -> CommittedOffsets {
        for cut in self.cuts {
            let is_confirmed = cut.is_confirmed_by(committed);
            cut.resolve(is_confirmed);
        }
        committed.clone()
    }
}

fn rebalanced(why: String) -> TransportError {
    TransportError { what: "the transaction".to_owned(), why, kind: TransportErrorKind::Rebalanced }
}
