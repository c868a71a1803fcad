//! A small app for the tests of the command `skip`: one of its agents cannot process the number 13, and another one fails
//! before it reads its stream while a file named `away` exists.
#![allow(clippy::print_stdout, reason = "an app may print, a library must not")]

use std::path::Path;

use faust::prelude::*;

/// Adds the numbers up.
#[agent(topic = "weights")]
async fn sum(mut weights: Stream<i64>, #[table] sums: Table<String, i64>) -> Result<()> {
    while let Some(weight) = weights.next().await {
        if weight == 13 {
            return Err("the scales refuse 13".into());
        }
        sums.update("all", |sum| *sum += weight);
        println!("sum {}", sums.get("all"));
    }
    Ok(())
}

/// Prints all numbers.
#[agent(topic = "weights")]
async fn print(mut weights: Stream<i64>) -> Result<()> {
    if Path::new("away").exists() {
        return Err("the printer is away".into());
    }
    while let Some(weight) = weights.next().await {
        println!("print {weight}");
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    App::new("scales").main()
}
