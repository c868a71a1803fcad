//! Copies clicks to another topic without the e-mail address, keyed by URI.
use faust::prelude::*;

#[record]
struct ClickEvent {
    email: String,
    timestamp: String,
    uri: String,
    number: i64,
}

#[record]
struct ClickEventSanitized {
    timestamp: String,
    uri: String,
    number: i64,
}

/// Removes the e-mail address.
#[agent(topic = "com.udacity.streams.clickevents")]
async fn clickevent(
    mut clickevents: Stream<ClickEvent>,
    #[topic("com.udacity.streams.clickevents.sanitized")] sanitized_topic: Topic<String, ClickEventSanitized>,
) -> Result<()> {
    while let Some(ClickEvent { timestamp, uri, number, .. }) = clickevents.next().await {
        let sanitized = ClickEventSanitized { timestamp, uri, number };
        sanitized_topic.send(&sanitized.uri, &sanitized).await?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("serialization").main()
}
