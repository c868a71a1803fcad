//! A producer and a consumer on librdkafka that do nothing but send and receive, for the comparison of brokers.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use faust_bench::{BoxError, WITHIN, assign, client, consumer_settings, finish, mix, send, to_the_ends};
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

const USAGE: &str = "usage: bench-throughput BOOTSTRAP COMMAND
  produce TOPIC BYTES COUNT CODEC    sends COUNT messages of BYTES bytes in batches of 256 KB; prints the seconds
  consume TOPIC BYTES COUNT          receives the messages, which must be as many and as long; prints the seconds";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [bootstrap, "produce", topic, bytes, count, codec] => produce(bootstrap, topic, bytes, count, codec),
        [bootstrap, "consume", topic, bytes, count] => consume(bootstrap, topic, bytes, count),
        _ => Err(USAGE.into()),
    };
    finish("bench-throughput", done)
}

fn produce(bootstrap: &str, topic: &str, bytes: &str, count: &str, codec: &str) -> Result<Value, BoxError> {
    let (bytes, count): (usize, u64) = (bytes.parse()?, count.parse()?);
    let producer: BaseProducer = client(bootstrap)
        .set("enable.idempotence", "true")
        .set("compression.codec", codec)
        .set("batch.size", "262144")
        .set("batch.num.messages", "100000")
        .set("linger.ms", "100")
        .set("queue.buffering.max.messages", "500000")
        .set("queue.buffering.max.kbytes", "65536")
        .create()?;
    let partitions = partitions(&producer, topic)?;
    let text = text(bytes * 1000);
    let began = Instant::now();
    for index in 0..count {
        if index % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
        // A thousand messages go to a partition in turn, so that batches are full whatever their size.
        let partition = i32::try_from(index / 1000 % partitions)?;
        let from = mix(index) as usize % (text.len() - bytes);
        let payload = &text[from..from + bytes];
        send(&producer, BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(payload))?;
    }
    producer.flush(WITHIN)?;
    Ok(json!({ "seconds": began.elapsed().as_secs_f64() }))
}

fn consume(bootstrap: &str, topic: &str, bytes: &str, count: &str) -> Result<Value, BoxError> {
    let (bytes, count): (usize, u64) = (bytes.parse()?, count.parse()?);
    let consumer: BaseConsumer = consumer_settings(bootstrap, "50").create()?;
    let partitions = assign(&consumer, topic)?;
    let (began, mut received) = (Instant::now(), 0);
    to_the_ends(&consumer, partitions, |message| {
        received += 1;
        if message.payload_len() != bytes {
            return Err(format!("a message has {} bytes", message.payload_len()).into());
        }
        Ok(())
    })?;
    if received != count {
        return Err(format!("received {received} messages of {count}").into());
    }
    Ok(json!({ "seconds": began.elapsed().as_secs_f64() }))
}

fn partitions(producer: &BaseProducer, topic: &str) -> Result<u64, BoxError> {
    let metadata = producer.client().fetch_metadata(Some(topic), WITHIN)?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    if partitions == 0 {
        return Err(format!("the topic {topic} does not exist").into());
    }
    Ok(partitions as u64)
}

/// Returns text of words of six letters, which a codec reduces to about a third.
fn text(length: usize) -> Vec<u8> {
    let word = |index: u64| {
        let chosen = mix(index) % 4096;
        format!("{:05x} ", mix(chosen) & 0xf_ffff)
    };
    (0..).flat_map(|index| word(index).into_bytes()).take(length).collect()
}
