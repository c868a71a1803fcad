//! Look-ups that time out, and a broker that comes back afterwards.

use std::time::Duration;

use faust_broker::{Broker, BrokerConfig, Port, Storage};

use super::cluster::within;
use crate::transport::kafka::{KafkaConfig, KafkaTransport};
use crate::transport::port::Transport;

fn broker(port: Port) -> Broker {
    Broker::start_with(BrokerConfig::new(Storage::Memory, port)).unwrap()
}

fn port(broker: &Broker) -> u16 {
    broker.bootstrap().rsplit(':').next().unwrap().parse().unwrap()
}

/// Law: a request to the coordinator of a group that has timed out does no harm once there is a coordinator: librdkafka 2.12.1 calls
/// back into freed memory then, and ends the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_a_coordinator_that_has_timed_out_does_no_harm() {
    for deletes in [false, true] {
        let first = broker(Port::Any);
        let mut config = KafkaConfig::new(first.bootstrap());
        config.request_timeout = Duration::from_secs(1);
        let admin = KafkaTransport::new(config).admin().unwrap();
        // The client knows the broker, but not that it is the coordinator.
        within("a look-up", admin.topics(None)).await.unwrap();
        let port = port(&first);
        first.stop().unwrap();
        let timed_out = match deletes {
            false => within("a look-up", admin.group_members("g")).await.map(drop),
            true => within("a deletion", admin.delete_group("g")).await,
        };
        assert!(timed_out.unwrap_err().is_retriable());

        let _second = broker(Port::Exact(port));
        let mut found = Err(crate::error::TransportError::retriable("a look-up", "not yet"));
        within("the broker", async {
            while found.is_err() {
                found = admin.group_members("g").await;
            }
        })
        .await;
        assert_eq!(found.unwrap(), []);
        within("another look-up", admin.topics(None)).await.unwrap();
    }
}
