//! The click-stream tour: produces a shop's clicks and processes them with agents, in one command.
//!
//! `cargo run --release -- worker` starts the embedded broker, produces clicks, and runs the agents below. From a second
//! terminal you can inspect it (`cargo run --release -- topics`, `-- consume tour.popular --keys`) or start a second
//! `-- worker`, which is assigned half of the partitions.

use std::process::ExitCode;
use std::time::Duration;

use faust::prelude::*;
use faust::{Error, Worker};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

const PAGES: [&str; 6] = ["/", "/search", "/cart", "/checkout", "/blog/streams", "/account"];
const CLICKS_A_SECOND: u32 = 10;

fn main() -> ExitCode {
    faust_cli::main_with_background(App::new("tour"), Box::new(|worker| Box::pin(visitors(worker))))
}

/// A visitor opens a page.
#[record]
struct Click {
    /// E-mail address of the visitor.
    email: String,
    /// URI of the page.
    uri: String,
    /// Number of visitors who have the page open.
    #[field(range = 0..=1000)]
    number: i64,
}

/// A click without personal data.
#[record]
struct PopularPage {
    /// URI of the page.
    uri: String,
    /// Number of visitors who have the page open.
    number: i64,
}

/// Forwards the clicks on popular pages, without the e-mail address, keyed by page.
#[agent(topic = "tour.clicks")]
async fn popular(clicks: Stream<Click>, #[topic("tour.popular")] out: Topic<String, PopularPage>) -> Result<()> {
    let mut clicks = clicks.filter(|click| click.number >= 900);
    while let Some(Click { uri, number, .. }) = clicks.next().await {
        let page = PopularPage { uri, number };
        out.send(&page.uri, &page).await?;
    }
    Ok(())
}

/// Prints each popular page. An agent can also be a function of one event.
#[agent(topic = "tour.popular")]
async fn announce(page: PopularPage) {
    println!("popular   {} is open {} times", page.uri, page.number);
}

/// Repartitions the clicks by page and counts them: in total, and in windows of ten seconds.
#[agent(topic = "tour.clicks")]
async fn per_page(
    clicks: Stream<Click>,
    counts: Table<String, u64>,
    #[table(window = tumbling("10s"), expires = "1s")] lately: WindowedTable<String, u64>,
) {
    let mut clicks = clicks.group_by("uri", |click| click.uri.clone());
    while let Some(click) = clicks.next().await {
        lately.update(&click.uri, |count| *count += 1);
        counts.update(&click.uri, |count| *count += 1);
        // The table contains exactly the committed counts, also after a crash or a rebalance.
        let count = counts.get(&click.uri);
        if count.is_multiple_of(20) {
            println!("per page  {} has had {count} clicks", click.uri);
        }
    }
}

/// Prints the number of clicks on each page when a window of ten seconds closes.
#[window_close(table = "lately")]
async fn over(uri: String, window: Window, count: u64) {
    println!("lately    {uri} had {count} clicks in {window}");
}

/// Produces clicks while the worker runs. One in a hundred is invalid, to demonstrate the dead-letter topic.
async fn visitors(worker: &Worker) {
    if let Err(error) = click_around(worker).await {
        worker.fail(error);
    }
}

async fn click_around(worker: &Worker) -> Result<(), Error> {
    let topic = worker.topic::<RawKey, Click>("tour.clicks")?;
    worker.ready().await;
    println!(
        "{CLICKS_A_SECOND} clicks per second are sent to tour.clicks; one in 100 is invalid and goes to tour-dead-letter"
    );
    let mut pace = tokio::time::interval(Duration::from_secs(1) / CLICKS_A_SECOND);
    let mut random = u64::from(std::process::id());
    for n in 1_u64.. {
        pace.tick().await;
        // A linear congruential generator is sufficient here and needs no dependency.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (page, user, number) = (random >> 33, (random >> 40) % 100, (random >> 48) % 1000);
        topic
            .send_value(&Click {
                email: format!("user{user}@example.com"),
                uri: PAGES[page as usize % PAGES.len()].to_owned(),
                number: if n % 100 == 0 { -1 } else { number as i64 },
            })
            .await?;
    }
    Ok(())
}
