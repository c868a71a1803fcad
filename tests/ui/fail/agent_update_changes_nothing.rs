//! A closure that calculates the new value, but does not store it.
#![allow(unused)]

use faust::prelude::*;

#[agent(topic = "clicks")]
async fn count(mut clicks: Stream<String>, counts: Table<String, u64>) {
    while let Some(click) = clicks.next().await {
        counts.update(&click, |count| *count + 1);
    }
}

fn main() {}
