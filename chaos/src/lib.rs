//! A verifier that recomputes what a worker wrote from its input.

mod topics;
mod verify;

use std::process::ExitCode;

/// Any error. The programs only print it.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs the program `chaos-verify`, and returns its exit code: success only if everything was verified.
pub fn verifier() -> ExitCode {
    verify::main()
}
