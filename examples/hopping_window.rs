//! Sums the numbers of the clicks on each page in windows of a minute that start every ten seconds.
use faust::prelude::*;

#[record]
struct ClickEvent {
    email: String,
    timestamp: String,
    uri: String,
    number: i64,
}

/// Adds each click to the six windows that contain it, and prints the sum of the latest one.
#[agent(topic = "com.udacity.streams.clickevents")]
async fn clickevent(
    clickevents: Stream<ClickEvent>,
    #[table(window = hopping("1m", "10s"))] uri_summary: WindowedTable<String, i64>,
) -> Result<()> {
    let mut clickevents = clickevents.group_by("uri", |ce| ce.uri.clone());
    while let Some(ce) = clickevents.next().await {
        uri_summary.update(&ce.uri, |sum| *sum += ce.number);
        println!("{}: {}", ce.uri, uri_summary.get(&ce.uri).current());
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("hopping_window").main()
}
