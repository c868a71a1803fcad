//! Operations on a broker that bypass the port, which does not support them: transactions, topic configs, and adding
//! partitions.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::cluster::Cluster;
use super::message::Message;
use super::wait::LONG;

/// The outcome of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    Abort,
}

/// A transaction of another program.
pub(crate) struct OpenTransaction(BaseProducer);

impl OpenTransaction {
    /// Ends the transaction.
    pub(crate) async fn end(self, end: End) {
        let Self(producer) = self;
        let ended = tokio::task::spawn_blocking(move || match end {
            End::Commit => producer.commit_transaction(LONG),
            End::Abort => producer.abort_transaction(LONG),
        });
        ended.await.unwrap().unwrap();
    }
}

impl Cluster {
    /// Writes the messages in a transaction, as another program would.
    pub(crate) async fn transaction(&self, topic: &str, messages: Vec<Message>, end: End) {
        self.open_transaction(topic, messages).await.end(end).await;
    }

    /// Writes the messages in a transaction that stays open, as another program would.
    pub(crate) async fn open_transaction(&self, topic: &str, messages: Vec<Message>) -> OpenTransaction {
        let (config, topic) = (self.config(), topic.to_owned());
        tokio::task::spawn_blocking(move || {
            let producer: BaseProducer = {
                let mut config = config;
                config.set("transactional.id", format!("{topic}-{}", std::process::id())).create().unwrap()
            };
            producer.init_transactions(LONG).unwrap();
            producer.begin_transaction().unwrap();
            for message in &messages {
                let record = BaseRecord::<[u8], [u8]>::to(&topic).partition(message.partition.unwrap_or(0));
                let record = match &message.key {
                    Some(key) => record.key(key.as_slice()),
                    None => record,
                };
                let record = match &message.value {
                    Some(value) => record.payload(value.as_slice()),
                    None => record,
                };
                producer.send(record).map_err(|(why, _)| why).unwrap();
            }
            producer.flush(LONG).unwrap();
            OpenTransaction(producer)
        })
        .await
        .unwrap()
    }

    /// Sets one config of the topic, and resets all others to their defaults.
    pub(crate) async fn configure(&self, topic: &str, name: &str, value: &str) {
        let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
        let altered = self.admin().alter_configs([&config], &AdminOptions::new()).await.unwrap();
        assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    }

    /// Increases the topic's number of partitions.
    pub(crate) async fn grow(&self, topic: &str, partitions: usize) {
        let more = NewPartitions::new(topic, partitions);
        let grown = self.admin().create_partitions([&more], &AdminOptions::new()).await.unwrap();
        assert!(grown.iter().all(Result::is_ok), "{grown:?}");
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap());
        config
    }
}
