//! Reading of whole topics with librdkafka, read_committed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::judge::RecordSource;
use super::record::Record;
use crate::BoxError;
use crate::topics::PARTITIONS;

/// Time without a record, or for an answer of the brokers, after which the reading fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A reader of whole topics.
pub(crate) struct TopicReader {
    committed: BaseConsumer,
    /// Reads nothing; it looks up the ends of all records.
    all: BaseConsumer,
}

impl TopicReader {
    /// Creates a reader for the topics of these brokers.
    ///
    /// # Errors
    /// Fails if the address is invalid.
    pub(crate) fn new(bootstrap: &str) -> Result<Self, BoxError> {
        Ok(Self { committed: consumer(bootstrap, "read_committed")?, all: consumer(bootstrap, "read_uncommitted")? })
    }

    /// The end of a partition for read_committed is before its end for read_uncommitted while a transaction is open.
    fn await_no_open_transaction(&self, topic: &str) -> Result<(), BoxError> {
        let (committed, all) = (&self.committed, &self.all);
        let began = Instant::now();
        for partition in 0..PARTITIONS {
            loop {
                let ends = committed
                    .fetch_watermarks(topic, partition, PATIENCE)
                    .and_then(|(_, stable)| Ok((stable, all.fetch_watermarks(topic, partition, PATIENCE)?.1)));
                match ends {
                    Ok((stable, high)) if stable == high => break,
                    _ if began.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(100)),
                    Ok((stable, high)) => {
                        return Err(format!(
                            "{topic} [{partition}] has an open transaction: its committed end is {stable} of {high}"
                        )
                        .into());
                    }
                    Err(error) => {
                        return Err(format!("cannot look up the end of {topic} [{partition}]: {error}").into());
                    }
                }
            }
        }
        Ok(())
    }
}

fn consumer(bootstrap: &str, isolation: &str) -> Result<BaseConsumer, BoxError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "chaos-verifier")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        // An end is reported after a fetch without records.
        .set("fetch.wait.max.ms", "50")
        // Without these, a full queue stops the fetches for a second.
        .set("queued.min.messages", "1000000")
        .set("fetch.queue.backoff.ms", "10")
        .set("isolation.level", isolation);
    Ok(config.create()?)
}

impl RecordSource for TopicReader {
    fn read(&self, topic: &str, each: &mut dyn FnMut(&Record<'_>)) -> Result<u64, BoxError> {
        self.await_no_open_transaction(topic)?;
        let consumer = &self.committed;
        let mut list = TopicPartitionList::new();
        (0..PARTITIONS).try_for_each(|partition| list.add_partition_offset(topic, partition, Offset::Beginning))?;
        consumer.assign(&list)?;
        let (mut ended, mut count, mut last) = (BTreeSet::new(), 0, Instant::now());
        while ended.len() < usize::try_from(PARTITIONS)? {
            match consumer.poll(Duration::from_millis(500)) {
                Some(Ok(message)) => {
                    each(&Record {
                        topic,
                        partition: message.partition(),
                        offset: message.offset(),
                        key: message.key().unwrap_or_default(),
                        payload: message.payload(),
                        time: message.timestamp().to_millis().unwrap_or(-1),
                    });
                    (count, last) = (count + 1, Instant::now());
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    ended.insert(partition);
                }
                // librdkafka retries by itself.
                Some(Err(_)) | None if last.elapsed() < PATIENCE => {}
                Some(Err(error)) => return Err(format!("cannot read `{topic}`: {error}").into()),
                None => return Err(format!("`{topic}` has neither a record nor an end for {PATIENCE:?}").into()),
            }
        }
        consumer.unassign()?;
        Ok(count)
    }
}
