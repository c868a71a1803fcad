//! Transactions of librdkafka, on our broker and on Apache Kafka: both must do the same.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::peer::{Peer, now_ms, peers};

const TIMEOUT: Duration = Duration::from_secs(60);

type Sender = ThreadedProducer<DefaultProducerContext>;

/// A topic of its own on a broker.
struct Place {
    address: String,
    topic: String,
}

impl Place {
    fn new(peer: &Peer, partitions: i32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let topic = format!("transactions-{}-{}", now_ms(), NEXT.fetch_add(1, Ordering::Relaxed));
        let place = Self { address: peer.address().to_owned(), topic };
        let admin: AdminClient<DefaultClientContext> = place.config().create().unwrap();
        let new = NewTopic::new(&place.topic, partitions, TopicReplication::Fixed(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let created = runtime.block_on(admin.create_topics([&new], &AdminOptions::new())).unwrap();
        assert_eq!(created, [Ok(place.topic.clone())]);
        place
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    /// Returns a producer with a transactional id, which has been initialized.
    fn producer(&self, id: &str, timeout_ms: u32) -> Sender {
        let id = format!("{}-{id}", self.topic);
        let mut config = self.config();
        config.set("transactional.id", id).set("transaction.timeout.ms", timeout_ms.to_string()).set("linger.ms", "0");
        let producer: Sender = config.create().unwrap();
        producer.init_transactions(TIMEOUT).unwrap();
        producer
    }

    fn send(&self, producer: &Sender, partition: i32, text: &str) {
        let record = BaseRecord::to(&self.topic).partition(partition).key("").payload(text);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(TIMEOUT).unwrap();
    }

    fn consumer(&self, group: &str, isolation: &str) -> BaseConsumer {
        self.config()
            .set("group.id", format!("{}-{group}", self.topic))
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap()
    }

    /// Reads a partition to its end.
    fn read(&self, partition: i32, isolation: &str) -> Vec<String> {
        let consumer = self.consumer("reader", isolation);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let mut texts = Vec::new();
        loop {
            match consumer.poll(TIMEOUT).expect("the end of the partition") {
                Err(KafkaError::PartitionEOF(_)) => return texts,
                message => texts.push(String::from_utf8(message.unwrap().payload().unwrap().to_vec()).unwrap()),
            }
        }
    }

    fn committed_offset(&self, consumer: &BaseConsumer) -> Offset {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, 0);
        let found = consumer.committed_offsets(list, TIMEOUT).unwrap();
        found.find_partition(&self.topic, 0).unwrap().offset()
    }
}

fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    error.rdkafka_error_code()
}

#[test]
fn consumers_of_committed_records_see_whole_transactions() {
    for peer in peers() {
        let place = Place::new(&peer, 2);
        let (one, other) = (place.producer("one", 60_000), place.producer("other", 60_000));
        one.begin_transaction().unwrap();
        other.begin_transaction().unwrap();
        place.send(&one, 0, "a");
        place.send(&one, 1, "b");
        place.send(&other, 0, "lost");
        place.send(&one, 0, "c");
        assert_eq!(place.read(0, "read_committed"), [""; 0], "{}", peer.name);
        assert_eq!(place.read(0, "read_uncommitted"), ["a", "lost", "c"], "{}", peer.name);
        one.commit_transaction(TIMEOUT).unwrap();
        assert_eq!(place.read(0, "read_committed"), ["a"], "{}: the other is open", peer.name);
        assert_eq!(place.read(1, "read_committed"), ["b"], "{}", peer.name);
        other.abort_transaction(TIMEOUT).unwrap();
        assert_eq!(place.read(0, "read_committed"), ["a", "c"], "{}", peer.name);
        assert_eq!(place.read(0, "read_uncommitted"), ["a", "lost", "c"], "{}", peer.name);
        one.begin_transaction().unwrap();
        place.send(&one, 0, "d");
        one.commit_transaction(TIMEOUT).unwrap();
        assert_eq!(place.read(0, "read_committed"), ["a", "c", "d"], "{}", peer.name);
        // Markers have offsets: three records, two markers, a record and a marker.
        let ends = one.client().fetch_watermarks(&place.topic, 0, TIMEOUT).unwrap();
        assert_eq!(ends, (0, 7), "{}", peer.name);
    }
}

#[test]
fn a_waiting_consumer_receives_records_when_they_are_committed() {
    for peer in peers() {
        let place = Place::new(&peer, 1);
        let producer = place.producer("a", 60_000);
        let consumer = place.consumer("waiting", "read_committed");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&place.topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        producer.begin_transaction().unwrap();
        place.send(&producer, 0, "x");
        assert!(matches!(consumer.poll(TIMEOUT), Some(Err(KafkaError::PartitionEOF(0)))), "{}", peer.name);
        producer.commit_transaction(TIMEOUT).unwrap();
        let message = consumer.poll(TIMEOUT).expect("a message").unwrap();
        assert_eq!(message.payload(), Some(&b"x"[..]), "{}", peer.name);
    }
}

#[test]
fn a_second_producer_of_an_id_fences_the_first() {
    for peer in peers() {
        let place = Place::new(&peer, 1);
        let first = place.producer("a", 60_000);
        first.begin_transaction().unwrap();
        place.send(&first, 0, "lost");
        let second = place.producer("a", 60_000);
        let fenced = first.commit_transaction(TIMEOUT).unwrap_err();
        let KafkaError::Transaction(fenced) = fenced else { panic!("{}: {fenced}", peer.name) };
        assert!(fenced.is_fatal(), "{}: {fenced}", peer.name);
        assert_eq!(fenced.code(), RDKafkaErrorCode::Fenced, "{}", peer.name);
        second.begin_transaction().unwrap();
        place.send(&second, 0, "kept");
        second.commit_transaction(TIMEOUT).unwrap();
        assert_eq!(place.read(0, "read_committed"), ["kept"], "{}", peer.name);
    }
}

#[test]
fn a_transaction_that_times_out_is_aborted() {
    for peer in peers() {
        let place = Place::new(&peer, 1);
        let slow = place.producer("slow", 1_000);
        slow.begin_transaction().unwrap();
        place.send(&slow, 0, "lost");
        let quick = place.producer("quick", 60_000);
        quick.begin_transaction().unwrap();
        place.send(&quick, 0, "kept");
        quick.commit_transaction(TIMEOUT).unwrap();
        // Kafka looks for such transactions every ten seconds.
        let began = Instant::now();
        while place.read(0, "read_committed") != ["kept"] {
            assert!(began.elapsed() < TIMEOUT, "{}: the transaction is still open", peer.name);
        }
        let fenced = slow.commit_transaction(TIMEOUT).unwrap_err();
        assert_eq!(code(&fenced), Some(RDKafkaErrorCode::Fenced), "{}: {fenced}", peer.name);
    }
}

#[test]
fn offsets_are_committed_with_their_transaction() {
    for peer in peers() {
        let place = Place::new(&peer, 1);
        let producer = place.producer("a", 60_000);
        let consumer = place.consumer("group", "read_committed");
        consumer.subscribe(&[&place.topic]).unwrap();
        // The group's metadata are those of a member.
        while !matches!(consumer.poll(TIMEOUT), Some(Err(KafkaError::PartitionEOF(0)))) {}
        for (offset, commits, expected) in [(1, true, 1), (2, false, 1), (3, true, 3)] {
            producer.begin_transaction().unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&place.topic, 0, Offset::Offset(offset)).unwrap();
            let metadata = consumer.group_metadata().unwrap();
            producer.send_offsets_to_transaction(&list, &metadata, TIMEOUT).unwrap();
            if commits {
                producer.commit_transaction(TIMEOUT).unwrap();
            } else {
                producer.abort_transaction(TIMEOUT).unwrap();
            }
            assert_eq!(place.committed_offset(&consumer), Offset::Offset(expected), "{}", peer.name);
        }
        // A former member of the group is refused, and so is its transaction.
        let metadata = consumer.group_metadata().unwrap();
        consumer.unsubscribe();
        drop(consumer);
        let successor = place.consumer("group", "read_committed");
        successor.subscribe(&[&place.topic]).unwrap();
        while !matches!(successor.poll(TIMEOUT), Some(Err(KafkaError::PartitionEOF(0)))) {}
        producer.begin_transaction().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&place.topic, 0, Offset::Offset(9)).unwrap();
        let refused = producer.send_offsets_to_transaction(&list, &metadata, TIMEOUT).unwrap_err();
        let KafkaError::Transaction(refused) = refused else { panic!("{}: {refused}", peer.name) };
        assert!(refused.txn_requires_abort(), "{}: {refused}", peer.name);
        producer.abort_transaction(TIMEOUT).unwrap();
        assert_eq!(place.committed_offset(&successor), Offset::Offset(3), "{}", peer.name);
    }
}
