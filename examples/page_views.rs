//! Counts the views of each page in windows of a minute, and publishes a count when its window is over.
use faust::prelude::*;

/// A view; `at` decides its window, in milliseconds since 1970, and not the time of the message.
#[record(timestamp = at)]
struct PageView {
    page: String,
    at: i64,
}

#[record]
struct Total {
    from: i64,
    views: u64,
}

/// Brings the views of one page together, and counts them.
#[agent(topic = "page_views")]
async fn count(
    views: Stream<PageView>,
    #[table(window = tumbling("1m"), expires = "10s")] counts: WindowedTable<String, u64>,
) {
    let mut views = views.group_by("page", |view| view.page.clone());
    while let Some(PageView { page, .. }) = views.next().await {
        counts.update(&page, |count| *count += 1);
    }
}

/// Publishes the final count: ten seconds after its end, by the time of the views, a window takes no more.
#[window_close(table = "counts")]
async fn over(page: String, at: Window, views: u64, #[topic("page_totals")] out: Topic<String, Total>) -> Result<()> {
    out.send(&page, &Total { from: at.start().as_millis(), views }).await?;
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("page_views").main()
}
