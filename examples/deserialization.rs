//! Decodes clicks into a struct, and prints them as indented JSON.
//!
//! The key is an optional string, because many producers send none. A message that is not a click (with a string as
//! `number`, or without `uri`) is sent to the topic `deserialization-dead-letter` with the reason.
use faust::prelude::*;

#[record]
struct ClickEvent {
    email: String,
    timestamp: String,
    uri: String,
    number: i64,
}

/// Prints each click.
#[agent(topic = "com.udacity.streams.clickevents")]
async fn clickevent(mut clickevents: Stream<ClickEvent, Option<String>>) -> Result<()> {
    while let Some(clickevent) = clickevents.next().await {
        println!("{}", faust::serde_json::to_string_pretty(&clickevent)?);
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("deserialization").main()
}
