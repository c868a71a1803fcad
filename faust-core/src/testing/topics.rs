//! The topics of a test driver: creates them, and sends, reads and inspects their messages.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;

use super::driver::TestDriver;
use super::position::committed_position;
use crate::codec::{Coder, Data, Role};
use crate::error::{Error, TransportError};
use crate::message::{Headers, Offset, OwnedMessage};
use crate::time::Timestamp;
use crate::topic::{SendOptions, Topic};
use crate::transport::{Committed, NewTopic, PROMPT, Read, StartAt, TopicPartition, Transport};

/// A message as stored in a topic.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TestMessage {
    /// Partition of the message.
    pub partition: i32,
    /// Offset within the partition.
    pub offset: Offset,
    /// Timestamp of the message.
    pub timestamp: Timestamp,
    /// Key, if there is one.
    pub key: Option<Vec<u8>>,
    /// Payload; `None` for a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Headers of the message.
    pub headers: Headers,
}

impl TestDriver {
    /// Creates a topic. Topics that the app declares are created when a worker starts, unless they exist.
    ///
    /// # Errors
    /// Returns an error if Kafka would reject the name or the number of partitions.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.create_topic("numbers", 2)?;
    /// let worker = driver.start_worker()?;
    /// assert_eq!(driver.assignment(worker).len(), 2);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Result<(), Error> {
        let topic = NewTopic { name: name.to_owned(), partitions, replication: 1, configs: BTreeMap::new() };
        let admin = self.cluster.admin()?;
        let created = admin.create(vec![topic]).now_or_never();
        created.unwrap_or(Ok(())).map_err(Error::from)
    }

    /// Sends a message to a topic, with the driver's time as its timestamp.
    ///
    /// # Errors
    /// Returns an error if the topic does not exist, or if the key or the value cannot be encoded.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.create_topic("prices", 1)?;
    /// driver.send("prices", &"tea".to_owned(), &3)?;
    /// assert_eq!(driver.read::<String, i64>("prices")?, [("tea".to_owned(), 3)]);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn send<K: Data, V: Data>(&mut self, topic: &str, key: &K, value: &V) -> Result<(), Error> {
        self.send_with(topic, key, value, |message| message)
    }

    /// Deletes a topic with all its messages. A topic that does not exist is ignored.
    ///
    /// # Errors
    /// Never fails at present.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.create_topic("prices", 1)?;
    /// driver.delete_topic("prices")?;
    /// assert!(driver.messages("prices").is_err());
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn delete_topic(&mut self, topic: &str) -> Result<(), Error> {
        let deleted = self.cluster.admin()?.delete(vec![topic.to_owned()]).now_or_never();
        Ok(deleted.unwrap_or(Ok(()))?)
    }

    /// Sends a message to a topic with a given partition, timestamp or headers.
    ///
    /// # Errors
    /// Same as [`send`](Self::send).
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.create_topic("prices", 2)?;
    /// driver.send_with("prices", &"tea".to_owned(), &3, |message| message.partition(1).header("source", "test"))?;
    /// let message = &driver.messages("prices")?[0];
    /// assert_eq!((message.partition, message.headers.get_str("source")), (1, Some("test")));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn send_with<K: Data, V: Data>(
        &mut self,
        topic: &str,
        key: &K,
        value: &V,
        options: impl FnOnce(SendOptions) -> SendOptions,
    ) -> Result<(), Error> {
        let topic = Topic::<K, V>::outside(topic, &self.outbox)?;
        // Inside the runtime, where timestamps come from the driver's clock.
        self.runtime.block_on(async { topic.send_with(key, value, options).await })
    }

    /// Returns the decoded keys and values of all messages in a topic, partition by partition.
    ///
    /// # Errors
    /// Returns an error if the topic does not exist, or if a message cannot be decoded as these types.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.start_worker()?;
    /// driver.send("numbers", &"a".to_owned(), &1)?;
    /// driver.send("numbers", &"a".to_owned(), &2)?;
    /// driver.run_until_idle();
    /// let doubled = driver.read::<String, i64>("doubled")?;
    /// assert_eq!(doubled, [("a".to_owned(), 2), ("a".to_owned(), 4)]);
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn read<K: Data, V: Data>(&mut self, topic: &str) -> Result<Vec<(K, V)>, Error> {
        let fault = |why: String| Error::Misuse(format!("topic `{topic}`: {why}"));
        let key: Coder<K> = Coder::resolve(None, Role::Key).map_err(|why| fault(why.to_string()))?;
        let value: Coder<V> = Coder::resolve(None, Role::Value).map_err(|why| fault(why.to_string()))?;
        let decode = |message: TestMessage| {
            let key = key.decode(message.key.as_deref())?;
            Ok((key, value.decode(message.payload.as_deref())?))
        };
        let decoded: Result<_, crate::codec::DecodeError> = self.messages(topic)?.into_iter().map(decode).collect();
        decoded.map_err(|why| fault(why.to_string()))
    }

    /// Returns all messages in a topic without decoding them, partition by partition.
    ///
    /// # Errors
    /// Returns an error if the topic does not exist.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, Offset, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.create_topic("prices", 1)?;
    /// driver.send("prices", &"tea".to_owned(), &3)?;
    /// let message = &driver.messages("prices")?[0];
    /// assert_eq!((message.partition, message.offset, message.timestamp), (0, Offset(0), driver.now()));
    /// assert_eq!((message.key.as_deref(), message.payload.as_deref()), (Some(&b"tea"[..]), Some(&b"3"[..])));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn messages(&mut self, topic: &str) -> Result<Vec<TestMessage>, Error> {
        let partitions = self.partitions(topic)?;
        let mut reader =
            self.cluster.read(partitions.iter().map(|p| (p.clone(), StartAt::Earliest)).collect(), PROMPT)?;
        let mut found = Vec::new();
        let mut open = partitions.len();
        while open > 0 {
            // The loop ends when every partition has reported its end, so a read never has to wait.
            match self.runtime.block_on(async { reader.next(Duration::ZERO).await })? {
                Some(Read::Message(partition, message)) => found.push(TestMessage::new(&partition, message)),
                Some(Read::End(_)) => open -= 1,
                None => break,
            }
        }
        found.sort_by_key(|message| (message.partition, message.offset));
        Ok(found)
    }

    /// Returns the offsets that the app has committed for a topic, by partition.
    ///
    /// # Errors
    /// Returns an error if the topic does not exist.
    ///
    /// # Examples
    /// ```
    /// use std::collections::BTreeMap;
    /// use faust::{App, Offset, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.create_topic("numbers", 1)?;
    /// driver.start_worker()?;
    /// driver.send("numbers", &"a".to_owned(), &21)?;
    /// driver.commit();
    /// assert_eq!(driver.committed("numbers")?, BTreeMap::from([(0, Offset(1))]));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn committed(&mut self, topic: &str) -> Result<BTreeMap<i32, Offset>, Error> {
        Ok(self.commits(topic)?.into_iter().map(|(partition, committed)| (partition, committed.offset)).collect())
    }

    /// Returns the next offset of an agent in each partition of a topic, as far as it is committed. It may be ahead of the
    /// [`committed`](Self::committed) offset, which is that of the slowest agent.
    ///
    /// # Errors
    /// Returns an error if the topic does not exist.
    ///
    /// # Examples
    /// ```
    /// use std::collections::BTreeMap;
    /// use faust::{App, Offset, testing::{TestDriver, examples::double}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
    /// driver.create_topic("numbers", 1)?;
    /// driver.start_worker()?;
    /// driver.send("numbers", &"a".to_owned(), &21)?;
    /// driver.commit();
    /// assert_eq!(driver.positions("numbers", "double")?, BTreeMap::from([(0, Offset(1))]));
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn positions(&mut self, topic: &str, agent: &str) -> Result<BTreeMap<i32, Offset>, Error> {
        let position = |(partition, committed): (i32, Committed)| {
            Some((partition, committed_position(&committed.metadata, topic, agent)?))
        };
        Ok(self.commits(topic)?.into_iter().filter_map(position).collect())
    }

    fn commits(&mut self, topic: &str) -> Result<BTreeMap<i32, Committed>, Error> {
        let partitions = self.partitions(topic)?;
        let group = self.app.settings().group();
        let committed = self
            .cluster
            .admin()?
            .committed(&group, partitions)
            .now_or_never()
            .unwrap_or_else(|| Ok(BTreeMap::new()))?;
        Ok(committed.into_iter().map(|(partition, committed)| (partition.partition, committed)).collect())
    }

    fn partitions(&self, topic: &str) -> Result<Vec<TopicPartition>, Error> {
        let admin = self.cluster.admin()?;
        let found = admin.topics(Some(vec![topic.to_owned()])).now_or_never().unwrap_or_else(|| Ok(BTreeMap::new()))?;
        let count =
            found.get(topic).ok_or_else(|| TransportError::fatal(format!("topic `{topic}`"), "it does not exist"))?;
        Ok((0..*count).map(|partition| TopicPartition::new(topic, partition)).collect())
    }
}

impl TestMessage {
    fn new(partition: &TopicPartition, message: OwnedMessage) -> Self {
        Self {
            partition: partition.partition,
            offset: message.offset,
            timestamp: message.timestamp,
            key: message.key.map(Into::into),
            payload: message.payload.map(Into::into),
            headers: message.headers,
        }
    }
}
