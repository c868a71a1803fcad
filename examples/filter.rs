//! Forwards the popular clicks, those with a number of 100 or more, keyed by URI.
use faust::prelude::*;

#[record]
struct ClickEvent {
    email: String,
    timestamp: String,
    uri: String,
    number: i64,
}

/// Forwards popular clicks.
#[agent(topic = "com.udacity.streams.clickevents")]
async fn clickevent(
    clickevents: Stream<ClickEvent>,
    #[topic("com.udacity.streams.clickevents.popular")] popular_uris_topic: Topic<String, ClickEvent>,
) -> Result<()> {
    let mut popular = clickevents.filter(|clickevent| clickevent.number >= 100);
    while let Some(clickevent) = popular.next().await {
        popular_uris_topic.send(&clickevent.uri, &clickevent).await?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("filter").main()
}
