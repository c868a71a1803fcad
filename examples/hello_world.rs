//! Prints every click.
//!
//! ```text
//! cargo run --example hello_world -- worker    # with an embedded broker on localhost:9092
//! cargo run --example clicks                   # in a second terminal: produces clicks
//! ```
//!
//! To use your own Kafka, write `App::new("hello_world").setting("broker", "kafka://localhost:9092")`, or set the
//! environment variable `FAUST_BROKER=localhost:9092`.
use faust::prelude::*;

/// Prints every click.
#[agent(topic = "com.udacity.streams.clickevents")]
async fn clickevent(mut clickevents: Stream<Value>) {
    while let Some(clickevent) = clickevents.next().await {
        println!("{clickevent}");
    }
}

fn main() -> std::process::ExitCode {
    App::new("hello_world").main()
}
