//! The broker as a pure state machine: time is an argument, randomness a seed, waiting the caller's business.
//!
//! No socket, no thread, no clock. Times are milliseconds since 1970. Operations return at once; those that Kafka
//! answers late (`JoinGroup`, `SyncGroup`) return a [`Token`], and [`Broker::take_completed`] says when its answer is there.

pub mod batch;
pub(crate) mod change;
mod code;
mod compaction;
pub(crate) mod config;
mod group;
mod log;
mod partition;
mod producer_state;
pub mod records;
mod segment;
pub(crate) mod storage;
mod topic;

use std::collections::{BTreeMap, HashMap};
use std::io;

pub use self::batch::Batch;
pub use self::change::Committed;
pub use self::code::{ErrorCode, code_of};
pub use self::config::{ConfigKey, ConfigKind, TOPIC_CONFIGS};
pub use self::group::{
    CommittedOffset, Completed, DescribedGroup, DescribedMember, GroupState, JoinRefusal, JoinReply, JoinRequest,
    JoinedMember, MemberRef, OffsetToCommit, SyncReply, SyncRequest, Token,
};
pub use self::log::{Appended, FoundOffset, OffsetSpec, Read};
pub use self::records::{Producer, Record};
pub use self::topic::{ConfigEdit, Refusal, Topic, TopicSpec};

use self::change::Change;
use self::group::Groups;
use self::log::Marks;
use self::storage::{MemoryStorage, Storage};

/// The leader epoch of every partition: with one node, leadership never moves.
pub const LEADER_EPOCH: i32 = 0;

/// Producer ids are noted in blocks, so that giving one out costs a write only now and then.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// What a [`Broker`] is started with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CoreConfig {
    /// Seeds the ids of topics and members. The same seed and the same calls give the same broker.
    pub seed: u64,
    /// How long a new group waits for more members before its first assignment, in milliseconds.
    pub initial_rebalance_delay_ms: i64,
    /// The session timeouts that members may ask for, in milliseconds.
    pub session_timeout_ms: std::ops::RangeInclusive<i32>,
    /// What the keys may take that compaction holds in memory, in bytes; a log with more is compacted in several rounds.
    pub compaction_bytes: usize,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            initial_rebalance_delay_ms: 0,
            session_timeout_ms: 1..=1_800_000,
            compaction_bytes: 64 * 1024 * 1024,
        }
    }
}

impl CoreConfig {
    /// The default settings with a seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }
}

/// Topics, groups and producers of one node.
#[derive(Debug)]
pub struct Broker {
    cluster_id: String,
    topics: BTreeMap<String, Topic>,
    topic_names: HashMap<u128, String>,
    groups: Groups,
    random: Random,
    next_producer_id: i64,
    /// Ids below this have been noted as given out.
    noted_producer_ids: i64,
    storage: Box<dyn Storage>,
    compaction_bytes: usize,
}

impl Broker {
    /// An empty broker that keeps everything in memory.
    #[must_use]
    pub fn new(config: CoreConfig) -> Self {
        Self::empty(config, Box::new(MemoryStorage))
    }

    fn empty(config: CoreConfig, storage: Box<dyn Storage>) -> Self {
        let mut random = Random(config.seed);
        let cluster_id = format!("faust-{:016x}", random.next());
        let compaction_bytes = config.compaction_bytes;
        let groups = Groups::new(config);
        Self {
            cluster_id,
            topics: BTreeMap::new(),
            topic_names: HashMap::new(),
            groups,
            random,
            next_producer_id: 1,
            noted_producer_ids: 1,
            storage,
            compaction_bytes,
        }
    }

