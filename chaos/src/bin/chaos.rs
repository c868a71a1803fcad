//! Runs workers, disturbs them, and verifies the results: `scripts/chaos --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    faust_chaos::chaos()
}
