//! A connection for programs that send and read by hand: the commands, generators of test data, `main` functions.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::Data;
use crate::config::Settings;
use crate::error::Error;
use crate::local::Connection;
use crate::stage::dead_letter;
use crate::stage::outbox::Outbox;
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
    /// Finds the broker and opens a producer.
    pub(crate) async fn connect(settings: &Settings) -> Result<Self, Error> {
        let connection = Connection::find(settings).await?;
        let transport: Arc<dyn Transport> = Arc::new(KafkaTransport::new(connection.kafka(settings, true)));
        let outbox = Outbox::new(transport.sink()?, Arc::default(), dead_letter::topic(&settings.group()));
        Ok(Self { connection, transport, outbox })
    }

    /// The port to the broker, for everything that is not typed sending.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// How it is connected.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A topic to send to.
    ///
    /// # Errors
    /// A type without a codec, a name the producer refuses.
    pub fn topic<K: Data, V: Data>(&self, name: &str) -> Result<Topic<K, V>, Error> {
        Topic::outside(name, &self.outbox)
    }

    /// Waits until everything sent has arrived.
    ///
    /// # Errors
    /// The first message that did not, or that `within` was not enough.
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
