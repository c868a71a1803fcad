//! What the programs of the benchmarks share: the clicks, the meter, the sums that results are compared by.

mod clicks;
mod loops;
mod meter;
mod tally;

use std::process::ExitCode;

pub use self::clicks::{Click, mix};
pub use self::loops::{WITHIN, assign, client, consumer_settings, send, to_the_ends};
pub use self::meter::{Measured, Meter, Usage};
pub use self::tally::{Tally, hash};

/// Any error: these are programs for the terminal.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The size of the windows of `W4-tumbling`, in milliseconds.
pub const WINDOW_MS: i64 = 10_000;

/// The end of a program: what it answers on standard output, or its error.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "programs for the terminal")]
pub fn finish<T: std::fmt::Display>(program: &str, done: Result<T, BoxError>) -> ExitCode {
    match done {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}
