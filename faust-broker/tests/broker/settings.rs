//! Tests of the settings of a broker: configs by Kafka's names, addresses, and what a test does with a broker.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use faust_broker::{Broker, BrokerConfig, Error};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{GroupId, JoinGroupRequest, MetadataRequest};
use kafka_protocol::protocol::StrBytes;

use crate::wire::{Client, topic};

fn join(client: &mut Client, session_timeout_ms: i32) -> i16 {
    let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
    let request = JoinGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("g")))
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_session_timeout_ms(session_timeout_ms)
        .with_rebalance_timeout_ms(1000)
        .with_protocols(vec![protocol]);
    client.call(&request, 3).error_code
}

/// Returns the host and port that the broker tells its clients.
fn advertised(client: &mut Client) -> (String, i32) {
    let response = client.call(&MetadataRequest::default().with_topics(Some(Vec::new())), 9);
    (response.brokers[0].host.to_string(), response.brokers[0].port)
}

#[test]
fn short_session_timeouts_are_refused_unless_the_broker_allows_them() {
    let broker = Broker::start().unwrap();
    let mut client = Client::new(&broker);
    assert_eq!([5999, 1_800_001].map(|timeout_ms| join(&mut client, timeout_ms)), [26, 26]);
    assert_eq!(join(&mut client, 6000), 0);
    let config = BrokerConfig::default().with_min_session_timeout(Duration::from_millis(10));
    let broker = Broker::start_with(config).unwrap();
    assert_eq!(join(&mut Client::new(&broker), 10), 0);
}

#[test]
fn invalid_configs_are_reported_at_start() {
    let cases = [
        ("num.partitions", "none", "invalid value `none` for broker config `num.partitions`"),
        ("num.partition", "1", "this broker, which has num."),
        ("node.id", "2", "cannot be set"),
        ("group.max.session.timeout.ms", "5000", "`group.min.session.timeout.ms` (6000) exceeds"),
    ];
    for (name, value, expected) in cases {
        let refused = Broker::start_with(BrokerConfig::default().with_config(name, value)).unwrap_err();
        assert!(matches!(refused, Error::Config { .. }) && refused.to_string().contains(expected), "{refused}");
    }
}

#[test]
fn an_exposed_broker_is_reached_at_any_address_of_the_machine() {
    let everywhere = BrokerConfig::default().with_host(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let refused = Broker::start_with(everywhere.clone()).unwrap_err();
    assert!(refused.to_string().contains("`expose`"), "{refused}");
    let broker = Broker::start_with(everywhere.clone().with_exposure()).unwrap();
    assert_eq!(broker.bootstrap(), format!("127.0.0.1:{}", broker.address().port()));
    let port = i32::from(broker.address().port());
    assert_eq!(advertised(&mut Client::new(&broker)), ("127.0.0.1".into(), port));
    // All of 127.0.0.0/8 are addresses of this machine on Linux.
    if cfg!(target_os = "linux") {
        let mut other = Client::connect((Ipv4Addr::new(127, 0, 0, 2), broker.address().port()));
        assert_eq!(advertised(&mut other), ("127.0.0.2".into(), port));
    }
    let mapped = everywhere.with_exposure().with_advertised("kafka.example.com", 19_092);
    let broker = Broker::start_with(mapped).unwrap();
    assert_eq!(advertised(&mut Client::new(&broker)), ("kafka.example.com".into(), 19_092));
}

#[test]
fn a_test_creates_its_topics_without_a_client() {
    let broker = Broker::start().unwrap();
    broker.create_topic("orders", 3).unwrap();
    let wanted = MetadataRequestTopic::default().with_name(Some(topic("orders")));
    let response = Client::new(&broker).call(&MetadataRequest::default().with_topics(Some(vec![wanted])), 9);
    assert_eq!(response.topics[0].partitions.len(), 3);
    let refused = broker.create_topic("orders", 3).unwrap_err();
    assert_eq!(refused.to_string(), "cannot create topic `orders`: topic `orders` already exists");
    assert!(std::error::Error::source(&refused).unwrap().to_string().contains("already exists"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_broker_serves_a_client_in_the_thread_of_an_async_test() {
    let broker = Broker::start().unwrap();
    // The blocking client occupies the only thread of this runtime.
    assert_eq!(advertised(&mut Client::new(&broker)).0, "127.0.0.1");
    drop(broker);
}
