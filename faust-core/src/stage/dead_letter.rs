//! The dead-letter topic: messages that cannot be decoded, and those whose agent fails each time if its policy says so, with
//! headers for the error and the origin. A message whose timestamp Kafka would refuse or change also has the header
//! [`EVENT_TIME`](crate::message::EVENT_TIME).

use bytes::Bytes;

use super::given_up::Disposal;
use super::running::RunningStage;
use crate::error::Error;
use crate::message::{Headers, OwnedMessage};
use crate::transport::Outgoing;

/// Header with the decoding error, including the path to the field; or with the number of failures and the last error of the
/// agent.
pub const ERROR: &str = "faust-error";
/// Header with the name of the agent whose stream read the message.
pub const AGENT: &str = "faust-agent";
/// Header with the topic of the message.
pub const TOPIC: &str = "faust-topic";
/// Header with the partition of the message in that topic.
pub const PARTITION: &str = "faust-partition";
/// Header with the offset of the message in that partition.
pub const OFFSET: &str = "faust-offset";

/// Returns the name of an app's dead-letter topic.
pub fn topic(app: &str) -> String {
    format!("{app}-dead-letter")
}

/// Sends the message unchanged, with its own key, headers and event time, and adds the headers above.
pub(crate) async fn send(stage: &RunningStage, rejected: &Rejected) -> Result<(), Error> {
    let outbox = &stage.outbox;
    let topic = outbox.carrying_topic(&outbox.dead_letter)?;
    let (timestamp, own) = rejected.message.as_raw().event_time();
    let message = Outgoing {
        partition: None,
        key: rejected.message.key.as_deref(),
        payload: rejected.message.payload.as_deref(),
        headers: headers(stage, rejected, own),
        timestamp: Some(timestamp),
        last_header: None,
    };
    outbox.send(&topic, &message).await?;
    outbox.stats.dead_letter();
    Ok(())
}

fn headers(stage: &RunningStage, rejected: &Rejected, mut headers: Headers) -> Headers {
    let mut add = |name: &str, value: String| headers.push(name.to_owned(), Some(Bytes::from(value)));
    add(ERROR, rejected.why.clone());
    add(AGENT, stage.agent.to_string());
    if let Some(input) = stage.inputs.get(rejected.input as usize) {
        add(TOPIC, input.reader.partition().topic.to_string());
        add(PARTITION, input.reader.partition().partition.to_string());
    }
    add(OFFSET, rejected.message.offset.to_string());
    headers
}

/// A message that the stage does not process.
pub(crate) struct Rejected {
    pub(crate) input: u32,
    pub(crate) message: OwnedMessage,
    pub(crate) why: String,
    /// The handling of an event that was given up; `None` for a message that cannot be decoded.
    pub(crate) given_up: Option<Disposal>,
}
