//! The broker as a pure state machine: time is an argument, randomness comes from a seed, and the caller does the
//! waiting.
//!
//! It uses no sockets, threads or clocks. Times are milliseconds since the Unix epoch. Operations never block; those
//! whose response may be delayed (`JoinGroup`, `SyncGroup`) return a [`Token`], and [`BrokerCore::take_completed`]
//! returns the responses that are ready.

pub(crate) mod advice;
mod admission;
pub mod batch;
pub(crate) mod broker_config;
pub(crate) mod broker_values;
pub(crate) mod change;
mod code;
mod compaction;
mod compression;
pub(crate) mod config;
mod edit;
mod group;
mod log;
mod partition;
pub(crate) mod pattern;
mod producer_state;
pub mod records;
mod scan;
mod segment;
pub(crate) mod storage;
pub(crate) mod summary;
mod topic;
mod transactions;
mod verification;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;

pub use self::admission::{AppendRules, CheckedBatch, RejectedRecord, Rejection};
pub use self::batch::Batch;
pub use self::change::Committed;
pub use self::code::{ErrorCode, code_of};
pub use self::compression::Compression;
pub use self::config::{ConfigKey, ConfigKind, TOPIC_CONFIGS};
pub use self::edit::ConfigEdit;
pub use self::group::{
    CommittedOffset, Completed, ConsumerHeartbeat, ConsumerReply, DescribedConsumer, DescribedConsumerGroup,
    DescribedGroup, DescribedMember, GroupState, GroupSummary, JoinRefusal, JoinReply, JoinRequest, JoinedMember,
    MemberRef, OffsetToCommit, SyncReply, SyncRequest, Token, TopicPartition,
};
pub use self::log::{AbortedTransaction, Appended, FoundOffset, OffsetSpec, Read};
pub use self::records::marker::Outcome;
pub use self::records::{Producer, Record};
pub use self::topic::{Refusal, Topic, TopicSpec};
pub use self::transactions::{Phase, ProducerIdentity, TransactionView};

#[cfg(feature = "server")]
pub(crate) use self::group::{GROUP_CONFIGS, GroupKey};
#[cfg(feature = "server")]
pub(crate) use self::producer_state::ActiveProducer;
#[cfg(feature = "server")]
pub(crate) use self::topic::check_name;

use self::broker_values::BrokerValues;
use self::change::Change;
use self::group::Groups;
use self::log::{CompactionLimits, Log, Marks};
use self::storage::{LogStorage, MemoryStorage};
use self::transactions::Transactions;
use self::verification::Unverified;

/// Leader epoch of every partition. It never changes, because a single node leads all partitions.
pub const LEADER_EPOCH: i32 = 0;

/// Number of producer ids reserved per journal entry, so that most allocations need no write.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// Settings of a [`BrokerCore`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CoreConfig {
    /// Seed for the ids of topics and members. The same seed and the same calls give the same broker.
    pub seed: u64,
    /// Memory for the keys that compaction collects, in bytes. A log whose keys need more is compacted in several
    /// passes.
    pub compaction_bytes: usize,
    /// Number of bytes that compaction reads before it lets requests pass.
    pub compaction_step_bytes: usize,
    /// Size in bytes of the part of an active segment that a checkpoint leaves unsynced: a start reads it in milliseconds.
    pub(crate) unsynced_bytes: u64,
    /// Broker configs by Kafka's names, which have been checked.
    pub(crate) configs: BTreeMap<String, String>,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            compaction_bytes: 64 * 1024 * 1024,
            compaction_step_bytes: 1024 * 1024,
            unsynced_bytes: 16 * 1024 * 1024,
            configs: BTreeMap::new(),
        }
    }
}

impl CoreConfig {
    /// Returns the default settings with a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Sets a config of the broker by Kafka's name, such as `group.min.session.timeout.ms`.
    ///
    /// # Errors
    /// `InvalidConfig` if the name is unknown, the config cannot be set, or the value is invalid.
    pub fn with_config(mut self, name: &str, value: &str) -> Result<Self, Refusal> {
        broker_config::check_at_start(name, value)?;
        self.configs.insert(name.to_owned(), value.to_owned());
        Ok(self)
    }
}

/// A single-node broker: its topics, groups, transactions and producer ids.
#[derive(Debug)]
pub struct BrokerCore {
    cluster_id: String,
    topics: BTreeMap<String, Topic>,
    topic_names: HashMap<u128, String>,
    /// Number of changes of topics since the start: creations, deletions and new partitions.
    catalog_version: u64,
    groups: Groups,
    transactions: Transactions,
    /// The values of the broker's configs.
    values: BrokerValues,
    random: Random,
    next_producer_id: i64,
    /// Ids below this one are reserved in the journal.
    noted_producer_ids: i64,
    storage: Box<dyn LogStorage>,
    compaction: CompactionLimits,
    /// See [`CoreConfig`].
    unsynced_bytes: u64,
    /// The parts of the logs whose checksums are still to be verified.
    unverified: VecDeque<Unverified>,
}

