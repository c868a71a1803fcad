//! A `group_by` without a name.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    number: i64,
}

#[agent(topic = "clicks")]
async fn count(clicks: Stream<Click>, counts: Table<String, u64>) {
    let mut clicks = clicks.filter(|click| click.number > 0).group_by(|click| click.uri.clone());
    while let Some(click) = clicks.next().await {
        counts.update(&click.uri, |count| *count += 1);
    }
}

fn main() {}
