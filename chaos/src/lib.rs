//! Faults on workers, brokers and the network, and a verifier that recomputes what the workers wrote.
//!
//! `scripts/chaos` runs the program `chaos`, which starts Apache Kafka, feeds events, runs several workers (`chaos-worker`), and
//! disturbs them by a schedule from a seed. At the end of each scenario, `chaos-verify` reads the input and all outputs.

mod random;
mod topics;
mod verify;
mod run;

use std::process::ExitCode;

/// Any error. The programs only print it.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs the program `chaos`, and returns its exit code: success only if everything was verified.
pub fn chaos() -> ExitCode {
    run::main()
}

/// Runs the program `chaos-verify`, and returns its exit code: success only if everything was verified.
pub fn verifier() -> ExitCode {
    verify::main()
}