impl BrokerCore {
    /// Creates an empty broker that keeps all data in memory.
    #[must_use]
    pub fn new(config: CoreConfig) -> Self {
        Self::empty(config, Box::new(MemoryStorage))
    }

    fn empty(config: CoreConfig, storage: Box<dyn LogStorage>) -> Self {
        let mut random = Random(config.seed);
        let cluster_id = format!("faust-{:016x}", random.next());
        let compaction = CompactionLimits { memory: config.compaction_bytes, step_bytes: config.compaction_step_bytes };
        let values = BrokerValues::new(config.configs);
        Self {
            cluster_id,
            topics: BTreeMap::new(),
            topic_names: HashMap::new(),
            catalog_version: 0,
            groups: Groups::new(&values),
            transactions: Transactions::default(),
            values,
            random,
            next_producer_id: 1,
            noted_producer_ids: 1,
            storage,
            compaction,
            unsynced_bytes: config.unsynced_bytes,
            unverified: VecDeque::new(),
        }
    }

    /// Restores the broker of an earlier run from `storage` and the `changes` recorded there.
    pub(crate) fn restore(config: CoreConfig, storage: Box<dyn LogStorage>, changes: Vec<Change>) -> io::Result<Self> {
        let mut broker = Self::empty(config, storage);
        let has_id = changes.iter().any(|change| matches!(change, Change::Cluster { .. }));
        let mut marks = HashMap::new();
        for change in changes {
            broker.apply(change, &mut marks);
        }
        if !has_id {
            broker.storage.record(&Change::Cluster { id: broker.cluster_id.clone() })?;
        }
        broker.apply_topic_defaults();
        let logs = broker.topics.values().map(|topic| topic.logs.len()).sum();
        let mut recovered = 0;
        for (name, topic) in &mut broker.topics {
            for partition in 0..topic.partitions() {
                let trusted = topic.recover(name, partition, &marks, broker.storage.as_mut())?;
                broker.unverified.extend(trusted);
                recovered += 1;
                broker.storage.has_recovered(recovered, logs);
            }
        }
        let seen = broker.topics.values().filter_map(Topic::max_producer_id).max().unwrap_or(0);
        if seen >= broker.next_producer_id {
            // The reservation of these ids is lost. An id that is used twice would make records look like duplicates.
            broker.next_producer_id = seen + PRODUCER_ID_BLOCK;
            broker.noted_producer_ids = broker.next_producer_id;
        }
        broker.recover_transactions();
        Ok(broker)
    }

