//! The operators of a stream, tested from an input topic to an output topic.

use std::collections::BTreeMap;
use std::time::Duration;

use faust::prelude::*;

use crate::harness::{Cluster, Message};

#[record]
#[derive(Clone, Debug, PartialEq)]
struct Click {
    uri: String,
    number: i64,
}

/// Returns the numbers below `count` as JSON, with five keys in turn, each with a header and timestamp of its own.
fn numbers(count: i64) -> impl Iterator<Item = Message> {
    (0..count).map(|n| Message::of(n.to_string()).key(format!("k{}", n % 5)).header("n", &n.to_string()).at(1_000 + n))
}

/// Returns the values of each key in the order of its partition.
fn by_key(messages: &[Message]) -> BTreeMap<String, Vec<i64>> {
    let mut keys: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for message in messages {
        keys.entry(message.key_text()).or_default().push(message.text().parse().unwrap());
    }
    keys
}

/// Returns the expected result of [`by_key`] if `f` was applied to each of `numbers(count)`.
fn expected(count: i64, f: impl Fn(i64) -> Option<i64>) -> BTreeMap<String, Vec<i64>> {
    let mut keys: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (n, value) in (0..count).filter_map(|n| Some((n, f(n)?))) {
        keys.entry(format!("k{}", n % 5)).or_default().push(value);
    }
    keys
}

