//! The dead-letter topic: where messages go that cannot be decoded, with headers that say why and where from.

use bytes::Bytes;

use super::running::RunningStage;
use crate::error::Error;
use crate::message::{Headers, OwnedMessage};
use crate::transport::Outgoing;

/// Header: what was wrong, with the path to the field.
pub const ERROR: &str = "faust-error";
/// Header: the agent whose stream it was.
pub const AGENT: &str = "faust-agent";
/// Header: the topic it came from.
pub const TOPIC: &str = "faust-topic";
/// Header: its partition there.
pub const PARTITION: &str = "faust-partition";
/// Header: its offset there.
pub const OFFSET: &str = "faust-offset";

/// The name of an app's dead-letter topic.
pub fn topic(app: &str) -> String {
    format!("{app}-dead-letter")
}

/// Sends the message as it came, under its own key, headers and time, with ours added.
pub(crate) async fn send(stage: &RunningStage, bad: &Undecodable) -> Result<(), Error> {
    let outbox = &stage.outbox;
    let topic = outbox.topic(&outbox.dead_letter)?;
    let message = Outgoing {
        partition: None,
        key: bad.message.key.as_deref(),
        payload: bad.message.payload.as_deref(),
        headers: headers(stage, bad),
        timestamp: Some(bad.message.timestamp),
    };
    outbox.send(&topic, &message).await?;
    outbox.stats.dead_letter();
    Ok(())
}

fn headers(stage: &RunningStage, bad: &Undecodable) -> Headers {
    let mut headers = bad.message.headers.clone();
    let mut add = |name: &str, value: String| headers.push(name.to_owned(), Some(Bytes::from(value)));
    add(ERROR, bad.why.clone());
    add(AGENT, stage.agent.to_string());
    if let Some(input) = stage.inputs.get(bad.input as usize) {
        add(TOPIC, input.reader.partition().topic.to_string());
        add(PARTITION, input.reader.partition().partition.to_string());
    }
    add(OFFSET, bad.message.offset.to_string());
    headers
}

/// A message that could not be decoded, and why.
pub(crate) struct Undecodable {
    pub(crate) input: u32,
    pub(crate) message: OwnedMessage,
    pub(crate) why: String,
}
