//! The output of the program: one line for each thing that happens, with the time since the start.

use std::sync::OnceLock;
use std::time::Instant;

static BEGAN: OnceLock<Instant> = OnceLock::new();

/// Prints a line.
#[allow(clippy::print_stdout, reason = "a program for the terminal")]
pub(crate) fn say(line: impl AsRef<str>) {
    let began = BEGAN.get_or_init(Instant::now);
    println!("{:7.1} s  {}", began.elapsed().as_secs_f64(), line.as_ref());
}

/// Prints the last line of the program.
#[allow(clippy::print_stdout, reason = "a program for the terminal")]
pub(crate) fn say_result(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
}

/// Prints an error.
#[allow(clippy::print_stderr, reason = "a program for the terminal")]
pub(crate) fn say_error(line: impl AsRef<str>) {
    eprintln!("chaos: {}", line.as_ref());
}