#[agent(topic = "op-filter-map")]
async fn filter_map(numbers: Stream<i64, String>, #[topic("op-filter-map-out")] out: Topic<String, i64>) -> Result<()> {
    let mut numbers = numbers.filter(|n| n % 2 == 0).map(|n| n * 10).filter_map(|n| (n % 3 != 0).then_some(n)).items();
    while let Some((key, number)) = numbers.next().await {
        out.send(&key, &number).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filter_and_map_keep_the_order_and_ack_dropped_events() {
    let cluster = Cluster::start().await;
    cluster.create("op-filter-map", 4).await;
    cluster.create("op-filter-map-out", 4).await;
    cluster.produce("op-filter-map", numbers(300)).await;
    let worker = cluster.run(cluster.app("op-filter-map").only::<filter_map>()).await;
    cluster.wait_done(&cluster.id("op-filter-map"), "op-filter-map", 300).await;
    worker.stop().await.unwrap();
    let keep = |n: i64| (n % 2 == 0 && n % 3 != 0).then_some(n * 10);
    assert_eq!(by_key(&cluster.read("op-filter-map-out").await), expected(300, keep));
}

#[agent(topic = "op-processors")]
async fn processors(numbers: Stream<i64, String>, #[topic("op-processors-out")] out: Topic<String, i64>) -> Result<()> {
    let mut numbers = numbers
        .add_processor(|n| n + 1)
        .then(|n| async move {
            tokio::task::yield_now().await;
            n * 100
        })
        .filter_async(|n| async move { *n != 500 })
        .add_processor(|n| n + 7);
    while let Some(event) = numbers.next_event().await {
        out.send(event.key(), event.value()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processors_run_in_the_order_they_were_added() {
    let cluster = Cluster::start().await;
    cluster.create("op-processors", 2).await;
    cluster.create("op-processors-out", 2).await;
    cluster.produce("op-processors", numbers(40)).await;
    let worker = cluster.run(cluster.app("op-processors").only::<processors>()).await;
    cluster.wait_done(&cluster.id("op-processors"), "op-processors", 40).await;
    worker.stop().await.unwrap();
    let processed = |n: i64| (n != 4).then_some((n + 1) * 100 + 7);
    assert_eq!(by_key(&cluster.read("op-processors-out").await), expected(40, processed));
}

#[agent(topic = "op-take")]
async fn take(numbers: Stream<i64>, #[topic("op-take-out")] out: Topic<RawKey, Vec<i64>>) -> Result<()> {
    let mut batches = numbers.take(4, Duration::from_millis(200));
    while let Some(batch) = batches.next().await {
        out.send(&RawKey::NONE, &batch).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_yields_full_batches_and_a_partial_one_after_its_timeout() {
    let cluster = Cluster::start().await;
    cluster.create("op-take", 1).await;
    cluster.create("op-take-out", 1).await;
    cluster.produce("op-take", numbers(10)).await;
    let worker = cluster.run(cluster.app("op-take").only::<take>()).await;
    let group = cluster.id("op-take");
    // Two full batches, and a partial one after the timeout, although no event follows.
    cluster.wait_done(&group, "op-take", 10).await;
    assert_eq!(cluster.texts("op-take-out").await, ["[0,1,2,3]", "[4,5,6,7]", "[8,9]"]);
    cluster.produce("op-take", numbers(1)).await;
    cluster.wait_done(&group, "op-take", 11).await;
    worker.stop().await.unwrap();
    assert_eq!(cluster.texts("op-take-out").await.last().unwrap(), "[0]");
}

#[agent(topic = "op-enumerate")]
async fn enumerate(clicks: Stream<Click>, #[topic("op-enumerate-out")] out: Topic<String, u64>) -> Result<()> {
    let mut clicks = clicks.enumerate(1);
    while let Some((count, click)) = clicks.next().await {
        out.send(&click.uri, &count).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enumerate_counts_in_each_partition() {
    let cluster = Cluster::start().await;
    cluster.create("op-enumerate", 2).await;
    cluster.create("op-enumerate-out", 1).await;
    let click = |partition, n| Message::of(format!(r#"{{"uri":"p{partition}","number":{n}}}"#)).to(partition);
    cluster.produce("op-enumerate", (0..6).map(|n| click(n % 2, n))).await;
    let worker = cluster.run(cluster.app("op-enumerate").only::<enumerate>()).await;
    let mut out = cluster.read_count("op-enumerate-out", 6).await;
    worker.stop().await.unwrap();
    out.sort_by_key(Message::key_text);
    let counted: Vec<_> = out.iter().map(|m| (m.key_text(), m.text())).collect();
    let expected = [("p0", "1"), ("p0", "2"), ("p0", "3"), ("p1", "1"), ("p1", "2"), ("p1", "3")];
    assert_eq!(counted, expected.map(|(key, count)| (key.to_owned(), count.to_owned())));
}

#[agent(topic = "op-echo")]
async fn echo(numbers: Stream<i64, String>, #[topic("op-echo-out")] out: Topic<String, i64>) -> Result<()> {
    let mut numbers = numbers.filter(|n| *n < 20).echo("op-echo-copy").map(|n| n * 2).items();
    while let Some((key, number)) = numbers.next().await {
        out.send(&key, &number).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn echo_copies_events_with_key_headers_and_timestamp() {
    let cluster = Cluster::start().await;
    cluster.create("op-echo", 2).await;
    for topic in ["op-echo-copy", "op-echo-out"] {
        cluster.create(topic, 2).await;
    }
    cluster.produce("op-echo", numbers(30)).await;
    let worker = cluster.run(cluster.app("op-echo").only::<echo>()).await;
    cluster.wait_done(&cluster.id("op-echo"), "op-echo", 30).await;
    worker.stop().await.unwrap();
    let copies = cluster.read("op-echo-copy").await;
    assert_eq!(by_key(&copies), expected(30, |n| (n < 20).then_some(n)));
    for copy in &copies {
        assert_eq!(copy.header_text("n"), Some(&*copy.text()));
        assert_eq!(copy.timestamp, Some(1_000 + copy.text().parse::<i64>().unwrap()));
    }
    assert_eq!(by_key(&cluster.read("op-echo-out").await), expected(30, |n| (n < 20).then_some(n * 2)));
}

#[agent(topic = "op-through")]
async fn through(numbers: Stream<i64, String>, #[topic("op-through-out")] out: Topic<String, i64>) -> Result<()> {
    let mut numbers = numbers.map(|n| n + 1).through("op-through-middle").map(|n| n * 2);
    while let Some(event) = numbers.next_event().await {
        assert_eq!(event.topic(), "op-through-middle");
        out.send_with(event.key(), event.value(), |m| m.headers(event.headers().clone()).timestamp(event.timestamp()))
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_continues_from_a_topic_with_the_partition_count_of_the_source() {
    let cluster = Cluster::start().await;
    cluster.create("op-through", 3).await;
    cluster.create("op-through-out", 3).await;
    cluster.delete("op-through-middle").await;
    cluster.produce("op-through", numbers(60)).await;
    let worker = cluster.run(cluster.app("op-through").only::<through>()).await;
    let out = cluster.read_count("op-through-out", 60).await;
    cluster.wait_done(&cluster.id("op-through"), "op-through-middle", 60).await;
    worker.stop().await.unwrap();
    assert_eq!(cluster.partitions("op-through-middle").await, Some(3));
    assert_eq!(by_key(&out), expected(60, |n| Some((n + 1) * 2)));
    for message in &out {
        let n = message.text().parse::<i64>().unwrap() / 2 - 1;
        assert_eq!(message.header_text("n"), Some(&*n.to_string()));
        assert_eq!(message.timestamp, Some(1_000 + n));
    }
}

#[agent(topic = "op-group-by")]
async fn group_by(clicks: Stream<Click>, #[topic("op-group-by-out")] out: Topic<String, Click>) -> Result<()> {
    let big = |click: &Click| click.number >= 10;
    let scored = |mut click: Click| {
        click.number += 1_000;
        click
    };
    let mut clicks = clicks.filter(big).add_processor(scored).group_by("uri", |click| click.uri.clone());
    while let Some(event) = clicks.next_event().await {
        assert_eq!(event.key(), &event.value().uri);
        let headers = event.headers().clone().with("partition", event.partition().to_string());
        out.send_with(event.key(), event.value(), |m| m.headers(headers).timestamp(event.timestamp())).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_by_collects_each_key_in_one_partition_with_headers_and_timestamps() {
    let cluster = Cluster::start().await;
    cluster.create("op-group-by", 4).await;
    cluster.create("op-group-by-out", 1).await;
    let click = |n: i32| Message::of(format!(r#"{{"uri":"u{}","number":{n}}}"#, n % 7)).to(n % 4);
    let messages = (0..200).map(|n| click(n).header("n", &n.to_string()).at(5_000 + i64::from(n)));
    cluster.produce("op-group-by", messages).await;
    let worker = cluster.run(cluster.app("op-group-by").only::<group_by>()).await;
    let out = cluster.read_count("op-group-by-out", 190).await;
    worker.stop().await.unwrap();
    let internal = format!("{}-group_by-uri-repartition", cluster.id("op-group-by"));
    assert_eq!(cluster.partitions(&internal).await, Some(4));
    let mut homes = BTreeMap::new();
    let mut seen = Vec::new();
    for message in &out {
        let number = message.json()["number"].as_i64().unwrap() - 1_000;
        assert_eq!(message.header_text("n"), Some(&*number.to_string()));
        assert_eq!(message.timestamp, Some(5_000 + number));
        let partition = message.header_text("partition").unwrap();
        assert_eq!(*homes.entry(message.key_text()).or_insert(partition), partition, "{message:?}");
        seen.push(number);
    }
    seen.sort_unstable();
    assert_eq!(seen, (10..200).collect::<Vec<_>>());
    assert_eq!(homes.len(), 7);
}

#[agent(topic = "op-twice")]
async fn twice(words: Stream<String>, #[topic("op-twice-out")] out: Topic<i64, String>) -> Result<()> {
    let letter = |word: &String| word[..1].to_owned();
    let length = |word: &String| i64::try_from(word.len()).unwrap_or(i64::MAX);
    let mut words = words.group_by("letter", letter).map(|word| word.to_uppercase()).group_by("length", length).items();
    while let Some((length, word)) = words.next().await {
        out.send(&length, &word).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_can_be_grouped_twice() {
    let cluster = Cluster::start().await;
    cluster.create("op-twice", 2).await;
    cluster.create("op-twice-out", 1).await;
    let words = ["ant", "bee", "asp", "crow", "bird"];
    cluster.produce("op-twice", words.map(Message::of)).await;
    let worker = cluster.run(cluster.app("op-twice").only::<twice>()).await;
    let mut out: Vec<_> =
        cluster.read_count("op-twice-out", 5).await.iter().map(|m| (m.key_text(), m.text())).collect();
    worker.stop().await.unwrap();
    out.sort();
    let expected = [("3", "ANT"), ("3", "ASP"), ("3", "BEE"), ("4", "BIRD"), ("4", "CROW")];
    assert_eq!(out, expected.map(|(length, word)| (length.to_owned(), word.to_owned())));
}
