//! The program `chaos-verify`: reads all topics, and reports the first faults.

use std::process::ExitCode;

use clap::Parser;

use super::guarantee::Guarantee;
use super::judge::judge;
use super::read::TopicReader;

/// Reads the input and all outputs of the worker under test with read_committed, recomputes every output, and compares.
///
/// Exits with 0 if everything is right, with 1 after the first faults, each with topic, partition, offset and key. Workers must
/// have finished the input.
#[derive(Parser, Debug)]
#[command(name = "chaos-verify")]
struct Arguments {
    /// Bootstrap address of the brokers
    #[arg(long, value_name = "HOST:PORT")]
    bootstrap: String,
    /// The law that the outputs must obey
    #[arg(long, value_enum, default_value_t = Guarantee::ExactlyOnce)]
    guarantee: Guarantee,
    /// Number of events that were fed; another number of events in the input is a fault
    #[arg(long, value_name = "COUNT")]
    events: Option<usize>,
}

/// Runs the program.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let verified =
        TopicReader::new(&arguments.bootstrap).and_then(|reader| judge(&reader, arguments.guarantee, arguments.events));
    let (figures, faults) = match verified {
        Ok(verified) => verified,
        Err(error) => {
            eprintln!("chaos-verify: {error}");
            return ExitCode::FAILURE;
        }
    };
    for fault in &faults.first {
        eprintln!("chaos-verify: {fault}");
    }
    if faults.count > 0 {
        eprintln!("chaos-verify: {} faults, of which {} are shown", faults.count, faults.first.len());
    }
    match serde_json::to_string(&figures) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("chaos-verify: {error}"),
    }
    if faults.count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
