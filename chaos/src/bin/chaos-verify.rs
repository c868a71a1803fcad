//! Verifies the topics of the worker `chaos-worker` against its input: `chaos-verify --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    faust_chaos::verifier()
}
