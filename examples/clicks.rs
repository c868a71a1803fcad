//! Produces the clicks that the other examples read: `clicks [SEED] [RATE] [COUNT]`, by default 10 per second, endlessly.
//!
//! The same seed produces the same clicks. A rate of 0 is unlimited, a count of 0 endless. The clicks are sent to the
//! broker at `FAUST_BROKER`, or at localhost:9092.
use std::time::Duration;

use faust::prelude::*;
use faust::transport::NewTopic;

const TOPIC: &str = "com.udacity.streams.clickevents";
const PAGES: [&str; 6] = ["/", "/search", "/cart", "/checkout", "/blog/streams", "/account/orders"];

#[record]
struct ClickEvent {
    email: String,
    timestamp: String,
    uri: String,
    number: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let argument = |n, default| std::env::args().nth(n).map_or(Ok(default), |text| text.parse::<u64>());
    let (mut random, rate, count) = (argument(1, 1)?, argument(2, 10)?, argument(3, 0)?);
    let client = App::new("clicks").setting("broker", "localhost:9092").from_process().client().await?;
    let new = NewTopic { name: TOPIC.to_owned(), partitions: 8, replication: 1, configs: Default::default() };
    client.transport().admin()?.create(vec![new]).await?;
    let topic = client.topic::<RawKey, ClickEvent>(TOPIC)?;
    for n in 0..if count == 0 { u64::MAX } else { count } {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (page, user, number) = (PAGES[(random >> 33) as usize % 6], (random >> 40) % 100, (random >> 48) % 200);
        let timestamp =
            format!("2026-01-{:02}T{:02}:{:02}:{:02}Z", n / 86400 % 28 + 1, n / 3600 % 24, n / 60 % 60, n % 60);
        let (email, uri) = (format!("user{user}@example.com"), format!("https://shop.example{page}"));
        topic.send_value(&ClickEvent { email, timestamp, uri, number }).await?;
        if rate > 0 {
            tokio::time::sleep(Duration::from_secs(1) / rate as u32).await;
        }
    }
    Ok(client.flush(Duration::from_secs(60)).await?)
}
