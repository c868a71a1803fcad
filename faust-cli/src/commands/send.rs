//! `send TOPIC VALUE`: sends messages to a topic.

use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use faust_core::message::Headers;
use faust_core::time::{Timestamp, parse_duration};
use faust_core::transport::{self, Delivery, NewTopic, Outage, Outgoing, Sink, SinkTopic};
use tokio::time::Instant;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::global::pair;
use crate::output::Output;

/// Options of `send`.
#[derive(clap::Args, Debug)]
pub(crate) struct SendArgs {
    /// Topic to send to
    topic: String,
    /// Message to send unchanged; `-` sends each line of standard input as a message
    value: String,
    /// Key, which determines the partition unless --partition is given
    #[arg(short, long)]
    key: Option<String>,
    /// Header; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// Partition to send to, regardless of the key
    #[arg(long, value_name = "N")]
    partition: Option<i32>,
    /// Timestamp of the message, in milliseconds since the Unix epoch; greater than 0
    #[arg(long, value_name = "MS")]
    timestamp: Option<i64>,
    /// Number of times to send the message
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    repeat: u64,
    /// Fail if the messages are not delivered within this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

pub(crate) async fn run(args: SendArgs, mut context: Context) -> Result<(), Failure> {
    let began = Instant::now();
    let mut client = Client::find(context.resolve()?, args.timeout, &context.out).await?;
    // A broker that does not answer is the error of this request, which has the same timeout.
    let partitions = ensure_topic(&mut client, &context.out, &args.topic).await?;
    if let Some(partition) = args.partition.filter(|partition| !(0..partitions).contains(partition)) {
        let (topic, last) = (&args.topic, partitions - 1);
        return Err(Failure::error(format!("topic `{topic}` has partitions 0 to {last}, not {partition}")));
    }
    let outage = client.transport.outage();
    let work = send_all(&args, &mut client);
    let sent = match args.timeout {
        Some(timeout) => {
            tokio::time::timeout_at(began + timeout, work).await.map_err(|_| undelivered(timeout, &outage))??
        }
        None => work.await?,
    };
    context.out.note(format!("sent {sent} message{} to `{}`", if sent == 1 { "" } else { "s" }, args.topic));
    Ok(())
}

fn undelivered(timeout: Duration, outage: &Outage) -> Failure {
    let text = format!("not all messages were delivered within {timeout:?}");
    match (outage.cause(), outage.advice()) {
        (None, _) => Failure::error(text),
        (Some(_), None) => Failure::error(format!("{text}; {outage}")),
        (Some(_), Some(advice)) => Failure::error(format!("{text}; {outage}; {advice}")),
    }
}

/// Returns the number of partitions of the topic. Creates the topic if it does not exist and the settings allow it.
async fn ensure_topic(client: &mut Client, out: &Output, topic: &str) -> Result<i32, Failure> {
    let admin = client.transport.admin()?;
    let names = Some(vec![topic.to_owned()]);
    let found = client.retry(|| admin.topics(names.clone())).await?;
    if let Some(partitions) = found.get(topic) {
        return Ok(*partitions);
    }
    if !client.settings.topic_allow_declare {
        return Err(Failure::error(format!(
            "topic `{topic}` does not exist, and `topic_allow_declare` forbids creating it: create it, or allow it"
        )));
    }
    let new = NewTopic {
        name: topic.to_owned(),
        partitions: client.settings.topic_partitions,
        replication: client.settings.topic_replication_factor,
        configs: Default::default(),
    };
    client.retry(|| admin.create(vec![new.clone()])).await?;
    out.note(format!("created topic `{topic}` with {} partitions", new.partitions));
    Ok(new.partitions)
}

/// Sends all messages, waits until they are delivered, and returns their number.
async fn send_all(args: &SendArgs, client: &mut Client) -> Result<u64, Failure> {
    let what = "the delivery of messages";
    let sink = client.transport.sink()?;
    let topic = sink.topic(&args.topic)?;
    let delivery = Delivery::new();
    let mut sent = 0;
    if args.value == "-" {
        let mut lines = lines();
        while let Some(line) = lines.recv().await {
            let line = line?;
            for _ in 0..args.repeat {
                client.watch(what, send(args, line.as_bytes(), &*sink, &*topic, &delivery)).await?;
                sent += 1;
            }
        }
    } else {
        for _ in 0..args.repeat {
            client.watch(what, send(args, args.value.as_bytes(), &*sink, &*topic, &delivery)).await?;
            sent += 1;
        }
    }
    client.watch(what, delivery.all()).await?;
    // The process is about to end: closing the producer takes 100 ms and more, and there is nothing left for it to do.
    std::mem::forget((sink, topic));
    Ok(sent)
}

/// Returns the lines of standard input. A separate thread reads them, because a blocking read cannot be cancelled.
fn lines() -> tokio::sync::mpsc::Receiver<std::io::Result<String>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1024);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Enqueues a message, and waits while the queue of the producer is full.
async fn send(
    args: &SendArgs,
    value: &[u8],
    sink: &dyn Sink,
    topic: &dyn SinkTopic,
    delivery: &Arc<Delivery>,
) -> Result<(), Failure> {
    let headers = args.headers.iter().fold(Headers::new(), |headers, (name, value)| headers.with(name, value.clone()));
    let message = Outgoing {
        partition: args.partition,
        key: args.key.as_ref().map(String::as_bytes),
        payload: Some(value),
        headers,
        timestamp: args.timestamp.map(Timestamp),
        last_header: None,
    };
    Ok(transport::send(sink, topic, &message, delivery).await?)
}
