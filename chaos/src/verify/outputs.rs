//! The check of an output with one record for each event: `echo`, `count`, `sum`, `min` and `max`.

use serde::Deserialize;

use super::fault::{Fault, Faults, Problem};
use super::guarantee::Guarantee;
use super::input::Input;
use super::oracle::Oracle;
use super::record::Record;
use super::sequence::Sequence;
use crate::topics::Output;

/// The value of a record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputValue {
    from: i64,
    run: u64,
    value: i64,
}

/// The state of the check of one topic.
pub(crate) struct OutputCheck<'a> {
    output: Output,
    input: &'a Input,
    oracle: &'a Oracle,
    sequences: Vec<Sequence>,
}

impl<'a> OutputCheck<'a> {
    pub(crate) fn new(output: Output, guarantee: Guarantee, input: &'a Input, oracle: &'a Oracle) -> Self {
        let sequences = input.partitions.iter().map(|_| Sequence::new(guarantee)).collect();
        Self { output, input, oracle, sequences }
    }

    /// Checks the next record of a partition.
    pub(crate) fn record(&mut self, record: &Record<'_>, faults: &mut Faults) {
        if let Err(fault) = self.check(record) {
            faults.add(fault);
        }
    }

    fn check(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let partition = record.index();
        let OutputValue { from, run, value } = record.parse()?;
        let events = &self.input.partitions[partition];
        let event = usize::try_from(from).ok().and_then(|at| Some((events.get(at)?, at)));
        let Some((event, at)) = event else {
            let expected = format!("an event of {} in this partition", events.len());
            return Err(record.fault(Problem::WrongValue, expected, format!("event {from}")));
        };
        let sequence = &mut self.sequences[partition];
        let accepted = sequence.accept(from, run);
        accepted
            .map_err(|(problem, expected)| record.fault(problem, expected, format!("number {from} of run {run}")))?;
        let key = &self.input.keys[event.key];
        if record.key != key.as_bytes() {
            return Err(record.fault(
                Problem::WrongKey,
                format!("`{key}`, the key of event {from}"),
                record.key_text(),
            ));
        }
        let expected = self.output.expected(event.value, &self.oracle.partitions[partition].after[at]);
        if value != expected {
            return Err(record.fault(Problem::WrongValue, format!("{expected} for event {from}"), value));
        }
        Ok(())
    }

    /// Checks that nothing is missing at the ends. Returns the number of repeated records.
    pub(crate) fn finish(self, faults: &mut Faults) -> u64 {
        for ((partition, sequence), events) in (0..).zip(&self.sequences).zip(&self.input.partitions) {
            let Ok(at) = usize::try_from(sequence.next()) else { continue };
            if let Some(event) = events.get(at) {
                faults.add(Fault {
                    topic: self.output.topic().to_owned(),
                    partition,
                    offset: None,
                    key: self.input.keys[event.key].clone(),
                    problem: Problem::Lost,
                    expected: format!("{} records", events.len()),
                    found: format!("no record for event {at} and those after it"),
                });
            }
        }
        self.sequences.iter().map(Sequence::repeats).sum()
    }
}
