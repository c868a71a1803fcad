//! A model of the commit protocol as it is built, checked exhaustively: every state within the bounds is visited.
//!
//! Each model runs once with all rules, when its properties must hold, and once for each rule that is left out, when a
//! counterexample must be found. A change of the protocol changes the model first.
//!
//! `cargo run --release -p faust-model` runs all cases, `-- NAME` those whose name contains a text, and `-- NAME --trace` also
//! prints the steps of a shortest counterexample.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

mod case;
mod groups;
mod owners;
mod topics;

use std::process::ExitCode;

use case::Cases;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let traces = arguments.iter().position(|argument| argument == "--trace").map(|at| arguments.remove(at)).is_some();
    let mut cases = Cases::new(arguments.first().cloned().unwrap_or_default(), traces);
    owners::run(&mut cases);
    topics::run(&mut cases);
    groups::run(&mut cases);
    cases.verdict()
}
