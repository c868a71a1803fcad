//! The way to the broker for commands that are no workers: none of them ever starts one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use faust_core::config::{Resolved, Settings};
use faust_core::local::Connection;
use faust_core::transport::kafka::KafkaTransport;
use faust_core::transport::{TopicPartition, Transport, TransportError};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::output::Output;

/// A broker that has not answered by then is asked again, after saying so: somebody sits there and waits.
const ANSWER: Duration = Duration::from_secs(3);
/// Between two attempts to reach a broker that is away.
const PAUSE: Duration = Duration::from_millis(500);

/// A broker that is there, or will be.
pub(crate) struct Client {
    pub(crate) settings: Settings,
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) patience: Patience,
}

impl Client {
    /// Finds the broker. With a `timeout`, nothing waits for it longer.
    pub(crate) async fn find(resolved: Resolved, timeout: Option<Duration>) -> Result<Self, Failure> {
        let settings = resolved.settings;
        let connection = Connection::find(&settings).await?;
        let mut kafka = connection.kafka(&settings, true);
        kafka.request_timeout = kafka.request_timeout.min(ANSWER);
        let transport = Box::new(KafkaTransport::new(kafka));
        let address = connection.bootstrap().to_owned();
        let patience = Patience { address, deadline: timeout.map(|timeout| Instant::now() + timeout), told: false };
        Ok(Self { settings, transport, patience })
    }
}

/// Does `$attempt` until it succeeds or patience ends.
macro_rules! patiently {
    ($client:expr, $out:expr, $attempt:expr) => {
        loop {
            match $client.patience.attempt($attempt).await {
                Ok(value) => break value,
                Err(error) => $client.patience.after($out, error).await?,
            }
        }
    };
}

impl Client {
    /// How many messages each of these topics holds, by their partition counts.
    pub(crate) async fn messages(
        &mut self,
        out: &Output,
        topics: &BTreeMap<String, i32>,
    ) -> Result<BTreeMap<String, i64>, Failure> {
        let admin = self.transport.admin()?;
        let partitions = |(name, count): (&String, &i32)| {
            let topic: Arc<str> = name.as_str().into();
            (0..*count).map(move |number| TopicPartition::new(Arc::clone(&topic), number))
        };
        let every: Vec<TopicPartition> = topics.iter().flat_map(partitions).collect();
        let marks = patiently!(self, out, admin.watermarks(every.clone()));
        let mut messages: BTreeMap<String, i64> = topics.keys().map(|name| (name.clone(), 0)).collect();
        for (partition, (low, high)) in &marks {
            *messages.entry(partition.topic.to_string()).or_default() += high - low;
        }
        Ok(messages)
    }
}

/// How long to wait for a broker that is away, and what to say meanwhile.
#[derive(Debug)]
pub(crate) struct Patience {
    address: String,
    deadline: Option<Instant>,
    told: bool,
}

impl Patience {
    /// Does something that asks the broker, as far as there is time for it.
    pub(crate) async fn attempt<T>(
        &self,
        asking: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        match self.deadline {
            None => asking.await,
            Some(deadline) => tokio::time::timeout_at(deadline, asking)
                .await
                .unwrap_or_else(|_| Err(TransportError::retriable("look-up", "no answer yet"))),
        }
    }

    /// Whether there is time for another attempt after `error`; says once what is waited for, and pauses.
    pub(crate) async fn after(&mut self, out: &Output, error: TransportError) -> Result<(), Failure> {
        if !error.is_retriable() {
            return Err(error.into());
        }
        if self.deadline.is_some_and(|deadline| Instant::now() + PAUSE >= deadline) {
            return Err(Failure::error(format!("the broker at {} did not answer in time: {error}", self.address)));
        }
        if !self.told {
            self.told = true;
            out.note(format!("waiting for the broker at {}: {error}", self.address));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

pub(crate) use patiently;
