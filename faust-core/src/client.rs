//! A client without a worker, for programs that only send and read: CLI commands, generators of test data, `main`
//! functions.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::Data;
use crate::config::Settings;
use crate::error::Error;
use crate::local::Connection;
use crate::stage::dead_letter;
use crate::stage::outbox::Outbox;
use crate::stage::timestamps::{TimestampRules, TopicLimits};
use crate::stats::Stats;
use crate::topic::Topic;
use crate::transport::Transport;
use crate::transport::kafka::KafkaTransport;

/// A connection to the broker of an app, without a worker.
pub struct Client {
    connection: Connection,
    transport: Arc<dyn Transport>,
    outbox: Arc<Outbox>,
}

impl Client {
    /// Connects to the broker and opens a producer.
    pub(crate) async fn connect(settings: &Settings) -> Result<Self, Error> {
        let connection = Connection::find(settings).await?;
        let transport: Arc<dyn Transport> = Arc::new(KafkaTransport::new(connection.kafka(settings)));
        let (policy, stats) = (settings.on_timestamp_error, Arc::<Stats>::default());
        // The topics are not known beforehand.
        let timestamps = TimestampRules::new(policy, transport.clock(), Arc::clone(&stats), TopicLimits::new());
        let outbox = Outbox::new(transport.sink()?, stats, dead_letter::topic(&settings.group()), timestamps);
        Ok(Self { connection, transport, outbox })
    }

    /// Returns the transport, for operations other than typed sends.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Returns the connection to the broker.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Returns a topic to send to.
    ///
    /// # Errors
    /// Fails if a type has no codec, or if the producer rejects the topic name.
    pub fn topic<K: Data, V: Data>(&self, name: &str) -> Result<Topic<K, V>, Error> {
        Topic::outside(name, &self.outbox)
    }

    /// Waits until all sent messages are acknowledged.
    ///
    /// # Errors
    /// Returns the error of the first message that was not delivered, or a timeout after `within`.
    pub async fn flush(&self, within: Duration) -> Result<(), Error> {
        self.outbox.sink.flush(within).await?;
        Ok(self.outbox.settle(within).await?)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("connection", &self.connection).finish_non_exhaustive()
    }
}
