//! Verification of a table of counts at the end of a scenario: in its changelog, and restored from it.

use std::collections::BTreeMap;

use super::feed::group;
use super::scenario::PARTITIONS;
use super::work::Work;
use crate::harness::{Cluster, LONG, wait_for};

/// Compares the table `counts` with the events that were fed, key by key.
pub(super) async fn assert_counts(work: Work, id: &str, input: &str, bootstrap: &str, fed: u64) {
    let cluster = Cluster::at(bootstrap).await;
    let mut expected = BTreeMap::new();
    for n in 0..fed {
        *expected.entry((i32::try_from(n % PARTITIONS).unwrap(), group(n))).or_insert(0_u64) += 1;
    }
    let last: BTreeMap<_, _> = cluster
        .read(&format!("{id}-counts-changelog"))
        .await
        .iter()
        .map(|record| ((record.partition.unwrap(), record.key_text()), record.text().parse().unwrap()))
        .collect();
    assert_same(&last, &expected, "the changelog");

    // Without a store, the whole table is restored.
    let app = work.app(id, input).setting("broker", bootstrap).setting("datadir", cluster.dir("restored").display());
    let worker = app.build().unwrap().start().await.unwrap();
    let table = worker.table::<String, u64>("counts").unwrap();
    let all = usize::try_from(PARTITIONS).unwrap();
    wait_for("the restored table", LONG, async || table.partitions().len() == all).await;
    let (mut restored, mut by_key) = (BTreeMap::new(), BTreeMap::new());
    for (key, count) in table.iter().unwrap() {
        *restored.entry(key).or_insert(0) += count;
    }
    for ((_, key), count) in expected {
        *by_key.entry(key).or_insert(0) += count;
    }
    assert_same(&restored, &by_key, "the restored table");
    worker.stop().await.unwrap();
}

fn assert_same<K: Ord + std::fmt::Debug>(found: &BTreeMap<K, u64>, expected: &BTreeMap<K, u64>, what: &str) {
    let wrong: Vec<_> = expected.iter().filter(|(key, count)| found.get(key) != Some(count)).collect();
    let first = wrong.first().map(|(key, count)| format!("{key:?}: {:?} instead of {count}", found.get(key)));
    assert!(wrong.is_empty(), "{what} has wrong counts for {} of {} keys; {first:?}", wrong.len(), expected.len());
    assert_eq!(found.len(), expected.len(), "{what} has keys that were never fed");
}
