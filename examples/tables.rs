//! Sums the numbers of the clicks on each page, in a table.
use faust::prelude::*;

#[record]
struct ClickEvent {
    email: String,
    timestamp: String,
    uri: String,
    number: i64,
}

/// Repartitions the clicks by page, and sums their numbers.
#[agent(topic = "com.udacity.streams.clickevents")]
async fn clickevent(clickevents: Stream<ClickEvent>, uri_summary: Table<String, i64>) -> Result<()> {
    let mut clickevents = clickevents.group_by("uri", |ce| ce.uri.clone());
    while let Some(ce) = clickevents.next().await {
        uri_summary.update(&ce.uri, |sum| *sum += ce.number);
        println!("{}: {}", ce.uri, uri_summary.get(&ce.uri));
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("tables").main()
}
