//! Tests of the command `broker`: its port, its address, and its settings.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::harness::{Running, Shop};

/// Returns a port that is in use as long as the listener exists.
fn taken() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

#[test]
fn a_port_in_use_is_an_error_unless_any_port_is_allowed() {
    let shop = Shop::new();
    let (listener, port) = taken();
    let error = shop.fails(1, &["broker", "--port", &port]);
    let expected = format!("port {port} is in use by another program");
    assert!(error.contains(&expected) && error.contains("--any-port"), "{error}");
    let broker = shop.broker_with(&["--port", &port, "--any-port"]);
    assert_ne!(broker.address, format!("127.0.0.1:{port}"));
    broker.interrupt();
    drop(listener);
    let broker = shop.broker_with(&["--port", &port]);
    assert_eq!(broker.address, format!("127.0.0.1:{port}"));
    // The port of another app's broker is named as such.
    let error = Shop::new().fails(1, &["broker", "--port", &port]);
    assert!(error.contains(&format!("port {port} is in use by a Kafka broker")), "{error}");
    broker.interrupt();
}

#[test]
fn the_preferred_port_of_the_settings_is_not_replaced_silently() {
    let shop = Shop::new();
    let (_listener, port) = taken();
    let error = shop.fails(1, &["broker", "--set", &format!("embedded_port={port}")]);
    assert!(error.contains(&format!("port {port} is in use by another program")), "{error}");
}

#[test]
fn other_machines_can_connect_only_if_the_broker_is_exposed() {
    let shop = Shop::new();
    let error = shop.fails(1, &["broker", "--host", "0.0.0.0"]);
    assert!(error.contains("refusing to listen on 0.0.0.0") && error.contains("`--expose`"), "{error}");
    let mut broker = shop.broker_with(&["--expose"]);
    assert!(broker.address.starts_with("127.0.0.1:"), "clients of this machine use {}", broker.address);
    broker.signal("INT");
    let mut log = String::new();
    broker.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("WARNING: other machines can reach the embedded broker at 0.0.0.0:"), "{log}");
    assert!(broker.child.wait().unwrap().success());
}

/// Asks for the metadata of a topic, which creates it if the broker creates topics on first use, and returns the topics
/// of the broker with their numbers of partitions. The command `send` would create it with the app's settings.
fn ask_for(shop: &Shop, broker: &Running, topic: &str) -> Vec<(String, u64)> {
    // Metadata, version 1, correlation id 1, no client id, one topic.
    let mut request = vec![0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 1, 0, u8::try_from(topic.len()).unwrap()];
    request.extend_from_slice(topic.as_bytes());
    let mut stream = TcpStream::connect(&broker.address).unwrap();
    stream.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&request).unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    let topics = shop.ok(&["topics", "--json", "--broker", &broker.address]);
    let topics: Vec<serde_json::Value> = serde_json::from_str(&topics).unwrap();
    let existing = topics.iter().filter_map(|topic| Some((topic["topic"].as_str()?, topic["partitions"].as_u64()?)));
    existing.map(|(topic, partitions)| (topic.to_owned(), partitions)).collect()
}

#[test]
fn partitions_and_the_creation_of_topics_are_options() {
    let shop = Shop::new();
    let broker = shop.broker_with(&["--partitions", "3", "--broker-config", "log.retention.hours=1"]);
    assert_eq!(ask_for(&shop, &broker, "visits"), [("visits".to_owned(), 3)]);
    broker.interrupt();
    let broker = shop.broker_with(&["--no-auto-create", "--rebalance-delay", "1s"]);
    assert_eq!(ask_for(&shop, &broker, "others"), [("visits".to_owned(), 3)]);
    broker.interrupt();

    let error = shop.fails(1, &["broker", "--broker-config", "log.retention=1"]);
    assert!(
        error.contains("unknown broker config `log.retention`") && error.contains("log.retention.hours"),
        "{error}"
    );
    for line in [&["--port", "x"][..], &["--host", "kafka"], &["--advertise", "kafka"], &["--partitions", "0"]] {
        assert!(shop.fails(2, &[&["broker"], line].concat()).contains("--help"), "{line:?}");
    }
}
