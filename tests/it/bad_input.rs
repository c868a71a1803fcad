//! Messages that cannot be decoded: they do not block their partition, are not lost, and are reported with a reason.

use std::collections::BTreeMap;

use faust::dead_letter;
use faust::prelude::*;

use crate::harness::{Cluster, Message};

#[record]
#[derive(Clone, Debug, PartialEq)]
struct Click {
    uri: String,
    #[field(range = 0..)]
    number: i64,
}

#[agent(topic = "bad-many")]
async fn many(mut clicks: Stream<Click>, #[topic("bad-many-out")] out: Topic<RawKey, i64>) -> Result<()> {
    while let Some(event) = clicks.next_event().await {
        out.send_with(&RawKey::NONE, &event.value().number, |m| m.partition(event.partition())).await?;
    }
    Ok(())
}

/// The kinds of malformed messages, each with a part of the expected error.
const BAD: [(&str, &str); 7] = [
    ("broken", "EOF while parsing"),
    ("type", "number: expected i64, found string \"clicks\""),
    ("missing", "number: missing field"),
    ("empty", "value: "),
    ("large", "value: "),
    ("utf8", "value: "),
    ("range", "number: "),
];

fn bad(kind: &str) -> Vec<u8> {
    match kind {
        "broken" => br#"{"uri":"/","number""#.to_vec(),
        "type" => br#"{"uri":"/","number":"clicks"}"#.to_vec(),
        "missing" => br#"{"uri":"/"}"#.to_vec(),
        "empty" => Vec::new(),
        "large" => vec![b'x'; 1_000_000],
        "utf8" => b"{\"uri\":\"\xff\xfe\",\"number\":1}".to_vec(),
        _ => br#"{"uri":"/","number":-1}"#.to_vec(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valid_messages_are_processed_in_order_and_malformed_ones_are_dead_letters() {
    let cluster = Cluster::start().await;
    let count = 100_000;
    cluster.create("bad-many", 4).await;
    cluster.create("bad-many-out", 4).await;
    // Every hundredth message is malformed. Every fiftieth of those is a large one, of a megabyte.
    let kind = |n: i64| match n / 100 {
        large if large % 50 == 0 => "large",
        other => BAD
            .map(|(kind, _)| kind)
            .into_iter()
            .filter(|kind| *kind != "large")
            .nth(usize::try_from(other % 6).unwrap())
            .unwrap(),
    };
    let message = |n: i64| {
        let partition = i32::try_from(n % 4).unwrap();
        let message = if n % 100 == 99 {
            Message::of(bad(kind(n))).header("kind", kind(n))
        } else {
            Message::of(format!(r#"{{"uri":"/{}","number":{n}}}"#, n % 10))
        };
        message.key(n.to_string()).to(partition).at(1_000_000 + n)
    };
    cluster.produce("bad-many", (0..count).map(message)).await;
    let worker = cluster.run(cluster.app("bad-many").only::<many>()).await;
    let group = cluster.id("bad-many");
    cluster.wait_done(&group, "bad-many", 100_000).await;
    worker.stop().await.unwrap();
    let counts = worker.status().counts;
    assert_eq!((counts.events, counts.dead_letters, counts.skipped), (100_000, 1_000, 0));

    let mut good: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for message in cluster.read("bad-many-out").await {
        good.entry(message.partition.unwrap()).or_default().push(message.text().parse().unwrap());
    }
    for partition in 0..4 {
        let expected: Vec<i64> = (0..count).filter(|n| n % 100 != 99 && n % 4 == i64::from(partition)).collect();
        assert!(
            good[&partition] == expected,
            "partition {partition} has {} of {}",
            good[&partition].len(),
            expected.len()
        );
    }

    let mut letters = cluster.read(&format!("{group}-dead-letter")).await;
    letters.sort_by_key(|letter| letter.key_text().parse::<i64>().unwrap());
    assert_eq!(letters.len(), 1_000);
    for (letter, n) in letters.iter().zip((99..count).step_by(100)) {
        let kind = kind(n);
        let header = |name| letter.header_text(name).unwrap_or_else(|| panic!("{name} is missing in {letter:?}"));
        assert_eq!((letter.key_text(), letter.timestamp), (n.to_string(), Some(1_000_000 + n)));
        assert!(letter.value == Some(bad(kind)), "the value of {letter:?} has changed");
        assert_eq!(
            (header("kind"), header(dead_letter::AGENT), header(dead_letter::TOPIC)),
            (kind, "many", "bad-many")
        );
        let place = (header(dead_letter::PARTITION), header(dead_letter::OFFSET));
        assert_eq!(place, (&*(n % 4).to_string(), &*(n / 4).to_string()));
        let reason = BAD.iter().find(|(name, _)| *name == kind).unwrap().1;
        assert!(header(dead_letter::ERROR).contains(reason), "{kind}: {}", header(dead_letter::ERROR));
    }
}

#[agent(topic = "bad-skip")]
async fn skipping(mut clicks: Stream<Click>, #[topic("bad-skip-out")] out: Topic<RawKey, i64>) -> Result<()> {
    while let Some(click) = clicks.next().await {
        out.send(&RawKey::NONE, &click.number).await?;
    }
    Ok(())
}

fn three_with_a_bad_one() -> [Message; 3] {
    [r#"{"uri":"/","number":1}"#, r#"{"uri":"/","number":"x"}"#, r#"{"uri":"/","number":3}"#].map(Message::of)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_skip_policy_skips_malformed_messages_and_counts_them() {
    let cluster = Cluster::start().await;
    cluster.create("bad-skip", 1).await;
    cluster.create("bad-skip-out", 1).await;
    cluster.produce("bad-skip", three_with_a_bad_one()).await;
    let group = cluster.id("bad-skip");
    let worker = cluster.run(cluster.app("bad-skip").only::<skipping>().setting("on_decode_error", "skip")).await;
    cluster.wait_done(&group, "bad-skip", 3).await;
    worker.stop().await.unwrap();
    assert_eq!(cluster.texts("bad-skip-out").await, ["1", "3"]);
    assert_eq!((worker.status().counts.skipped, worker.status().counts.dead_letters), (1, 0));
    assert_eq!(cluster.count(&format!("{group}-dead-letter")).await, 0);
}

#[agent(topic = "bad-stop")]
async fn stopping(_click: Click) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stop_policy_stops_the_worker_with_an_error_that_names_the_offset() {
    let cluster = Cluster::start().await;
    cluster.create("bad-stop", 1).await;
    cluster.produce("bad-stop", three_with_a_bad_one()).await;
    let group = cluster.id("bad-stop");
    let app = || cluster.app("bad-stop").only::<stopping>().setting("on_decode_error", "stop");
    for _ in 0..2 {
        let worker = cluster.run(app()).await;
        let error = worker.wait().await.unwrap_err();
        assert!(matches!(error, faust::Error::Decode { .. }), "{error:?}");
        let expected = "agent `stopping` cannot read bad-stop[0] offset 1: value: number: expected i64, found string \"x\"; \
                        fix the producer, or set `on_decode_error` to `dead_letter` or `skip`";
        assert_eq!(error.to_string(), expected);
        assert!(cluster.done(&group, "bad-stop").await <= 1);
    }
}

#[agent(topic = "bad-key")]
async fn numbered(mut clicks: Stream<Value, i64>, #[topic("bad-key-out")] out: Topic<i64, Value>) -> Result<()> {
    while let Some(event) = clicks.next_event().await {
        out.send(event.key(), event.value()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_cannot_be_decoded_is_a_dead_letter_too() {
    let cluster = Cluster::start().await;
    cluster.create("bad-key", 1).await;
    cluster.create("bad-key-out", 1).await;
    let messages =
        [Message::of("1").key("7"), Message::of("2").key("seven"), Message::of("3"), Message::tombstone("8")];
    cluster.produce("bad-key", messages).await;
    let group = cluster.id("bad-key");
    let worker = cluster.run(cluster.app("bad-key").only::<numbered>()).await;
    cluster.wait_done(&group, "bad-key", 4).await;
    worker.stop().await.unwrap();
    // A tombstone is decoded as JSON `null`.
    let out: Vec<_> = cluster.read("bad-key-out").await.iter().map(|m| (m.key_text(), m.text())).collect();
    assert_eq!(out, [("7".to_owned(), "1".to_owned()), ("8".to_owned(), "null".to_owned())]);
    let mut reasons: Vec<_> = cluster.read(&format!("{group}-dead-letter")).await;
    reasons.sort_by_key(Message::text);
    assert_eq!(reasons.len(), 2);
    for letter in reasons {
        assert!(letter.header_text(dead_letter::ERROR).unwrap().starts_with("key: "), "{letter:?}");
    }
}
