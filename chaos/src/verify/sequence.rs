//! The order of numbered outputs: exactly 0, 1, 2 and so on, or with runs that begin again at an earlier number.

use std::collections::HashMap;

use super::fault::Problem;
use super::guarantee::Guarantee;

/// The outputs that were accepted so far.
#[derive(Debug)]
pub(crate) struct Sequence {
    guarantee: Guarantee,
    /// The lowest number that has not occurred. All lower ones have.
    next: i64,
    /// The last number of each run.
    runs: HashMap<u64, i64>,
    repeats: u64,
}

impl Sequence {
    pub(crate) fn new(guarantee: Guarantee) -> Self {
        Self { guarantee, next: 0, runs: HashMap::new(), repeats: 0 }
    }

    /// Returns how many numbers were repeated.
    pub(crate) fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Returns the lowest number that has not occurred.
    pub(crate) fn next(&self) -> i64 {
        self.next
    }

    /// Accepts the next output. `run` identifies the start of the agent that has sent it.
    ///
    /// Under at-least-once, the outputs of a run are consecutive, because an agent processes a partition in order, and its
    /// first one was preceded by all lower numbers, because it begins at a commit, which covers finished events only.
    ///
    /// # Errors
    /// Returns what is wrong, and the expected number. The sequence then continues after the found one, so that one fault is
    /// not reported again with every later output.
    pub(crate) fn accept(&mut self, number: i64, run: u64) -> Result<(), (Problem, String)> {
        let before = self.runs.insert(run, number);
        let next = self.next;
        self.next = next.max(number + 1);
        if number > next {
            return Err((Problem::Lost, format!("number {next}")));
        }
        if self.guarantee == Guarantee::ExactlyOnce {
            return if number == next { Ok(()) } else { Err((Problem::Duplicate, format!("number {next}"))) };
        }
        if number < next {
            self.repeats += 1;
        }
        match before {
            Some(before) if number > before + 1 => Err((Problem::Lost, format!("number {} of run {run}", before + 1))),
            Some(before) if number == before => {
                Err((Problem::Duplicate, format!("number {} of run {run}", before + 1)))
            }
            Some(before) if number < before => {
                Err((Problem::OutOfOrder, format!("number {} of run {run}", before + 1)))
            }
            _ => Ok(()),
        }
    }
}
