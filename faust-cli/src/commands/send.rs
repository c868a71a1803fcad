//! `send TOPIC VALUE`: puts messages into a topic.

use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use faust_core::message::Headers;
use faust_core::time::{Timestamp, parse_duration};
use faust_core::transport::{self, Delivery, NewTopic, Outgoing, Sink, SinkTopic};

use crate::args::pair;
use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

/// What to send, and where to.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The topic to send to
    topic: String,
    /// The message, as given; `-` sends each line of standard input
    value: String,
    /// The key, which chooses the partition
    #[arg(short, long)]
    key: Option<String>,
    /// A header; may be given several times
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// The partition, whatever the key says
    #[arg(long, value_name = "N")]
    partition: Option<i32>,
    /// The message's own time, in milliseconds since 1970
    #[arg(long, value_name = "MS")]
    timestamp: Option<i64>,
    /// Send it so many times
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    repeat: u64,
    /// Give up after this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

pub(crate) async fn run(args: Args, mut context: Context) -> Result<(), Failure> {
    let timeout = args.timeout;
    let work = async {
        let mut client = Client::find(context.resolve()?, timeout, &context.out).await?;
        let partitions = existing(&mut client, &context.out, &args.topic).await?;
        if let Some(partition) = args.partition.filter(|partition| !(0..partitions).contains(partition)) {
            let topic = &args.topic;
            return Err(Failure::error(format!(
                "topic `{topic}` has partitions 0 to {}, not {partition}",
                partitions - 1
            )));
        }
        send_all(&args, &client).await
    };
    let sent = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, work)
            .await
            .map_err(|_| Failure::error(format!("not everything was delivered within {timeout:?}")))??,
        None => work.await?,
    };
    context.out.note(format!("sent {sent} message{} to `{}`", if sent == 1 { "" } else { "s" }, args.topic));
    Ok(())
}

/// The topic's partition count; a missing topic is created where the settings allow it.
async fn existing(client: &mut Client, out: &Output, topic: &str) -> Result<i32, Failure> {
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

async fn send_all(args: &Args, client: &Client) -> Result<u64, Failure> {
    let sink = client.transport.sink()?;
    let topic = sink.topic(&args.topic)?;
    let delivery = Delivery::new();
    let mut sent = 0;
    if args.value == "-" {
        let mut lines = lines();
        while let Some(line) = lines.recv().await {
            let line = line?;
            for _ in 0..args.repeat {
                send(args, line.as_bytes(), &*sink, &*topic, &delivery).await?;
                sent += 1;
            }
        }
    } else {
        for _ in 0..args.repeat {
            send(args, args.value.as_bytes(), &*sink, &*topic, &delivery).await?;
            sent += 1;
        }
    }
    delivery.all().await?;
    Ok(sent)
}

/// Standard input by lines, read on a thread of its own, because nothing can interrupt such a read.
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

async fn send(
    args: &Args,
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
    };
    Ok(transport::send(sink, topic, &message, delivery).await?)
}
