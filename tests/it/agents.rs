//! The forms of agents, and the keys, headers and timestamps they pass from input to output messages.

use faust::prelude::*;

use crate::harness::{Cluster, LONG, Message, wait_for};

#[record]
#[derive(Clone, Debug, PartialEq)]
struct Order {
    id: String,
    amount: i64,
}

fn order(id: &str, amount: i64) -> Message {
    Message::of(format!(r#"{{"id":"{id}","amount":{amount}}}"#)).key(id)
}

#[agent(topic = "ag-shared", sink = "ag-doubled")]
async fn double(order: Order) -> i64 {
    order.amount * 2
}

#[agent(topic = "ag-shared", sinks = ["ag-large", "ag-audit"])]
async fn check(event: Event<Order, String>) -> Result<String> {
    Ok(format!("{} {}", event.key(), event.value().amount > 50))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_on_one_topic_each_receive_all_events() {
    let cluster = Cluster::start().await;
    for (topic, partitions) in [("ag-shared", 3), ("ag-doubled", 3), ("ag-large", 3), ("ag-audit", 1)] {
        cluster.create(topic, partitions).await;
    }
    let orders = (0..100).map(|n| order(&format!("o{n}"), n).header("n", &n.to_string()).at(7_000 + n));
    cluster.produce("ag-shared", orders).await;
    let worker = cluster.run(cluster.app("ag-shared").only::<double>().agent::<check>()).await;
    cluster.wait_done(&cluster.id("ag-shared"), "ag-shared", 100).await;
    worker.stop().await.unwrap();
    let doubled = cluster.read("ag-doubled").await;
    assert_eq!(doubled.len(), 100);
    for message in doubled {
        // A message to a sink has the key, headers and timestamp of the event.
        let n: i64 = message.text().parse::<i64>().unwrap() / 2;
        assert_eq!(message.key_text(), format!("o{n}"));
        assert_eq!((message.header_text("n"), message.timestamp), (Some(&*n.to_string()), Some(7_000 + n)));
    }
    for topic in ["ag-large", "ag-audit"] {
        let mut checked = cluster.texts(topic).await;
        checked.sort();
        let mut expected: Vec<_> = (0..100).map(|n| format!("o{n} {}", n > 50)).collect();
        expected.sort();
        assert_eq!(checked, expected, "{topic}");
    }
}

#[agent(topics = ["ag-east", "ag-west"])]
async fn both(mut orders: Stream<Order>, #[topic("ag-both")] out: Topic<String, i64>) -> Result<()> {
    while let Some(event) = orders.next_event().await {
        out.send(&event.topic().to_owned(), &event.value().amount).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_reads_several_topics() {
    let cluster = Cluster::start().await;
    for (topic, partitions) in [("ag-east", 2), ("ag-west", 2), ("ag-both", 1)] {
        cluster.create(topic, partitions).await;
    }
    cluster.produce("ag-east", (0..20).map(|n| order("e", n))).await;
    cluster.produce("ag-west", (100..120).map(|n| order("w", n))).await;
    let worker = cluster.run(cluster.app("ag-both").only::<both>()).await;
    let out = cluster.read_count("ag-both", 40).await;
    let group = cluster.id("ag-both");
    cluster.wait_done(&group, "ag-east", 20).await;
    cluster.wait_done(&group, "ag-west", 20).await;
    worker.stop().await.unwrap();
    for (topic, first) in [("ag-east", 0), ("ag-west", 100)] {
        let values: Vec<i64> =
            out.iter().filter(|m| m.key_text() == topic).map(|m| m.text().parse().unwrap()).collect();
        assert_eq!(values, (first..first + 20).collect::<Vec<_>>(), "{topic}");
    }
}

#[agent]
async fn shout(mut words: Stream<String>, #[topic("ag-loop-out")] out: Topic<String, String>) -> Result<()> {
    while let Some(event) = words.next_event().await {
        out.send(&event.topic().to_owned(), &event.value().to_uppercase()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_function_can_be_registered_as_an_agent_of_several_topics() {
    let cluster = Cluster::start().await;
    cluster.create("ag-loop-out", 1).await;
    let mut app = cluster.app("ag-loop").only::<shout>();
    let topics: Vec<String> = (0..5).map(|n| format!("ag-loop-{n}")).collect();
    for topic in &topics {
        cluster.create(topic, 1).await;
        cluster.produce(topic, [Message::of(format!("word of {topic}"))]).await;
        app = app.agent_with::<shout>(|a| a.name(format!("shout-{topic}")).topic(topic.as_str()));
    }
    let worker = cluster.run(app).await;
    let mut out: Vec<_> = cluster.read_count("ag-loop-out", 5).await.iter().map(|m| (m.key_text(), m.text())).collect();
    worker.stop().await.unwrap();
    out.sort();
    let expected: Vec<_> =
        topics.iter().map(|topic| (topic.clone(), format!("word of {topic}").to_uppercase())).collect();
    assert_eq!(out, expected);
}

#[agent(topic = "ag-travel")]
async fn travel(mut values: Stream<Value>, #[topic("ag-travel-out")] out: Topic<RawKey, Value>) -> Result<()> {
    while let Some(event) = values.next_event().await {
        let (headers, time) = (event.headers().clone(), event.timestamp());
        out.send_with(event.key(), event.value(), |m| m.headers(headers).timestamp(time).header("hop", "1")).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_headers_and_timestamps_are_preserved() {
    let cluster = Cluster::start().await;
    cluster.create("ag-travel", 1).await;
    cluster.create("ag-travel-out", 1).await;
    let binary = Message { headers: Headers::new().with("a", "1").with("a", vec![0, 255]), ..Message::of("1") };
    let sent = [
        binary.key(vec![0xff, 0x00, 0x80]).at(1),
        Message::of("2").key("").at(86_400_000),
        Message::of("3").at(1_700_000_000_000).header("", "empty name"),
        Message::of("null").key("k").at(2),
    ];
    cluster.produce("ag-travel", sent.clone()).await;
    let worker = cluster.run(cluster.app("ag-travel").only::<travel>()).await;
    let out = cluster.read_count("ag-travel-out", 4).await;
    worker.stop().await.unwrap();
    for (sent, got) in sent.iter().zip(&out) {
        assert_eq!((&got.key, &got.value, got.timestamp), (&sent.key, &sent.value, sent.timestamp));
        assert_eq!(got.headers, sent.headers.clone().with("hop", "1"), "{got:?}");
    }
}

/// Keys and their hashes by `org.apache.kafka.common.utils.Utils.murmur2`.
const JAVA: [(&str, i64); 5] = [
    ("21", -973_932_308),
    ("foobar", -790_332_482),
    ("a-little-bit-long-string", -985_981_536),
    ("abc", 479_470_107),
    ("", 275_646_681),
];

#[agent(topic = "ag-place")]
async fn place(mut keys: Stream<String>, #[topic("ag-place-out")] out: Topic<String, String>) -> Result<()> {
    while let Some(key) = keys.next().await {
        out.send(&key, &key).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_partitioned_as_by_the_java_client() {
    let cluster = Cluster::start().await;
    cluster.create("ag-place", 1).await;
    cluster.create("ag-place-out", 7).await;
    cluster.produce("ag-place", JAVA.map(|(key, _)| Message::of(key))).await;
    let worker = cluster.run(cluster.app("ag-place").only::<place>()).await;
    let out = cluster.read_count("ag-place-out", JAVA.len()).await;
    worker.stop().await.unwrap();
    for (key, hash) in JAVA {
        let message = out.iter().find(|m| m.text() == key).unwrap();
        let expected = (hash & 0x7fff_ffff) % 7;
        assert_eq!(i64::from(message.partition.unwrap()), expected, "key `{key}`");
    }
}

#[agent(topic = "ag-library")]
async fn library(_order: Order) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_handle_reports_the_status_and_opens_topics() {
    let cluster = Cluster::start().await;
    cluster.create("ag-library", 2).await;
    let worker = cluster.run(cluster.app("ag-library").only::<library>()).await;
    assert!(worker.status().ready);
    assert_eq!(worker.status().assignment.len(), 2);
    let orders = worker.topic::<String, Order>("ag-library").unwrap();
    for amount in 0..10 {
        orders.send(&amount.to_string(), &Order { id: "o".to_owned(), amount }).await.unwrap();
    }
    wait_for("10 events", LONG, async || worker.status().counts.events == 10).await;
    worker.stop().await.unwrap();
    let status = worker.status();
    assert!(!status.ready && status.counts.commits > 0 && status.counts.agent_failures == 0, "{status:?}");
    assert_eq!(cluster.done(&cluster.id("ag-library"), "ag-library").await, 10);
}

#[agent(topic = "ag-embedded")]
async fn keep(mut numbers: Stream<i64, String>, kept: Table<String, i64>) {
    while let Some(event) = numbers.next_event().await {
        kept.set(event.key(), *event.value());
    }
}

/// A program of its own: it sends, reads tables, stops the worker, and starts another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_in_a_program_is_ready_when_it_says_so_and_can_be_started_again() {
    let cluster = Cluster::start().await;
    cluster.create("ag-embedded", 4).await;
    cluster.create_with("ag-small", 1, &[("max.message.bytes", "1000")]).await;
    let app = cluster.app("ag-embedded").only::<keep>().build().unwrap();
    let first = app.start().await.unwrap();
    first.ready().await;
    let numbers = first.topic::<String, i64>("ag-embedded").unwrap();
    for n in 0..100 {
        numbers.send(&format!("k{n}"), &n).await.unwrap();
    }
    first.flush(LONG).await.unwrap();
    cluster.wait_done(&cluster.id("ag-embedded"), "ag-embedded", 100).await;
    first.stop().await.unwrap();

    // The handle of the former worker is still there. All tables can be read as soon as the next one is ready.
    let second = app.start().await.unwrap();
    second.ready().await;
    let kept = second.table::<String, i64>("kept").unwrap();
    assert_eq!(kept.iter().unwrap().count(), 100);
    // A message that the broker refuses is reported by the flush, and by the stop.
    let small = second.topic::<String, String>("ag-small").unwrap();
    small.send(&"key".to_owned(), &"x".repeat(3000)).await.unwrap();
    let refused = second.flush(LONG).await.unwrap_err().to_string();
    assert!(refused.contains("ag-small"), "{refused}");
    small.send(&"key".to_owned(), &"x".repeat(3000)).await.unwrap();
    let refused = second.stop().await.unwrap_err().to_string();
    assert!(refused.contains("ag-small"), "{refused}");
    drop(first);
}
