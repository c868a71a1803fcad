//! The check of the changelogs: the last record of each key is the final state of the table.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::fault::{Fault, Faults, Problem};
use super::groups::is_right;
use super::guarantee::Guarantee;
use super::input::Input;
use super::oracle::Oracle;
use super::record::Record;
use crate::topics::{CHANGELOGS, GROUPS_CHANGELOG, WINDOWED_CHANGELOG};

/// The last record of each key in a changelog: its partition, offset and value.
#[derive(Default)]
pub(crate) struct FinalState {
    last: BTreeMap<(i32, Vec<u8>), (i64, Vec<u8>)>,
}

/// The value of a group.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupTotals {
    count: i64,
    sum: i64,
}

impl FinalState {
    /// Takes the next record of a partition. A record without a value removes its key.
    pub(crate) fn record(&mut self, record: &Record<'_>) {
        let key = (record.partition, record.key.to_vec());
        match record.payload {
            Some(value) => drop(self.last.insert(key, (record.offset, value.to_vec()))),
            None => drop(self.last.remove(&key)),
        }
    }

    fn records<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = Record<'a>> {
        self.last.iter().map(move |((partition, key), (offset, value))| Record {
            topic,
            partition: *partition,
            offset: *offset,
            key,
            payload: Some(value),
            time: 0,
        })
    }

    /// Compares the state of a table by key. `table` is its index in the totals.
    pub(crate) fn check_totals(&self, table: usize, input: &Input, oracle: &Oracle, faults: &mut Faults) {
        let topic = CHANGELOGS[table];
        let mut expected: HashMap<(i32, &[u8]), i64> = HashMap::new();
        for (partition, of) in (0..).zip(&oracle.partitions) {
            expected.extend(
                of.tables.iter().map(|(key, totals)| ((partition, input.keys[*key].as_bytes()), totals[table])),
            );
        }
        for record in self.records(topic) {
            let known = expected.remove(&(record.partition, record.key));
            match (record.parse::<i64>(), known) {
                (Err(fault), _) => faults.add(fault),
                (Ok(found), None) => faults.add(record.fault(Problem::WrongState, "no such key", found)),
                (Ok(found), Some(known)) if found != known => {
                    faults.add(record.fault(Problem::WrongState, known, found));
                }
                _ => {}
            }
        }
        let mut missing: Vec<_> = expected.into_iter().collect();
        missing.sort_unstable();
        for ((partition, key), known) in missing {
            faults.add(lost(topic, partition, &String::from_utf8_lossy(key), known));
        }
    }

    /// Compares the state of the groups.
    pub(crate) fn check_groups(&self, guarantee: Guarantee, oracle: &Oracle, faults: &mut Faults) {
        let mut found_keys = Vec::new();
        for record in self.records(GROUPS_CHANGELOG) {
            let key = record.key_text().into_owned();
            let (expected, shown) = match oracle.groups.get(&key) {
                Some(known) => (*known, format!("count {} and sum {}", known.0, known.1)),
                None => ((i64::MAX, i64::MAX), "no such key".to_owned()),
            };
            match record.parse::<GroupTotals>() {
                Err(fault) => faults.add(fault),
                Ok(GroupTotals { count, sum }) if !is_right(guarantee, (count, sum), expected) => {
                    faults.add(record.fault(Problem::WrongState, shown, format!("count {count} and sum {sum}")));
                }
                Ok(_) => {}
            }
            found_keys.push(key);
        }
        for (key, (count, sum)) in oracle.groups.iter().filter(|(key, _)| !found_keys.contains(key)) {
            faults.add(lost(GROUPS_CHANGELOG, -1, key, format!("count {count} and sum {sum}")));
        }
    }

    /// Compares the counts of the windows that are still open. Their keys are not parsed: their format is the engine's.
    pub(crate) fn check_windows(&self, oracle: &Oracle, faults: &mut Faults) {
        for (partition, of) in (0..).zip(&oracle.partitions) {
            let records = self.records(WINDOWED_CHANGELOG).filter(|record| record.partition == partition);
            let (found, unreadable): (Vec<_>, Vec<_>) =
                records.map(|record| record.parse::<i64>()).partition(Result::is_ok);
            unreadable.into_iter().filter_map(Result::err).for_each(|fault| faults.add(fault));
            let mut found: Vec<i64> = found.into_iter().flatten().collect();
            let mut expected: Vec<i64> = of.open.values().copied().collect();
            found.sort_unstable();
            expected.sort_unstable();
            if found != expected {
                let shown =
                    |counts: &[i64]| format!("{} windows with {} events", counts.len(), counts.iter().sum::<i64>());
                faults.add(Fault {
                    found: shown(&found),
                    problem: Problem::WrongState,
                    ..lost(WINDOWED_CHANGELOG, partition, "all", shown(&expected))
                });
            }
        }
    }
}

fn lost(topic: &str, partition: i32, key: &str, expected: impl ToString) -> Fault {
    Fault {
        topic: topic.to_owned(),
        partition,
        offset: None,
        key: key.to_owned(),
        problem: Problem::Lost,
        expected: expected.to_string(),
        found: "no record".to_owned(),
    }
}
