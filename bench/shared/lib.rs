//! Code shared by the benchmark programs: the clicks, the meter, and the tallies with which results are compared.

mod clicks;
mod loops;
mod meter;
mod tally;
mod worker;

use std::process::ExitCode;

pub use self::clicks::{Click, mix};
pub use self::loops::{WITHIN, assign, client, consumer_settings, send, to_the_ends};
pub use self::meter::{Measured, Meter, Usage};
pub use self::tally::{Tally, hash};
pub use self::worker::run_worker;

/// Any error. The programs only print it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Window size of `W4-tumbling` in milliseconds.
pub const WINDOW_MS: i64 = 10_000;

/// Prints the result to standard output, or the error to standard error, and returns the exit code.
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
