//! The check of the windows that have closed: each with its final count, none before it was over, none missing.

use std::collections::HashMap;

use serde::Deserialize;

use super::fault::{Fault, Faults, Problem};
use super::guarantee::Guarantee;
use super::input::Input;
use super::oracle::Oracle;
use super::record::Record;
use crate::topics::WINDOWS;

/// The value of a record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClosedCount {
    start: i64,
    count: i64,
}

/// The state of the check.
pub(crate) struct WindowCheck<'a> {
    guarantee: Guarantee,
    input: &'a Input,
    oracle: &'a Oracle,
    keys: HashMap<&'a [u8], usize>,
    /// How often each window was sent, by partition.
    seen: Vec<HashMap<(usize, i64), u64>>,
    /// The latest start so far, by partition.
    latest: Vec<i64>,
}

impl<'a> WindowCheck<'a> {
    pub(crate) fn new(guarantee: Guarantee, input: &'a Input, oracle: &'a Oracle) -> Self {
        let keys = input.keys.iter().enumerate().map(|(index, key)| (key.as_bytes(), index)).collect();
        let partitions = input.partitions.len();
        let (seen, latest) = (vec![HashMap::new(); partitions], vec![i64::MIN; partitions]);
        Self { guarantee, input, oracle, keys, seen, latest }
    }

    /// Checks the next record of a partition.
    pub(crate) fn record(&mut self, record: &Record<'_>, faults: &mut Faults) {
        if let Err(fault) = self.check(record) {
            faults.add(fault);
        }
    }

    fn check(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let partition = record.index();
        let ClosedCount { start, count } = record.parse()?;
        let known = self.keys.get(record.key).map(|key| (*key, start));
        let expected = known.and_then(|window| self.oracle.partitions[partition].closed.get(&window));
        let (Some(window), Some(expected)) = (known, expected) else {
            return Err(record.fault(
                Problem::WrongKey,
                "a window that has closed",
                format!("the window from {start}"),
            ));
        };
        let seen = self.seen[partition].entry(window).or_insert(0);
        *seen += 1;
        if self.guarantee == Guarantee::ExactlyOnce && *seen > 1 {
            return Err(record.fault(Problem::Duplicate, format!("the window from {start} once"), "it again"));
        }
        if count != *expected {
            return Err(record.fault(Problem::WrongValue, format!("{expected} in the window from {start}"), count));
        }
        let latest = self.latest[partition].max(start);
        let before = std::mem::replace(&mut self.latest[partition], latest);
        if self.guarantee == Guarantee::ExactlyOnce && before > start {
            return Err(record.fault(Problem::OutOfOrder, format!("a window from {before} or later"), start));
        }
        Ok(())
    }

    /// Checks that every closed window was sent. Returns the number of repeated records.
    pub(crate) fn finish(self, faults: &mut Faults) -> u64 {
        for ((partition, seen), expected) in (0..).zip(&self.seen).zip(&self.oracle.partitions) {
            let mut missing: Vec<_> = expected.closed.keys().filter(|window| !seen.contains_key(window)).collect();
            missing.sort_unstable();
            for (key, start) in missing {
                faults.add(Fault {
                    topic: WINDOWS.to_owned(),
                    partition,
                    offset: None,
                    key: self.input.keys[*key].clone(),
                    problem: Problem::Lost,
                    expected: format!("the count of the window from {start}"),
                    found: "none".to_owned(),
                });
            }
        }
        self.seen.iter().flat_map(HashMap::values).map(|seen| seen - 1).sum()
    }
}
