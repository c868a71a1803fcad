//! All forms of agents. Each remains a function that can be called.
#![deny(warnings)]

use faust::prelude::*;

const VIEWS: &str = "views";

#[record]
pub struct Click {
    pub uri: String,
    pub number: i64,
}

/// Counts clicks.
#[agent(topic = "clicks")]
pub async fn stream(mut clicks: Stream<Click>) {
    while let Some(_click) = clicks.next().await {}
}

#[agent(topics = ["clicks", VIEWS], name = "several", key_codec = "raw", value_codec = "json")]
async fn several(
    mut clicks: Stream<Click, String>,
    #[topic("pages", partitions = 3, replication = 1, retention = "7d", compacting)] pages: Topic<String, Click>,
    #[topic(VIEWS, value_codec = "binary|json")] views: Topic<RawKey, i64>,
) -> Result<()> {
    while let Some(click) = clicks.next().await {
        views.send(&RawKey::NONE, &click.number).await?;
        pages.send(&click.uri.clone(), &click).await?;
    }
    Ok(())
}

#[agent(topic = "clicks")]
async fn any_json(mut values: Stream<Value>) -> std::io::Result<()> {
    while let Some(_value) = values.next().await {}
    Ok(())
}

#[agent(topic = "clicks")]
async fn per_event(_click: Click) {}

#[agent(topic = "clicks")]
async fn taken_apart(Click { uri, .. }: Click, #[topic("pages")] pages: Topic<String, String>) -> Result<()> {
    pages.send(&uri, &uri).await?;
    Ok(())
}

#[agent(topic = "clicks", sink = "scored")]
async fn to_a_sink(click: Click) -> i64 {
    click.number
}

#[agent(topic = "clicks", sinks = ["scored", VIEWS])]
async fn to_sinks(event: Event<Click, String>) -> Result<String> {
    Ok(event.key().clone())
}

#[agent(topic = "clicks")]
async fn deletions(_click: Option<Click>) -> Result<()> {
    Ok(())
}

/// An agent whose topics are set by the builder.
#[agent]
async fn without_topic(_click: Click) {}

fn main() {
    let agents = [<stream as faust::AgentHandle>::DEF, <without_topic as faust::AgentHandle>::DEF];
    drop((agents, per_event(Click { uri: String::new(), number: 1 })));
}