    /// The broker that an earlier run left in `storage`, from the changes it had noted.
    pub(crate) fn restore(config: CoreConfig, storage: Box<dyn Storage>, changes: Vec<Change>) -> io::Result<Self> {
        let mut broker = Self::empty(config, storage);
        let is_new = changes.is_empty();
        let mut marks = HashMap::new();
        for change in changes {
            broker.apply(change, &mut marks);
        }
        if is_new {
            broker.storage.record(&Change::Cluster { id: broker.cluster_id.clone() })?;
        }
        for (name, topic) in &mut broker.topics {
            topic.recover(name, &marks, broker.storage.as_mut())?;
        }
        Ok(broker)
    }

    fn apply(&mut self, change: Change, marks: &mut HashMap<(String, i32), Marks>) {
        match change {
            Change::Cluster { id } => self.cluster_id = id,
            Change::TopicCreated { name, id, partitions, configs } => {
                self.topic_names.insert(id.0, name.clone());
                self.topics.insert(name, Topic::new(id.0, partitions, configs));
            }
            Change::TopicDeleted { name } => {
                if let Some(topic) = self.topics.remove(&name) {
                    self.topic_names.remove(&topic.id());
                }
                marks.retain(|(topic, _), _| *topic != name);
                self.groups.forget_topic(&name);
            }
            Change::PartitionsAdded { name, partitions } => {
                if let Some(topic) = self.topics.get_mut(&name) {
                    topic.grow(partitions);
                }
            }
            Change::ConfigsSet { name, configs } => {
                if let Some(topic) = self.topics.get_mut(&name) {
                    topic.set_configs(configs);
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
            change => self.groups.apply(change),
        }
    }

    /// Everything there is to know beside the records, as changes that make it from nothing.
    fn snapshot(&self) -> Vec<Change> {
        let mut changes = vec![
            Change::Cluster { id: self.cluster_id.clone() },
            Change::ProducerIds { next: self.noted_producer_ids },
        ];
        for (name, topic) in &self.topics {
            topic.snapshot(name, &mut changes);
        }
        self.groups.snapshot(&mut changes);
        changes
    }

    /// The name of this cluster of one, kept on disk if there is one.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Gives an idempotent producer its id; its epoch is 0.
    ///
    /// # Errors
    /// `StorageError` when the id could not be noted.
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

    /// Lets time pass: members that have not been heard of leave their groups, late rebalances complete.
    pub fn tick(&mut self, now_ms: i64) {
        self.groups.tick(now_ms);
    }

    /// What is due now and then: retention, compaction, producers that have fallen silent, a shorter journal.
    pub fn clean(&mut self, now_ms: i64) {
        self.clean_quickly(now_ms);
        for (topic, partition) in self.dirty_logs(now_ms) {
            while self.compact_step(&topic, partition, now_ms) {}
        }
    }

    /// All of [`clean`](Self::clean) but compaction, which may take long and goes step by step.
    pub(crate) fn clean_quickly(&mut self, now_ms: i64) {
        self.apply_retention(now_ms);
        if self.storage.wants_snapshot() {
            self.shorten_journal();
        }
    }

    pub(crate) fn shorten_journal(&mut self) {
        let snapshot = self.snapshot();
        if let Err(error) = self.storage.replace_changes(&snapshot) {
            tracing::error!(%error, "cannot shorten the journal; it goes on growing");
        }
    }

    /// Answers to tokens that were given out earlier. Call it after every operation on a group and every tick.
    pub fn take_completed(&mut self) -> Vec<(Token, Completed)> {
        self.groups.take_completed()
    }

    fn note(&mut self, change: &Change) -> Result<(), ErrorCode> {
        note(self.storage.as_mut(), change)
    }
}

fn note(storage: &mut dyn Storage, change: &Change) -> Result<(), ErrorCode> {
    storage.record(change).map_err(|error| {
        tracing::error!(%error, "cannot write the journal");
        ErrorCode::StorageError
    })
}

/// SplitMix64: ids must differ, they need not be secret.
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

    /// A number of the form of a version 4 UUID, never zero.
    fn next_uuid(&mut self) -> u128 {
        let number = (u128::from(self.next()) << 64) | u128::from(self.next());
        (number & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62)
    }
}
