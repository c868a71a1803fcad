//! Prints every click.
//!
//! ```text
//! cargo run --example hello_world -- worker    # with a small Kafka of its own, on localhost:9092
//! cargo run --example clicks                   # in a second terminal: feeds it
//! ```
//!
//! For a Kafka of yours, write `App::new("hello_world").setting("broker", "kafka://localhost:9092")`, or leave the
//! program alone and set `FAUST_BROKER=localhost:9092`.
use faust::prelude::*;

/// Prints what arrives.
#[agent(topic = "com.udacity.streams.clickevents")]
async fn clickevent(mut clickevents: Stream<Value>) {
    while let Some(clickevent) = clickevents.next().await {
        println!("{clickevent}");
    }
}

fn main() -> std::process::ExitCode {
    App::new("hello_world").main()
}
