//! The check of the groups behind the `group_by`.
//!
//! The order in which the events of several partitions reach a group is not defined, so a record is checked against the one
//! before it: the count is the next one, and the sum has grown by one event. At the end, both are exact under exactly-once, and
//! at least as large under at-least-once.

use std::collections::HashMap;

use serde::Deserialize;

use super::fault::{Fault, Faults, Problem};
use super::guarantee::Guarantee;
use super::oracle::Oracle;
use super::record::Record;
use super::sequence::Sequence;
use crate::topics::GROUPS;

/// The value of a record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupState {
    run: u64,
    count: i64,
    sum: i64,
}

/// What is known of a group.
struct GroupSequence {
    partition: i32,
    sequence: Sequence,
    /// Count and sum of the last record of each run.
    last: HashMap<u64, (i64, i64)>,
    /// Count and sum of the last record.
    end: (i64, i64),
}

/// The state of the check.
pub(crate) struct GroupCheck<'a> {
    guarantee: Guarantee,
    oracle: &'a Oracle,
    groups: HashMap<String, GroupSequence>,
}

impl<'a> GroupCheck<'a> {
    pub(crate) fn new(guarantee: Guarantee, oracle: &'a Oracle) -> Self {
        Self { guarantee, oracle, groups: HashMap::new() }
    }

    /// Checks the next record of a partition.
    pub(crate) fn record(&mut self, record: &Record<'_>, faults: &mut Faults) {
        if let Err(fault) = self.check(record) {
            faults.add(fault);
        }
    }

    fn check(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let GroupState { run, count, sum } = record.parse()?;
        let key = record.key_text();
        if !self.oracle.groups.contains_key(&*key) {
            return Err(record.fault(Problem::WrongKey, "a group of the input", key));
        }
        let new = || GroupSequence {
            partition: record.partition,
            sequence: Sequence::new(self.guarantee),
            last: HashMap::new(),
            end: (0, 0),
        };
        let group = self.groups.entry(key.into_owned()).or_insert_with(new);
        if group.partition != record.partition {
            let expected = format!("partition {}, where the group was before", group.partition);
            return Err(record.fault(Problem::WrongKey, expected, format!("partition {}", record.partition)));
        }
        let exactly_once = self.guarantee == Guarantee::ExactlyOnce;
        let before = if exactly_once { Some(group.end) } else { group.last.get(&run).copied() };
        group.last.insert(run, (count, sum));
        group.end = (count, sum);
        let accepted = group.sequence.accept(count - 1, run);
        accepted.map_err(|(problem, expected)| record.fault(problem, expected, format!("number {}", count - 1)))?;
        match before {
            Some((_, before)) if sum <= before => {
                Err(record.fault(Problem::WrongValue, format!("a sum above {before}"), sum))
            }
            _ => Ok(()),
        }
    }

    /// Checks the last record of each group. Returns the number of repeated records.
    pub(crate) fn finish(self, faults: &mut Faults) -> u64 {
        for (key, expected) in &self.oracle.groups {
            let group = self.groups.get(key);
            let found = group.map_or((0, 0), |group| group.end);
            if !is_right(self.guarantee, found, *expected) {
                faults.add(Fault {
                    topic: GROUPS.to_owned(),
                    partition: group.map_or(-1, |group| group.partition),
                    offset: None,
                    key: key.clone(),
                    problem: if found.0 < expected.0 { Problem::Lost } else { Problem::WrongValue },
                    expected: format!("count {} and sum {}", expected.0, expected.1),
                    found: format!("count {} and sum {}", found.0, found.1),
                });
            }
        }
        self.groups.values().map(|group| group.sequence.repeats()).sum()
    }
}

/// Returns whether count and sum are those of the input, or at least as large under at-least-once.
pub(super) fn is_right(guarantee: Guarantee, found: (i64, i64), expected: (i64, i64)) -> bool {
    match guarantee {
        Guarantee::ExactlyOnce => found == expected,
        Guarantee::AtLeastOnce => found.0 >= expected.0 && found.1 >= expected.1,
    }
}
