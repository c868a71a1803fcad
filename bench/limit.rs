//! The upper limit for a framework: the filter, written by hand for speed, in one thread.
//!
//! It uses `BaseConsumer::poll`, `from_utf8` and `from_str` into the struct, encoding, and `BaseProducer` with the URI as
//! key: no futures, no hand-over between threads, no groups, no commits. The librdkafka settings and the allocator are
//! those of the framework.

use std::process::ExitCode;
use std::time::Duration;

use faust_bench::{BoxError, Click, WITHIN, assign, consumer_settings, send, to_the_ends};
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message};

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, input, output] = &arguments[..] else {
        return usage();
    };
    match run(bootstrap, input, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

fn run(bootstrap: &str, input: &str, output: &str) -> Result<(), BoxError> {
    let consumer: BaseConsumer = consumer_settings(bootstrap, "50").create()?;
    let producer: BaseProducer = producer_settings(bootstrap).create()?;
    let partitions = assign(&consumer, input)?;
    let mut buffer = Vec::new();
    to_the_ends(&consumer, partitions, |message| {
        producer.poll(Duration::ZERO);
        let click: Click = serde_json::from_str(std::str::from_utf8(message.payload().unwrap_or_default())?)?;
        if click.number >= 100 {
            buffer.clear();
            serde_json::to_writer(&mut buffer, &click)?;
            send(&producer, BaseRecord::to(output).key(&click.uri).payload(&buffer))?;
        }
        Ok(())
    })?;
    producer.flush(WITHIN)?;
    Ok(())
}

// The framework's settings that affect speed: see faust-core/src/transport/kafka/config.rs.
fn producer_settings(bootstrap: &str) -> ClientConfig {
    let settings = [
        ("bootstrap.servers", bootstrap),
        ("enable.idempotence", "true"),
        ("partitioner", "murmur2_random"),
        ("linger.ms", "5"),
        ("batch.num.messages", "10000"),
        ("message.max.bytes", "1048576"),
        ("queue.buffering.max.messages", "100000"),
        ("queue.buffering.max.kbytes", "65536"),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[allow(clippy::print_stderr, reason = "a program for the terminal")]
fn usage() -> ExitCode {
    eprintln!("usage: bench-limit BOOTSTRAP INPUT-TOPIC OUTPUT-TOPIC");
    ExitCode::from(2)
}

#[allow(clippy::print_stderr, reason = "a program for the terminal")]
fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("bench-limit: {error}");
    ExitCode::FAILURE
}
