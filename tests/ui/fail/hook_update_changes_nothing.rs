//! A hook whose closure calculates the new value, but does not store it.
#![allow(unused)]

use faust::prelude::*;

#[agent(topic = "clicks")]
async fn count(
    mut clicks: Stream<String>,
    #[table(window = tumbling("1m"))] minutes: WindowedTable<String, u64>,
) {
    while let Some(click) = clicks.next().await {
        minutes.update(&click, |count| *count += 1);
    }
}

#[window_close(table = "minutes")]
async fn over(word: String, _: Window, count: u64, totals: Table<String, u64>) {
    totals.update(&word, |total| *total + count);
}

fn main() {}
