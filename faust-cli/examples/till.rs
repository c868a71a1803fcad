//! A small app with tables for the tests of the command line: it sums up sales in total and per minute.
#![allow(clippy::print_stdout, reason = "an app may print, a library must not")]

use faust::prelude::*;

/// Sums up sales.
#[agent(topic = "sales")]
async fn add(
    sales: Stream<i64>,
    sums: Table<String, i64>,
    #[table(window = tumbling("1m"))] minutes: WindowedTable<String, i64>,
) -> Result<()> {
    let mut sales = sales.group_by("place", |amount| if *amount < 100 { "shop" } else { "store" }.to_owned());
    while let Some(sale) = sales.next_event().await {
        sums.update(sale.key(), |sum| *sum += sale.value());
        minutes.update(sale.key(), |sum| *sum += sale.value());
        println!("{} {}", sale.key(), sums.get(sale.key()));
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("till").main()
}
