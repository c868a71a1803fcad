//! Sums the numbers of the clicks on each page in consecutive windows of ten seconds.
use faust::prelude::*;

#[record]
struct ClickEvent {
    email: String,
    timestamp: String,
    uri: String,
    number: i64,
}

/// Adds each click to its window, and prints the current sum of that window.
#[agent(topic = "com.udacity.streams.clickevents")]
async fn clickevent(
    clickevents: Stream<ClickEvent>,
    #[table(window = tumbling("10s"))] uri_summary: WindowedTable<String, i64>,
) -> Result<()> {
    let mut clickevents = clickevents.group_by("uri", |ce| ce.uri.clone());
    while let Some(ce) = clickevents.next().await {
        uri_summary.update(&ce.uri, |sum| *sum += ce.number);
        println!("{}: {}", ce.uri, uri_summary.get(&ce.uri).current());
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("tumbling_window").main()
}
