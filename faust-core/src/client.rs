//! A client without a worker, for programs that only send and read: CLI commands, generators of test data, `main`
//! functions.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::codec::Data;
use crate::config::Settings;
use crate::error::{Error, TransportError};
use crate::local::Connection;
use crate::stage::dead_letter;
use crate::stage::outbox::Outbox;
use crate::stage::timestamps::{TimestampRules, TopicLimits};
use crate::stats::Stats;
use crate::topic::Topic;
use crate::transport::kafka::KafkaTransport;
use crate::transport::{Retries, Transport};
use crate::worker::unseen_log;

/// Interval at which a client checks whether its messages are delivered.
const LOOK: Duration = Duration::from_secs(1);

/// A connection to the broker of an app, without a worker. While messages are not delivered because no broker answers, it
/// reports that every ten seconds.
pub struct Client {
    connection: Connection,
    transport: Arc<dyn Transport>,
    outbox: Arc<Outbox>,
}

impl Client {
    /// Opens a producer, and waits until the broker answers.
    pub(crate) async fn connect(settings: &Settings) -> Result<Self, Error> {
        let connection = Connection::find(settings).await?;
        let transport: Arc<dyn Transport> = Arc::new(KafkaTransport::new(connection.kafka(settings)));
        let dead_letter = dead_letter::topic(&settings.group());
        let admin = transport.admin()?;
        retries(&*transport).run("the broker", || admin.topics(Some(vec![dead_letter.clone()]))).await?;
        let (policy, stats) = (settings.on_timestamp_error, Arc::<Stats>::default());
        // The topics are not known beforehand.
        let timestamps = TimestampRules::new(policy, transport.clock(), Arc::clone(&stats), TopicLimits::new());
        let outbox = Outbox::new(transport.sink()?, stats, dead_letter, timestamps);
        tokio::spawn(report_undelivered(Arc::downgrade(&outbox), Arc::clone(&transport)));
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
        let flushed = async {
            self.outbox.sink.flush(within).await?;
            self.outbox.settle(within).await
        };
        Ok(flushed.await.map_err(|error| match self.transport.outage() {
            outage if outage.cause().is_some() => TransportError { why: format!("{}; {outage}", error.why), ..error },
            _ => error,
        })?)
    }
}

/// Reports while messages are not delivered because no broker answers, until the client is dropped.
async fn report_undelivered(outbox: Weak<Outbox>, transport: Arc<dyn Transport>) {
    let (outage, mut retries) = (transport.outage(), retries(&*transport));
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(outbox) = outbox.upgrade() else { return };
        if outbox.pending() > 0 && outage.cause().is_some() {
            retries.report_silence("the delivery of messages");
        }
    }
}

/// Returns retries that report to the user of the client, even if the program shows no log.
fn retries(transport: &dyn Transport) -> Retries {
    Retries::new(unseen_log::report).of(transport.outage())
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("connection", &self.connection).finish_non_exhaustive()
    }
}
