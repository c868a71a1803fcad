//! The consumer group of the workers, seen from outside: its members, and what it has committed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::BoxError;
use crate::topics::{APP, INPUT, PARTITIONS, REPARTITION};

/// Time for an answer of the brokers.
const ANSWER: Duration = Duration::from_secs(20);
/// Time without a commit after which the workers are regarded as stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// The group.
pub(crate) struct Group {
    client: BaseConsumer,
}

impl Group {
    pub(crate) fn new(bootstrap: &str) -> Result<Self, BoxError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("group.id", APP)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed");
        Ok(Self { client: config.create()? })
    }

    /// Returns the number of members; `None` while it cannot be determined.
    pub(crate) fn members(&self) -> Option<usize> {
        let groups = self.client.fetch_group_list(Some(APP), ANSWER).ok()?;
        let group = groups.groups().iter().find(|group| group.name() == APP)?;
        (group.state() == "Stable" || group.state() == "Empty").then(|| group.members().len())
    }

    /// Waits until the group has committed the ends of the input and of the repartition topic.
    ///
    /// # Errors
    /// Fails if nothing is committed for two minutes, or if `check` fails.
    pub(crate) fn await_done(&self, mut check: impl FnMut() -> Result<(), BoxError>) -> Result<(), BoxError> {
        let (mut last, mut progress) = (None, Instant::now());
        loop {
            check()?;
            let committed = self.committed().ok();
            if let Some(committed) = &committed
                && self.is_at_the_end(committed)
            {
                return Ok(());
            }
            if committed.is_some() && committed != last {
                (last, progress) = (committed, Instant::now());
            }
            if progress.elapsed() > PATIENCE {
                return Err(
                    format!("the workers are stuck: nothing was committed for {PATIENCE:?}; last: {last:?}").into()
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn committed(&self) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for topic in [INPUT, REPARTITION] {
            list.add_partition_range(topic, 0, PARTITIONS - 1);
        }
        self.client.committed_offsets(list, ANSWER)
    }

    /// Returns whether no partition has a record after its committed offset. The marker of a transaction is none.
    fn is_at_the_end(&self, committed: &TopicPartitionList) -> bool {
        let mut list = TopicPartitionList::new();
        for element in committed.elements() {
            // Nothing was committed for an empty partition.
            let offset = if element.offset() == Offset::Invalid { Offset::Beginning } else { element.offset() };
            if list.add_partition_offset(element.topic(), element.partition(), offset).is_err() {
                return false;
            }
        }
        if self.client.assign(&list).is_err() {
            return false;
        }
        let (mut ended, began) = (BTreeSet::new(), Instant::now());
        // An end is reported without its topic, so ends are counted for both topics by polling until no record has come.
        while ended.len() < list.count() && began.elapsed() < ANSWER {
            match self.client.poll(Duration::from_millis(200)) {
                Some(Ok(_)) => break,
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    let first = (partition, 0);
                    ended.insert(if ended.contains(&first) { (partition, 1) } else { first });
                }
                Some(Err(_)) | None => {}
            }
        }
        let all_ended = ended.len() == list.count();
        // An error means that nothing is assigned; the next look assigns all again.
        drop(self.client.unassign());
        all_ended
    }
}
