//! The filter workload in this framework, as a user would write it.

use faust::prelude::*;

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

#[record]
struct ClickEvent {
    email: String,
    timestamp: String,
    uri: String,
    number: i64,
}

/// Forwards the popular clicks.
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
    // Each run uses its own consumer group, so that it reads from the start.
    let run = std::env::var("BENCH_RUN").unwrap_or_default();
    App::new(format!("bench-{run}")).main()
}
