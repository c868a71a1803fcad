//! Adds a score to each click with a processor, a function that is applied to every event before the agent receives it.
use faust::prelude::*;

#[record]
struct ClickEvent {
    email: String,
    timestamp: String,
    uri: String,
    number: i64,
    #[field(default)]
    score: i64,
}

/// Computes the score: longer URIs and larger numbers score higher, up to 100.
fn add_score(mut clickevent: ClickEvent) -> ClickEvent {
    clickevent.score = (clickevent.uri.len() as i64 + clickevent.number / 10).min(100);
    clickevent
}

/// Forwards each click with its score.
#[agent(topic = "com.udacity.streams.clickevents")]
async fn clickevent(
    clickevents: Stream<ClickEvent>,
    #[topic("com.udacity.streams.clickevents.scored")] scored_topic: Topic<String, ClickEvent>,
) -> Result<()> {
    let mut clickevents = clickevents.add_processor(add_score);
    while let Some(clickevent) = clickevents.next().await {
        scored_topic.send(&clickevent.uri, &clickevent).await?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("processors").main()
}
