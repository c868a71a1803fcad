//! The framework's side of the benchmark: the filter as a user writes it.

use faust::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[record]
struct ClickEvent {
    email: String,
    timestamp: String,
    uri: String,
    number: i64,
}

/// Passes on the popular clicks.
#[agent(topic = "bench.clicks")]
async fn filter(
    clicks: Stream<ClickEvent>,
    #[topic("bench.popular")] popular: Topic<String, ClickEvent>,
) -> Result<()> {
    let mut clicks = clicks.filter(|click| click.number >= 100);
    while let Some(click) = clicks.next().await {
        popular.send(&click.uri, &click).await?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    // A consumer group of its own for each run, so that each reads from the start.
    let run = std::env::var("BENCH_RUN").unwrap_or_default();
    App::new(format!("bench-{run}")).main()
}
