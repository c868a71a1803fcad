//! A small app for the tests of the command line: it copies orders, and says so.
#![allow(clippy::print_stdout, reason = "an app prints, a library does not")]

use faust::prelude::*;

/// Something bought.
#[record]
struct Order {
    /// What.
    item: String,
    /// How many.
    #[field(default = 1, range = 1..=100)]
    count: u32,
}

/// Copies orders.
#[agent(topic = "orders")]
async fn copy(mut orders: Stream<Order>, #[topic("copies")] copies: Topic<String, Order>) -> Result<()> {
    while let Some(order) = orders.next().await {
        println!("{} x {}", order.count, order.item);
        copies.send(&order.item, &order).await?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("shop").main()
}
