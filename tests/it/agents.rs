//! What agents do with what they read: one scenario for each way to read and each way to write.

use faust::prelude::*;

use crate::harness::{Cluster, Message};

#[record]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Click {
    pub(crate) uri: String,
    pub(crate) number: i64,
}

/// Passes on every second value, times ten.
#[agent(topic = "agents-filter-map")]
async fn filter_map(numbers: Stream<i64, String>, #[topic("agents-filter-map-out")] out: Topic<String, i64>) -> Result<()> {
    let mut numbers = numbers.filter(|n| n % 2 == 0).map(|n| n * 10).items();
    while let Some((key, number)) = numbers.next().await {
        out.send(&key, &number).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_pass_on_what_they_keep_in_order() {
    let cluster = Cluster::start().await;
    cluster.create("agents-filter-map", 4).await;
    cluster.create("agents-filter-map-out", 4).await;
    cluster.produce("agents-filter-map", (0..100).map(|n| Message::of(n.to_string()).key(format!("k{}", n % 5)))).await;
    let worker = cluster.run(cluster.app("filter-map").agent::<filter_map>()).await;
    let out = cluster.read_count("agents-filter-map-out", 50).await;
    cluster.wait_done(&cluster.id("filter-map"), "agents-filter-map", 100).await;
    worker.stop().await.unwrap();
    for key in 0..5 {
        let key = format!("k{key}");
        let values: Vec<i64> = out.iter().filter(|m| m.key_text() == key).map(|m| m.text().parse().unwrap()).collect();
        let expected: Vec<i64> = (0..100).filter(|n| format!("k{}", n % 5) == key && n % 2 == 0).map(|n| n * 10).collect();
        assert_eq!(values, expected, "{key}");
    }
}
