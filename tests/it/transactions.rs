//! Transactions over librdkafka.

use std::sync::Arc;

use faust::App;
use faust::transport::{Delivery, Outgoing, Sink, Transactions, send};

use crate::harness::{Cluster, LONG, Proxy, wait_for};

async fn send_three(sink: &dyn Sink, topic: &str, text: &str) -> Arc<Delivery> {
    let (topic, delivery) = (sink.topic(topic).unwrap(), Delivery::new());
    for _ in 0..3 {
        let message = Outgoing { payload: Some(text.as_bytes()), partition: Some(0), ..Outgoing::default() };
        send(sink, &*topic, &message, &delivery).await.unwrap();
    }
    delivery
}

/// Law: the messages of an aborted transaction that the broker has, and of which the client does not know, take nothing from the next
/// transaction. librdkafka 2.12.1 gives the next messages the same sequence numbers, and the broker takes them for repetitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_transaction_without_acknowledgements_takes_nothing_from_the_next() {
    let cluster = Cluster::start().await;
    cluster.create("tx-lost", 1).await;
    let proxy = Proxy::steady(cluster.bootstrap());
    let client = App::new("tx").setting("broker", proxy.bootstrap()).client().await.unwrap();
    let open = async || client.transport().transactions(&cluster.id("tx-lost")).await.unwrap();
    let mut producer: Arc<dyn Transactions> = open().await;
    producer.begin().await.unwrap();
    send_three(&*producer.sink(), "tx-lost", "first").await.all().await.unwrap();
    producer.commit().await.unwrap();

    producer.begin().await.unwrap();
    proxy.lose_acknowledgements();
    let high = async || cluster.watermarks("tx-lost").await.into_values().map(|(_, high)| high).max();
    let before = high().await;
    let lost = send_three(&*producer.sink(), "tx-lost", "lost").await;
    wait_for("the messages", LONG, async || high().await > before).await;
    let aborting = tokio::spawn({
        let producer = Arc::clone(&producer);
        async move { producer.abort().await }
    });
    tokio::time::timeout(LONG, lost.all()).await.expect("the messages are discarded").unwrap_err();
    proxy.release();
    aborting.await.unwrap().unwrap();
    if producer.is_spent() {
        producer = open().await;
    }

    producer.begin().await.unwrap();
    send_three(&*producer.sink(), "tx-lost", "next").await.all().await.unwrap();
    producer.commit().await.unwrap();
    let texts: Vec<_> = cluster.read("tx-lost").await.iter().map(|message| message.text().to_owned()).collect();
    assert_eq!(texts, ["first", "first", "first", "next", "next", "next"]);
}
