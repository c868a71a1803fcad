//! The results that the input implies: every output of every event, the windows and the tables.

use std::collections::{BTreeMap, HashMap};

use super::input::Input;
use crate::topics::{EXPIRES_MS, GROUP_COUNT, Output, WINDOW_MS};

/// Count, sum, minimum and maximum of a key.
pub(crate) type Totals = [i64; 4];

/// The expected results.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) partitions: Vec<PartitionOracle>,
    /// Count and sum of each group.
    pub(crate) groups: BTreeMap<String, (i64, i64)>,
}

/// The expected results of a partition.
#[derive(Debug, Default)]
pub(crate) struct PartitionOracle {
    /// The totals of the event's key after each event.
    pub(crate) after: Vec<Totals>,
    /// The totals of each key at the end, by its index in the input.
    pub(crate) tables: HashMap<usize, Totals>,
    /// The counts of the windows that have closed, by key and start.
    pub(crate) closed: HashMap<(usize, i64), i64>,
    /// The counts of the windows that are still open.
    pub(crate) open: HashMap<(usize, i64), i64>,
}

impl Oracle {
    /// Computes the results.
    pub(crate) fn of(input: &Input) -> Self {
        let mut oracle = Self::default();
        for events in &input.partitions {
            let mut partition = PartitionOracle::default();
            for event in events {
                let totals = partition.tables.entry(event.key).or_insert([0, 0, i64::MAX, i64::MIN]);
                let [count, sum, least, most] = *totals;
                *totals = [count + 1, sum + event.value, least.min(event.value), most.max(event.value)];
                partition.after.push(*totals);
                let start = event.time.div_euclid(WINDOW_MS) * WINDOW_MS;
                *partition.open.entry((event.key, start)).or_insert(0) += 1;
                let group = oracle.groups.entry(group_of(event.value)).or_insert((0, 0));
                *group = (group.0 + 1, group.1 + event.value);
            }
            // The times of a partition never decrease, so the last event has closed all that will close.
            let end = events.last().map_or(i64::MIN, |event| event.time);
            let is_closed = |(_, start): &(usize, i64)| start + WINDOW_MS + EXPIRES_MS <= end;
            (partition.closed, partition.open) = partition.open.drain().partition(|(window, _)| is_closed(window));
            oracle.partitions.push(partition);
        }
        oracle
    }
}

/// Returns the key of an event behind the `group_by`.
pub(crate) fn group_of(value: i64) -> String {
    format!("g{}", value % GROUP_COUNT)
}

impl Output {
    /// Returns the value that this output has for an event.
    pub(crate) fn expected(self, value: i64, after: &Totals) -> i64 {
        match self {
            Self::Echo => value,
            Self::Count => after[0],
            Self::Sum => after[1],
            Self::Min => after[2],
            Self::Max => after[3],
        }
    }
}
