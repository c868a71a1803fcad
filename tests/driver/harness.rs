//! Parts of several scenarios: topics with configurations, and agents that keep texts of given lengths in a table.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use faust::AppBuilder;
use faust::prelude::*;
use faust::testing::TestDriver;
use faust::transport::{NewTopic, Transport};
use futures_util::FutureExt;

/// Creates an app under at-least-once, for scenarios whose messages are visible before their commit.
pub(super) fn at_least_once(name: &str) -> AppBuilder {
    App::new(name).setting("processing_guarantee", "at_least_once")
}

/// Creates a topic with one partition and these configurations.
pub(super) fn create_with(driver: &TestDriver, name: &str, configs: &[(&str, &str)]) {
    let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let topic = NewTopic { name: name.to_owned(), partitions: 1, replication: 1, configs };
    driver.cluster().admin().unwrap().create(vec![topic]).now_or_never().unwrap().unwrap();
}

/// Creates the topic `texts`, which refuses messages of more than a thousand bytes.
pub(super) fn create_small_topic(driver: &TestDriver) {
    create_with(driver, "texts", &[("max.message.bytes", "1000")]);
}

thread_local! {
    /// The number of further failures of each length.
    pub(super) static FLAKY: RefCell<BTreeMap<i64, u32>> = RefCell::default();
}

/// Keeps a text of the event's length in a table, unless the length fails.
fn keep(texts: &Table<String, String>, event: &Event<i64, String>) -> Result<()> {
    let fails = FLAKY.with_borrow_mut(|left| {
        let left = left.entry(*event.value()).or_default();
        let fails = *left > 0;
        *left = left.saturating_sub(1);
        fails
    });
    if fails {
        return Err("the database is unavailable".into());
    }
    texts.set(event.key(), "x".repeat(usize::try_from(*event.value())?));
    Ok(())
}

/// Keeps a text of each length, and sends the length on.
#[agent(topic = "in")]
pub(super) async fn lengthy(
    mut lengths: Stream<i64, String>,
    #[table(name = "lengthy")] texts: Table<String, String>,
    #[topic("out")] out: Topic<RawKey, i64>,
) -> Result<()> {
    while let Some(event) = lengths.next_event().await {
        keep(&texts, &event)?;
        out.send(&RawKey::NONE, event.value()).await?;
    }
    Ok(())
}

/// Keeps the texts in batches of two.
#[agent(topic = "in")]
pub(super) async fn lengthy_pairs(
    lengths: Stream<i64, String>,
    #[table(name = "lengthy")] texts: Table<String, String>,
) -> Result<()> {
    let mut pairs = lengths.take(2, Duration::from_millis(100));
    while let Some(pair) = pairs.next_events().await {
        for event in pair {
            keep(&texts, &event)?;
        }
    }
    Ok(())
}

/// Keeps the texts of another topic in the same table.
#[agent(topic = "other")]
pub(super) async fn other_lengthy(
    mut lengths: Stream<i64, String>,
    #[table(name = "lengthy")] texts: Table<String, String>,
) -> Result<()> {
    while let Some(event) = lengths.next_event().await {
        keep(&texts, &event)?;
    }
    Ok(())
}

/// Returns the lengths of the texts in the table, with their keys.
pub(super) fn kept(driver: &TestDriver) -> Vec<(String, usize)> {
    let texts = driver.table::<String, String>("lengthy").unwrap();
    let mut kept: Vec<_> = texts.iter().map(|(key, text)| (key, text.len())).collect();
    kept.sort_by_key(|(_, length)| *length);
    kept
}
