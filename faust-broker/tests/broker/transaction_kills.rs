//! Kills of the broker in the middle of librdkafka's transactions: each is there as a whole or not at all, with its offset.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::process::Process;

const TIMEOUT: Duration = Duration::from_secs(120);
/// Messages of a transaction, in turn to each of the partitions.
const MESSAGES: u64 = 6;
const PARTITIONS: i32 = 2;

type Sender = ThreadedProducer<DefaultProducerContext>;

/// The outcome of a transaction, as far as its producer knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Committed,
    Aborted,
    /// The producer failed during the commit.
    InDoubt,
}

fn config(address: SocketAddr) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string()).set("reconnect.backoff.max.ms", "100").set("log_level", "0");
    config
}

fn producer(address: SocketAddr) -> Sender {
    let producer: Sender = config(address).set("transactional.id", "killed").set("linger.ms", "0").create().unwrap();
    while let Err(error) = producer.init_transactions(Duration::from_secs(5)) {
        assert!(is_retriable(&error), "{error}");
    }
    producer
}

fn is_retriable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_retriable())
}

/// Runs transactions until `is_done`, and counts their steps. Returns what is known of each.
fn run(address: SocketAddr, is_done: &AtomicBool, steps: &AtomicU64) -> Vec<Known> {
    let consumer: BaseConsumer = config(address).set("group.id", "g").create().unwrap();
    let mut producer = producer(address);
    let mut known = Vec::new();
    while !is_done.load(Ordering::Relaxed) {
        let number = known.len() as u64;
        let outcome = transaction(&producer, &consumer, number, steps);
        if let Ok(outcome) = outcome {
            known.push(outcome);
        } else {
            known.push(Known::InDoubt);
            producer = self::producer(address);
        }
    }
    known
}

/// Runs one transaction. Fails if the producer cannot go on.
fn transaction(
    producer: &Sender,
    consumer: &BaseConsumer,
    number: u64,
    steps: &AtomicU64,
) -> Result<Known, KafkaError> {
    let step = || steps.fetch_add(1, Ordering::Relaxed);
    producer.begin_transaction()?;
    for message in 0..MESSAGES {
        let partition = i32::try_from(message).unwrap() % PARTITIONS;
        let text = number.to_string();
        producer
            .send(BaseRecord::<(), str>::to("t").partition(partition).payload(&text))
            .map_err(|(error, _)| error)?;
        step();
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", 0, Offset::Offset(i64::try_from(number).unwrap()))?;
    // Without members, the group accepts the offsets of any client.
    let metadata = consumer.group_metadata().expect("the consumer has a group");
    let sent = until_definite(|| producer.send_offsets_to_transaction(&list, &metadata, Duration::from_secs(5)));
    step();
    let committed = sent.and_then(|()| until_definite(|| producer.commit_transaction(Duration::from_secs(5))));
    step();
    match committed {
        Ok(()) => Ok(Known::Committed),
        Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
            until_definite(|| producer.abort_transaction(Duration::from_secs(5)))?;
            Ok(Known::Aborted)
        }
        Err(error) => Err(error),
    }
}

fn until_definite(mut call: impl FnMut() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    loop {
        match call() {
            Err(error) if is_retriable(&error) => {}
            definite => return definite,
        }
    }
}

/// Returns the committed messages of a partition: the numbers of their transactions.
fn committed(address: SocketAddr, partition: i32) -> Vec<u64> {
    let consumer: BaseConsumer = config(address)
        .set("group.id", "reader")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", partition, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let mut found = Vec::new();
    loop {
        match consumer.poll(TIMEOUT).expect("the end of the partition") {
            Err(KafkaError::PartitionEOF(_)) => return found,
            message => found.push(message.unwrap().payload_view::<str>().unwrap().unwrap().parse().unwrap()),
        }
    }
}

fn last_offset(address: SocketAddr) -> i64 {
    let consumer: BaseConsumer = config(address).set("group.id", "g").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition("t", 0);
    let found = consumer.committed_offsets(list, TIMEOUT).unwrap();
    found.find_partition("t", 0).unwrap().offset().to_raw().unwrap()
}

#[test]
#[allow(clippy::print_stdout, reason = "the figures of the run")]
fn transactions_survive_kills_as_a_whole() {
    let kills: u64 = std::env::var("FAUST_TEST_KILLS").map_or(5, |text| text.parse().expect("a number"));
    let directory = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut broker = Process::start(directory.path(), port);
    let address = broker.address;
    let admin: AdminClient<DefaultClientContext> = config(address).create().unwrap();
    let topic = NewTopic::new("t", PARTITIONS, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(admin.create_topics([&topic], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();

    let (is_done, steps) = (AtomicBool::new(false), AtomicU64::new(0));
    let known = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(address, &is_done, &steps));
        for kill in 0..kills {
            // At another step of a transaction each time.
            let until = steps.load(Ordering::Relaxed) + 50 + kill * 3;
            while steps.load(Ordering::Relaxed) < until {
                assert!(!running.is_finished(), "the producer has ended");
                std::thread::yield_now();
            }
            broker.kill();
            broker = Process::start(directory.path(), port);
        }
        is_done.store(true, Ordering::Relaxed);
        running.join().unwrap()
    });

    let count = |outcome| known.iter().filter(|one| **one == outcome).count();
    let (aborted, in_doubt) = (count(Known::Aborted), count(Known::InDoubt));
    println!("{kills} kills, {} transactions: {aborted} aborted, {in_doubt} in doubt", known.len());
    let found = [0, 1].map(|partition| committed(address, partition));
    assert_eq!(found[0], found[1], "a transaction is in both partitions or in none");
    let each = usize::try_from(MESSAGES).unwrap() / usize::try_from(PARTITIONS).unwrap();
    let mut transactions = Vec::new();
    for chunk in found[0].chunks(each) {
        assert!(chunk.len() == each && chunk.iter().all(|number| *number == chunk[0]), "{chunk:?} is not whole");
        transactions.push(chunk[0]);
    }
    assert!(transactions.is_sorted_by(|one, next| one < next), "{transactions:?}");
    for (number, outcome) in (0..).zip(&known) {
        match outcome {
            Known::Committed => assert!(transactions.contains(&number), "transaction {number} is lost"),
            Known::Aborted => assert!(!transactions.contains(&number), "transaction {number} was aborted"),
            Known::InDoubt => {}
        }
    }
    let last = i64::try_from(*transactions.last().unwrap()).unwrap();
    assert_eq!(last_offset(address), last, "the offset of the last transaction");
}