    /// Syncs everything, and records that the broker has been stopped. Nothing may be written afterwards.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        let mut ends = Vec::new();
        self.topics.values_mut().for_each(|topic| {
            topic.sync(0, &mut ends);
            topic.logs.iter_mut().for_each(Log::summarize);
        });
        self.storage.close(&ends)
    }

    /// Requests a sync of the active segments that have grown, and records how far the logs are synced. After a crash, the
    /// next start verifies only what came later.
    pub(crate) fn checkpoint(&mut self) {
        let mut ends = Vec::new();
        self.topics.values_mut().for_each(|topic| topic.sync(self.unsynced_bytes, &mut ends));
        if let Err(error) = self.storage.checkpoint(&ends) {
            tracing::warn!(%error, "cannot record what is synced; after a crash, the next start takes longer");
        }
    }

    /// Closes files that can be opened again, because the process has too many of them open.
    pub(crate) fn release_files(&mut self) {
        self.storage.release_files();
    }

    fn apply(&mut self, change: Change, marks: &mut HashMap<(String, i32), Marks>) {
        match change {
            Change::Cluster { id } => self.cluster_id = id,
            Change::TopicCreated { name, id, partitions, configs } => {
                if self.topics.get(&name).is_some_and(|former| former.id() != id.0) {
                    // The journal has lost its deletion, and what was recorded about it must not apply to this one.
                    self.apply(Change::TopicDeleted { name: name.clone() }, marks);
                }
                self.topic_names.insert(id.0, name.clone());
                self.topics.insert(name, Topic::new(id.0, partitions, configs, &self.values));
            }
            Change::TopicDeleted { name } => {
                if let Some(topic) = self.topics.remove(&name) {
                    self.topic_names.remove(&topic.id());
                }
                marks.retain(|(topic, _), _| *topic != name);
                self.groups.forget_topic(&name);
                self.transactions.forget_topic(&name);
            }
            Change::PartitionsAdded { name, partitions } => {
                if let Some(topic) = self.topics.get_mut(&name) {
                    topic.grow(partitions);
                }
            }
            Change::ConfigsSet { name, configs } => {
                if let Some(topic) = self.topics.get_mut(&name) {
                    topic.set_configs(configs, &self.values);
                }
            }
            Change::LogStart { topic, partition, offset } => {
                marks.entry((topic, partition)).or_default().start = offset;
            }
            Change::LogCleaned { topic, partition, offset } => {
                marks.entry((topic, partition)).or_default().clean = offset;
            }
            Change::ProducerIds { next } => {
                self.next_producer_id = next;
                self.noted_producer_ids = next;
            }
            Change::BrokerConfigsSet { scope, configs } => self.values.set_dynamic(scope, configs),
            change @ (Change::TransactionNoted { .. }
            | Change::PartitionsEnlisted { .. }
            | Change::GroupEnlisted { .. }
            | Change::TransactionForgotten { .. }) => self.transactions.apply(change),
            change => self.groups.apply(change),
        }
    }

    /// Returns the whole state except the records, as changes that recreate it from an empty broker.
    pub(crate) fn snapshot(&self) -> Vec<Change> {
        let mut changes = vec![
            Change::Cluster { id: self.cluster_id.clone() },
            Change::ProducerIds { next: self.noted_producer_ids },
        ];
        self.values.snapshot(&mut changes);
        for (name, topic) in &self.topics {
            topic.snapshot(name, &mut changes);
        }
        self.groups.snapshot(&mut changes);
        self.transactions.snapshot(&mut changes);
        changes
    }

    /// Returns the cluster id. It is persistent if the broker is stored on disk.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Allocates an id for an idempotent producer, whose epoch is 0.
    ///
    /// # Errors
    /// `StorageError` if the reservation of ids cannot be recorded.
    pub fn init_producer_id(&mut self) -> Result<i64, ErrorCode> {
        if self.next_producer_id >= self.noted_producer_ids {
            let next = self.next_producer_id + PRODUCER_ID_BLOCK;
            self.note(&Change::ProducerIds { next })?;
            self.noted_producer_ids = next;
        }
        let id = self.next_producer_id;
        self.next_producer_id += 1;
        Ok(id)
    }

    /// Advances the time: removes members whose session has expired, completes rebalances that have timed out, and aborts
    /// transactions that have.
    pub fn tick(&mut self, now_ms: i64) {
        self.groups.tick(now_ms);
        self.note_groups(now_ms);
        self.tick_transactions(now_ms);
    }

    /// Runs the periodic cleanup: retention, expiry of committed offsets and of inactive producers, journal snapshots and
    /// compaction.
    pub fn clean(&mut self, now_ms: i64) {
        self.expire_offsets(now_ms);
        self.clean_quickly(now_ms);
        for (topic, partition) in self.dirty_logs(now_ms) {
            while self.compact_step(&topic, partition, now_ms) {}
        }
    }

    /// Does the work of [`clean`](Self::clean) except the expiry of offsets, which has an interval of its own, and
    /// compaction, which may take long and is run in steps.
    pub(crate) fn clean_quickly(&mut self, now_ms: i64) {
        self.apply_retention(now_ms);
        self.expire_transactional_ids(now_ms);
        if self.storage.wants_snapshot() {
            self.shorten_journal();
        }
    }

    pub(crate) fn shorten_journal(&mut self) {
        let snapshot = self.snapshot();
        if let Err(error) = self.storage.replace_changes(&snapshot) {
            tracing::error!(%error, "cannot shorten the journal; it keeps growing");
        }
    }

    /// Takes the responses to earlier tokens that are ready. Call it after every group operation and every tick.
    pub fn take_completed(&mut self) -> Vec<(Token, Completed)> {
        self.groups.take_completed()
    }

    fn note(&mut self, change: &Change) -> Result<(), ErrorCode> {
        note(self.storage.as_mut(), change)
    }
}

fn note(storage: &mut dyn LogStorage, change: &Change) -> Result<(), ErrorCode> {
    storage.record(change).map_err(|error| {
        tracing::error!(%error, advice = advice::advice(&error), "cannot write the journal");
        ErrorCode::StorageError
    })
}

/// A SplitMix64 generator. Ids must be unique, but they need not be secret.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number in the format of a version 4 UUID, which is never zero.
    fn next_uuid(&mut self) -> u128 {
        let number = (u128::from(self.next()) << 64) | u128::from(self.next());
        (number & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62)
    }
}
