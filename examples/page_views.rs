//! Counts the views of each page in windows of a minute, and publishes each count when its window has closed.
use faust::prelude::*;

/// A page view. Its window is selected by `at`, in milliseconds since 1970, not by the timestamp of the message.
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

/// Repartitions the views by page, and counts them.
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

/// Publishes the final count. A window closes when the time of the views has passed its end by ten seconds.
#[window_close(table = "counts")]
async fn over(page: String, at: Window, views: u64, #[topic("page_totals")] out: Topic<String, Total>) -> Result<()> {
    out.send(&page, &Total { from: at.start().as_millis(), views }).await?;
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("page_views").main()
}
