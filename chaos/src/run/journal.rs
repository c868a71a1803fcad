//! The log lines of the workers that matter: restores, and stores that were given up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The number of last lines of each worker that are kept, to be shown if it fails.
const KEPT: usize = 15;
/// A worker that had a partition for this time has committed changes, and written its store.
const WRITTEN: Duration = Duration::from_secs(30);

/// One life of a worker: its number, and how often it was started before.
pub(crate) type Life = (usize, usize);
/// A partition of a table.
type Place = (String, i64);

/// The changelog records that were read in restores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    /// Records of partitions that stayed at their worker.
    pub(crate) again: u64,
    /// Records of partitions that another worker had before.
    pub(crate) moved: u64,
}

/// The log lines of the workers that count for a run.
#[derive(Default)]
pub(crate) struct Journal {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    restored: Restored,
    /// The partitions that each worker has or had.
    held: BTreeMap<(usize, Place), Held>,
    /// The worker that has a partition, or had it last.
    owners: BTreeMap<Place, usize>,
    /// The end of each life that was ended by a kill.
    killed: BTreeMap<Life, Instant>,
    wiped: Vec<String>,
    last: BTreeMap<Life, VecDeque<String>>,
}

/// A partition of a table at a worker.
struct Held {
    life: Life,
    since: Instant,
    /// The worker's store has the partition, so the next restore must not read all of the changelog.
    is_stored: bool,
}

impl Journal {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line of a worker's log, in JSON.
    pub(crate) fn line(&self, life: Life, line: &str) {
        let mut entries = self.entries();
        let last = entries.last.entry(life).or_default();
        last.push_back(line.to_owned());
        if last.len() > KEPT {
            last.pop_front();
        }
        let Ok(line) = serde_json::from_str::<Value>(line) else { return };
        let fields = line.get("fields").unwrap_or(&line);
        let message = fields.get("message").and_then(Value::as_str).unwrap_or_default();
        let table = fields.get("table").and_then(Value::as_str);
        let place = table.map(str::to_owned).zip(fields.get("partition").and_then(Value::as_i64));
        if ["was set aside", "is restored from the beginning"].iter().any(|text| message.contains(text)) {
            entries.wiped(life, place.as_ref(), message);
        }
        let Some(place) = place else { return };
        let records = fields.get("records").and_then(Value::as_u64);
        if message.starts_with("restored ") || message.starts_with("nothing to restore") {
            entries.restored(life, place, records.unwrap_or_default(), message);
        }
    }

    /// Notes that a worker was killed.
    pub(crate) fn killed(&self, life: Life) {
        self.entries().killed.insert(life, Instant::now());
    }

    /// Returns the number of records in all restores so far.
    pub(crate) fn records(&self) -> Restored {
        self.entries().restored
    }

    /// Returns the stores that were given up although the worker had them before.
    pub(crate) fn wiped(&self) -> Vec<String> {
        self.entries().wiped.clone()
    }

    /// Returns the last lines of a worker's log.
    pub(crate) fn last_lines(&self, life: Life) -> String {
        let entries = self.entries();
        entries.last.get(&life).into_iter().flatten().map(|line| format!("\n    {line}")).collect()
    }
}

impl Entries {
    /// Takes the end of a restore of one partition of a table.
    fn restored(&mut self, life: Life, place: Place, records: u64, message: &str) {
        self.end_tenure(&place, Instant::now());
        let own = (life.0, place.clone());
        let mut is_stored = self.held.get(&own).is_some_and(|held| held.is_stored);
        if is_stored && message.contains("from the beginning") {
            self.wiped(life, Some(&place), message);
        }
        is_stored |= message.contains("where its store was");
        is_stored |= message.starts_with("nothing to restore") && !message.contains("at offset 0,");
        let stayed = self.owners.get(&place) == Some(&life.0);
        let count = if stayed { &mut self.restored.again } else { &mut self.restored.moved };
        *count += records;
        self.held.insert(own, Held { life, since: Instant::now(), is_stored });
        self.owners.insert(place, life.0);
    }

    /// The partition has another owner, or the same one again: the store of the former one has it after a long time.
    fn end_tenure(&mut self, place: &Place, now: Instant) {
        let Some(owner) = self.owners.get(place) else { return };
        let Some(held) = self.held.get_mut(&(*owner, place.clone())) else { return };
        let end = self.killed.get(&held.life).copied().unwrap_or(now);
        held.is_stored |= end.saturating_duration_since(held.since) >= WRITTEN;
    }

    fn wiped(&mut self, life: Life, place: Option<&Place>, message: &str) {
        let of = place.map(|(table, partition)| format!("{table} [{partition}]: ")).unwrap_or_default();
        self.wiped.push(format!("worker {}: {of}{message}", life.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> String {
        format!(r#"{{"level":"INFO","fields":{{"message":"{message}","table":"counts","partition":3,"records":12}}}}"#)
    }

    const BEGINNING: &str = "restored 12 records of its changelog from the beginning, in 1ms";
    const STORE: &str = "restored 12 records of its changelog from offset 4, where its store was, in 1ms";

    #[test]
    fn a_restore_from_the_beginning_after_one_from_the_store_is_a_wiped_store() {
        let journal = Journal::default();
        journal.line((0, 0), &line(BEGINNING));
        journal.line((1, 0), &line(BEGINNING));
        journal.line((0, 1), &line(STORE));
        journal.line((1, 1), &line(BEGINNING));
        assert_eq!(journal.wiped(), Vec::<String>::new());
        journal.line((0, 2), &line(BEGINNING));
        assert_eq!(journal.wiped(), [format!("worker 0: counts [3]: {BEGINNING}")]);
    }

    #[test]
    fn a_store_that_a_worker_had_for_long_must_be_there() {
        let journal = Journal::default();
        journal.line((0, 0), &line("nothing to restore: the table is at offset 0, the end of its changelog"));
        journal.entries().held.values_mut().for_each(|held| held.since -= WRITTEN);
        journal.line((1, 0), &line(BEGINNING));
        assert_eq!(journal.wiped(), Vec::<String>::new());
        journal.line((0, 0), &line(BEGINNING));
        assert_eq!(journal.wiped().len(), 1);
    }

    #[test]
    fn a_store_that_is_killed_before_its_first_write_is_not_wiped() {
        let journal = Journal::default();
        journal.line((0, 0), &line(BEGINNING));
        journal.killed((0, 0));
        journal.line((0, 1), &line(BEGINNING));
        assert_eq!(journal.wiped(), Vec::<String>::new());
    }

    #[test]
    fn a_store_that_is_set_aside_is_wiped() {
        let journal = Journal::default();
        journal.line((0, 0), r#"{"fields":{"message":"the sled store is broken: x; it was set aside, and so on"}}"#);
        let ahead =
            "the store holds changes that are not committed: it is restored from the beginning of its changelog";
        journal.line((0, 0), &line(ahead));
        assert_eq!(journal.wiped().len(), 2);
    }

    #[test]
    fn records_are_counted_by_whether_the_partition_has_moved() {
        let journal = Journal::default();
        journal.line((0, 0), &line(BEGINNING));
        journal.line((0, 1), &line(STORE));
        journal.line((1, 0), &line(STORE));
        assert_eq!(journal.records(), Restored { again: 12, moved: 24 });
    }
}
