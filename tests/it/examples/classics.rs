//! The classic examples of Faust: word count, page views, withdrawals.

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::{Cluster, Message, Program};

/// A timestamp that is the start of a window of one minute, and of one of five minutes.
const NOON: i64 = 1_767_268_800_000;

struct Classic {
    cluster: Cluster,
    name: &'static str,
}

impl Classic {
    /// Starts a cluster with the example's topics, empty, and with one partition each, so that all events are ordered.
    async fn begin(name: &'static str, topics: &[&str]) -> Self {
        let cluster = Cluster::start().await;
        for topic in topics {
            cluster.create(topic, 1).await;
        }
        Self { cluster, name }
    }

    fn program(&self) -> Program {
        let version = std::process::id().to_string();
        Program::example(self.name, self.cluster.dir(self.name)).on(&self.cluster).setting("version", &version)
    }

    /// Runs the worker until all events are processed, and returns the lines that it printed.
    async fn work(&self) -> Vec<String> {
        let printed = self.program().args(["worker", "--until-idle", "1s"]).run().await.success().stdout;
        printed.into_iter().filter(|line| !line.is_empty()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn word_count_counts_words() {
    let classic = Classic::begin("word_count", &["lines", "words"]).await;
    classic.program().args(["send", "lines", "-"]).stdin("To be, or not to be:\nthat is it\n").run().await.success();
    classic.program().args(["send", "lines", "Be it."]).run().await.success();
    let mut counted = BTreeMap::<String, Vec<u32>>::new();
    for line in classic.work().await {
        let (word, count) = line.split_once(": ").unwrap();
        counted.entry(word.to_owned()).or_default().push(count.parse().unwrap());
    }
    let times = [("to", 2), ("be", 3), ("or", 1), ("not", 1), ("that", 1), ("is", 1), ("it", 2)];
    assert_eq!(counted, times.map(|(word, count)| (word.to_owned(), (1..=count).collect())).into());

    // The next worker continues from the table.
    classic.program().args(["send", "lines", "be"]).run().await.success();
    assert_eq!(classic.work().await, ["be: 4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_views_publishes_each_minute_after_its_end() {
    let classic = Classic::begin("page_views", &["page_views", "page_totals"]).await;
    let view = |(page, seconds): (&str, i64)| {
        // The timestamp of the message itself is a different one.
        Message::of(json!({"page": page, "at": NOON + seconds * 1000}).to_string()).at(NOON - 86_400_000)
    };
    let views = [("/", 0), ("/cart", 1), ("/", 59), ("/", 60), ("/", 69), ("/cart", 58), ("/", 71), ("/cart", 2)];
    classic.cluster.produce("page_views", views.map(view)).await;
    assert_eq!(classic.work().await, [""; 0]);
    let totals = async || {
        let totals = classic.cluster.read("page_totals").await;
        let total = |total: &Message| {
            let value = total.json();
            (total.key_text(), (value["from"].as_i64().unwrap() - NOON) / 1000, value["views"].as_u64().unwrap())
        };
        let mut totals: Vec<_> = totals.iter().map(total).collect();
        totals.sort();
        totals
    };
    // The first minute ended at 60 and accepted views until 70. The last view came later.
    let first = [("/".to_owned(), 0, 2), ("/cart".to_owned(), 0, 2)];
    assert_eq!(totals().await, first);
    // The second minute is closed when another worker reads a later view.
    classic.cluster.produce("page_views", [view(("/", 300))]).await;
    classic.work().await;
    assert_eq!(totals().await, [first[0].clone(), ("/".to_owned(), 60, 3), first[1].clone()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdrawals_reports_users_that_exceed_the_limit() {
    let classic = Classic::begin("withdrawals", &["withdrawals"]).await;
    let withdrawal = |(user, amount, minutes): (&str, i64, i64)| {
        Message::of(json!({"user": user, "amount": amount, "at": NOON + minutes * 60_000}).to_string())
    };
    let made = [
        ("ada", 600, 0),
        ("bob", 1000, 1),
        ("ada", 500, 2),
        ("eve", -2000, 3), // Rejected: the amount is negative.
        ("eve", 1001, 3),
        ("ada", 100, 6),
        ("bob", 1, 8),
        ("ada", 401, 6),
    ];
    classic.cluster.produce("withdrawals", made.map(withdrawal)).await;
    let reports = [("ada", 1100), ("eve", 1001), ("ada", 1001)];
    let reports = reports.map(|(user, sum)| format!("{user} has withdrawn {sum} within five minutes"));
    assert_eq!(classic.work().await, reports);
    let refused = format!("withdrawals-v{}-dead-letter", std::process::id());
    assert_eq!(classic.cluster.count(&refused).await, 1);
}
