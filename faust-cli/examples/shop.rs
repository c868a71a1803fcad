//! A small app for the tests of the command line: it copies orders and prints them.
#![allow(clippy::print_stdout, reason = "an app may print, a library must not")]

use faust::prelude::*;

/// An order for an item.
#[record]
struct Order {
    /// Name of the item.
    item: String,
    /// Number of items.
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
