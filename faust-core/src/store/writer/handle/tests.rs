//! Tests of the store writer's guarantees: no job is lost or reordered, memory is bounded, and it can always be closed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Condvar, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::store::StoreErrorKind;
use crate::store::port::{Store, StoreError, Write};
use crate::store::tests::{Change, Contents, contents, sealed, stored};
use crate::store::writer::job::Job;

/// An in-memory store with a gate before each write.
#[derive(Default)]
struct Gated {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    contents: Contents,
    marks: Vec<Vec<u8>>,
    /// Number of entries of each write.
    writes: Vec<usize>,
    gate: Gate,
    attempts: u32,
    /// Number of syncs that will fail.
    failing_syncs: u32,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Gate {
    #[default]
    Open,
    Shut,
    Fails(StoreErrorKind),
}

impl Gated {
    fn set(&self, gate: Gate) {
        self.state.lock().unwrap().gate = gate;
        self.changed.notify_all();
    }

    fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap())
    }

    /// Blocks until this number of writes have been attempted.
    fn wait_for_attempts(&self, attempts: u32) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.attempts < attempts).unwrap());
    }
}

impl Store for Gated {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.with(|state| state.contents.get(key).map(|value| Bytes::copy_from_slice(value))))
    }

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let state = self.state.lock().unwrap();
        let mut entries = state.contents.range::<[u8], _>((from, to));
        while entries.next().is_some_and(|(key, value)| each(key, value)) {}
        Ok(())
    }

    fn mark(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.with(|state| state.marks.last().cloned()))
    }

    fn write(&self, entries: &[Write<'_>], mark: Option<&[u8]>) -> Result<(), StoreError> {
        assert!(entries.is_sorted_by(|(one, _), (next, _)| one < next), "sorted and unique");
        let mut state = self.state.lock().unwrap();
        state.attempts += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| state.gate == Gate::Shut).unwrap();
        if let Gate::Fails(kind) = state.gate {
            return Err(StoreError::new(kind, "the store".to_owned(), "no space left".to_owned()));
        }
        for (key, value) in entries {
            match value {
                Some(value) => state.contents.insert(key.to_vec(), value.to_vec()),
                None => state.contents.remove(*key),
            };
        }
        state.marks.extend(mark.map(<[u8]>::to_vec));
        state.writes.push(entries.len());
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap();
        let fails = state.failing_syncs > 0;
        state.failing_syncs = state.failing_syncs.saturating_sub(1);
        if fails {
            return Err(StoreError::new(StoreErrorKind::Io, "the store".to_owned(), "no space left".to_owned()));
        }
        Ok(())
    }
}

/// The results passed to `done`, each with the job's mark.
type Log = Arc<Mutex<Vec<(String, Result<(), StoreErrorKind>)>>>;

fn job(store: &Arc<Gated>, table: &str, changes: &[Change], mark: &str, log: &Log) -> Job {
    let (log, text) = (Arc::clone(log), mark.to_owned());
    Job {
        store: Arc::clone(store) as Arc<dyn Store>,
        name: name(table),
        batch: Arc::new(sealed(changes)),
        mark: mark.as_bytes().to_vec(),
        done: Box::new(move |result| log.lock().unwrap().push((text, result.map_err(|error| error.kind())))),
    }
}

fn name(table: &str) -> StoreName {
    StoreName::new(table, 0)
}

fn change(key: &str, value: &str) -> Change {
    (key.as_bytes().to_vec(), Some(value.as_bytes().to_vec()))
}

fn pace() -> Pace {
    Pace {
        rest: LONG,
        first: Duration::from_millis(1),
        longest: Duration::from_millis(4),
        report_every: Duration::from_secs(10),
        retries: true,
    }
}

fn writer(limit: u64) -> StoreWriter {
    StoreWriter::spawn_paced(limit, pace()).unwrap()
}

/// A timeout that no test reaches.
const LONG: Duration = Duration::from_secs(60);

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Law: after all jobs, each store has the contents that result from applying them one by one; marks only increase,
    /// the last one is stored, and the jobs are completed in order.
    #[test]
    fn merging_changes_nothing(jobs: Vec<(bool, Vec<(u8, Option<u8>)>, bool)>) {
        let stores = [Arc::new(Gated::default()), Arc::new(Gated::default())];
        let mut models = [Contents::new(), Contents::new()];
        let log = Log::default();
        let writer = writer(1 << 20);
        for (number, (which, changes, shut)) in jobs.iter().enumerate() {
            let which = usize::from(*which);
            // While the gate is shut, jobs accumulate and are merged.
            stores[which].set(if *shut { Gate::Shut } else { Gate::Open });
            let changes: Vec<Change> = changes.iter().map(|(key, value)| (vec![*key], value.map(|value| vec![value]))).collect();
            for (key, value) in &changes {
                match value {
                    Some(value) => models[which].insert(key.clone(), stored(value)),
                    None => models[which].remove(key),
                };
            }
            writer.submit(job(&stores[which], &which.to_string(), &changes, &format!("{number:08}"), &log));
        }
        stores.iter().for_each(|store| store.set(Gate::Open));
        run(writer.close(LONG)).unwrap();
        for (which, store) in stores.iter().enumerate() {
            prop_assert_eq!(&contents(&**store), &models[which]);
            prop_assert!(store.with(|state| state.marks.is_sorted()));
            let last = jobs.iter().rposition(|(other, ..)| usize::from(*other) == which);
            prop_assert_eq!(store.mark().unwrap(), last.map(|number| format!("{number:08}").into_bytes()));
        }
        let log = log.lock().unwrap();
        prop_assert_eq!(log.len(), jobs.len());
        for which in [false, true] {
            let of_one = log.iter().filter(|(mark, _)| jobs[mark.parse::<usize>().unwrap()].0 == which);
            prop_assert!(of_one.map(|(mark, _)| mark).is_sorted());
        }
        prop_assert!(log.iter().all(|(_, result)| result.is_ok()));
    }
}

#[test]
fn pending_jobs_are_written_at_once_with_the_last_mark() {
    let (store, log) = (Arc::new(Gated::default()), Log::default());
    let writer = writer(1 << 20);
    store.set(Gate::Shut);
    writer.submit(job(&store, "t", &[change("a", "1")], "1", &log));
    store.wait_for_attempts(1);
    for n in 2..=9 {
        writer.submit(job(
            &store,
            "t",
            &[change("a", &n.to_string()), change(&n.to_string(), "")],
            &n.to_string(),
            &log,
        ));
    }
    store.set(Gate::Open);
    run(writer.flushed(&name("t")));
    assert_eq!(store.with(|state| state.marks.clone()), [b"1".to_vec(), b"9".to_vec()]);
    assert_eq!(store.with(|state| state.writes.clone()), [1, 9]);
    assert_eq!(log.lock().unwrap().iter().map(|(mark, _)| mark.as_str()).collect::<String>(), "123456789");
    assert_eq!(writer.backlog(), 0);
}

#[test]
fn a_large_write_is_split_and_the_last_part_has_the_mark() {
    let (store, log) = (Arc::new(Gated::default()), Log::default());
    let writer = writer(1 << 30);
    let changes: Vec<Change> = (0..120_000_u32).map(|n| (n.to_be_bytes().to_vec(), Some(vec![]))).collect();
    writer.submit(job(&store, "t", &changes, "m", &log));
    run(writer.close(LONG)).unwrap();
    assert_eq!(store.with(|state| (state.writes.clone(), state.marks.len())), (vec![50_000, 50_000, 20_000], 1));
    assert_eq!(store.with(|state| state.contents.len()), 120_000);
}

#[test]
fn room_ends_at_the_limit_and_is_back_below_half_of_it() {
    let (slow, log) = (Arc::new(Gated::default()), Log::default());
    let size = job(&slow, "t", &[change("key", "value")], "1", &log).size_bytes();
    let writer = writer(4 * size);
    slow.set(Gate::Shut);
    for n in 0..4 {
        writer.submit(job(&slow, "t", &[change("key", "value")], &n.to_string(), &log));
    }
    assert!(writer.has_room() && writer.backlog() == 4 * size, "at the limit, not over it");
    writer.submit(job(&slow, "t", &[change("key", "value")], "4", &log));
    assert!(!writer.has_room());
    assert!(writer.room().now_or_never().is_none());
    run(async {
        let waiting = tokio::spawn({
            let writer = writer.clone();
            async move { writer.room().await }
        });
        tokio::task::yield_now().await;
        slow.set(Gate::Open);
        waiting.await.unwrap();
    });
    assert!(writer.has_room() && writer.backlog() < 2 * size);
}

#[test]
fn flushed_waits_for_its_own_store_only() {
    let (stuck, free, log) = (Arc::new(Gated::default()), Arc::new(Gated::default()), Log::default());
    let writer = writer(1 << 20);
    assert!(writer.flushed(&name("nothing")).now_or_never().is_some());
    writer.submit(job(&free, "free", &[change("a", "1")], "1", &log));
    run(writer.flushed(&name("free")));
    stuck.set(Gate::Shut);
    writer.submit(job(&stuck, "stuck", &[change("a", "1")], "1", &log));
    stuck.wait_for_attempts(1);
    assert!(writer.flushed(&name("free")).now_or_never().is_some());
    assert!(writer.flushed(&name("stuck")).now_or_never().is_none());
    stuck.set(Gate::Open);
    run(writer.flushed(&name("stuck")));
    assert_eq!(stuck.mark().unwrap().unwrap(), b"1");
}

#[test]
fn writes_are_retried_while_the_disk_is_full() {
    let (store, log) = (Arc::new(Gated::default()), Log::default());
    let writer = writer(1);
    store.set(Gate::Fails(StoreErrorKind::Io));
    writer.submit(job(&store, "t", &[change("a", "1")], "1", &log));
    store.wait_for_attempts(5);
    assert!(!writer.has_room() && writer.backlog() > 0 && log.lock().unwrap().is_empty());
    store.set(Gate::Open);
    run(writer.room());
    assert_eq!(store.mark().unwrap().unwrap(), b"1");
    assert_eq!(*log.lock().unwrap(), [("1".to_owned(), Ok(()))]);
}

#[test]
fn a_permanent_error_is_reported_and_other_stores_are_written() {
    let (broken, whole, log) = (Arc::new(Gated::default()), Arc::new(Gated::default()), Log::default());
    let writer = writer(1 << 20);
    broken.set(Gate::Fails(StoreErrorKind::Broken));
    writer.submit(job(&broken, "broken", &[change("a", "1")], "1", &log));
    writer.submit(job(&whole, "whole", &[change("a", "1")], "2", &log));
    run(writer.close(LONG)).unwrap();
    assert_eq!(*log.lock().unwrap(), [("1".to_owned(), Err(StoreErrorKind::Broken)), ("2".to_owned(), Ok(()))]);
}

#[test]
fn a_store_that_has_rejected_a_write_gets_no_later_mark() {
    let (store, log) = (Arc::new(Gated::default()), Log::default());
    let writer = writer(1 << 20);
    store.set(Gate::Fails(StoreErrorKind::Unfit));
    writer.submit(job(&store, "t", &[change("too-long", "1")], "1", &log));
    run(writer.flushed(&name("t")));
    store.set(Gate::Open);
    writer.submit(job(&store, "t", &[change("a", "1")], "2", &log));
    run(writer.close(LONG)).unwrap();
    let unfit = |mark: &str| (mark.to_owned(), Err(StoreErrorKind::Unfit));
    assert_eq!(*log.lock().unwrap(), [unfit("1"), unfit("2")]);
    assert_eq!(store.mark().unwrap(), None, "a restore reads the missing changes again");
}

/// Law: after a store was destroyed and opened again, the changes for the old one do not reach the new one.
#[test]
fn stores_of_one_name_do_not_mix() {
    let (old, new, log) = (Arc::new(Gated::default()), Arc::new(Gated::default()), Log::default());
    let writer = StoreWriter::stepped(1 << 20);
    old.set(Gate::Fails(StoreErrorKind::Gone));
    writer.submit(job(&old, "t", &[change("a", "1")], "1", &log));
    writer.submit(job(&new, "t", &[change("b", "2")], "2", &log));
    writer.submit(job(&old, "t", &[change("c", "3")], "3", &log));
    assert!(writer.step());
    assert_eq!(contents(&*new), BTreeMap::from([(b"b".to_vec(), stored("2"))]));
    assert_eq!(new.mark().unwrap().unwrap(), b"2");
    let gone = |mark: &str| (mark.to_owned(), Err(StoreErrorKind::Gone));
    assert_eq!(*log.lock().unwrap(), [gone("1"), gone("3"), ("2".to_owned(), Ok(()))]);
    assert!(writer.flushed(&name("t")).now_or_never().is_some());
}

/// Law: a writer without a thread tries a write once per step, and does not wait for the disk when it is closed.
#[test]
fn a_stepped_writer_does_not_wait_for_the_disk() {
    let (store, log) = (Arc::new(Gated::default()), Log::default());
    let writer = StoreWriter::stepped(1 << 20);
    store.set(Gate::Fails(StoreErrorKind::Io));
    writer.submit(job(&store, "t", &[change("a", "1")], "1", &log));
    writer.submit(job(&store, "t", &[change("a", "2")], "2", &log));
    let backlog = writer.backlog();
    assert_eq!((writer.step(), writer.step(), store.with(|state| state.attempts)), (false, false, 2));
    assert_eq!((writer.backlog(), log.lock().unwrap().len()), (backlog, 0));
    store.set(Gate::Open);
    assert!(writer.step());
    assert_eq!(*log.lock().unwrap(), [("1".to_owned(), Ok(())), ("2".to_owned(), Ok(()))]);
    assert_eq!((store.mark().unwrap().unwrap(), writer.backlog()), (b"2".to_vec(), 0));

    store.set(Gate::Fails(StoreErrorKind::Io));
    writer.submit(job(&store, "t", &[change("a", "3")], "3", &log));
    let bytes = writer.backlog();
    assert_eq!(run(writer.close(LONG)), Err(Unwritten { bytes, within: LONG }));
    assert_eq!(store.with(|state| state.attempts), 4);
    assert_eq!(log.lock().unwrap().last(), Some(&("3".to_owned(), Err(StoreErrorKind::Gone))));
}

#[test]
fn a_close_times_out_whatever_the_disk_does() {
    for gate in [Gate::Fails(StoreErrorKind::Io), Gate::Shut] {
        let (store, log) = (Arc::new(Gated::default()), Log::default());
        let writer = writer(1 << 20);
        store.set(gate);
        writer.submit(job(&store, "t", &[change("a", "1")], "1", &log));
        store.wait_for_attempts(1);
        writer.submit(job(&store, "t", &[change("a", "2")], "2", &log));
        let backlog = writer.backlog();
        let within = Duration::from_millis(20);
        assert_eq!(run(writer.clone().close(within)), Err(Unwritten { bytes: backlog, within }));
        store.set(Gate::Open);
        run(writer.flushed(&name("t")));
        let gone = Err(StoreErrorKind::Gone);
        // A write that was blocked on the disk completes when the disk is available again.
        let first = if gate == Gate::Shut { Ok(()) } else { gone };
        assert_eq!(*log.lock().unwrap(), [("1".to_owned(), first), ("2".to_owned(), gone)]);
        writer.submit(job(&store, "t", &[change("a", "3")], "3", &log));
        assert_eq!(log.lock().unwrap().last(), Some(&("3".to_owned(), gone)), "too late");
        assert!(writer.room().now_or_never().is_some());
    }
}

#[test]
fn dropping_the_last_handle_ends_the_thread() {
    let (store, log) = (Arc::new(Gated::default()), Log::default());
    let writer = writer(1 << 20);
    store.set(Gate::Fails(StoreErrorKind::Io));
    writer.submit(job(&store, "t", &[change("a", "1")], "1", &log));
    store.wait_for_attempts(2);
    let queue = Arc::clone(writer.queue());
    drop(writer);
    assert!(queue.wait_for_end(Instant::now() + LONG));
    assert_eq!(*log.lock().unwrap(), [("1".to_owned(), Err(StoreErrorKind::Gone))]);
}

#[test]
fn jobs_are_delayed_and_merged_during_a_restore() {
    let (store, log) = (Arc::new(Gated::default()), Log::default());
    let writer = writer(4 << 10);
    let rest = writer.rest();
    writer.submit(job(&store, "t", &[change("a", "1")], "1", &log));
    writer.submit(job(&store, "t", &[change("b", "2")], "2", &log));
    drop(rest);
    store.wait_for_attempts(1);
    run(writer.flushed(&name("t")));
    assert_eq!(store.with(|state| state.writes.clone()), [2]);
    // A task that waits for a store does not wait for other restores, and the backlog stays bounded.
    let _rest = writer.rest();
    writer.submit(job(&store, "t", &[change("a", "3")], "3", &log));
    run(writer.flushed(&name("t")));
    writer.submit(job(&store, "t", &[change("a", "3")], "3", &log));
    let prioritize = writer.prioritize();
    store.wait_for_attempts(3);
    drop(prioritize);
    writer.submit(job(&store, "t", &[change("a", &"4".repeat(3 << 10))], "4", &log));
    store.wait_for_attempts(4);
    assert!(run(writer.close(LONG)).is_ok());
    assert_eq!(log.lock().unwrap().len(), 5);
}

#[test]
fn a_panic_in_done_does_not_stop_the_writer() {
    let (store, log) = (Arc::new(Gated::default()), Log::default());
    let writer = writer(1 << 20);
    let mut bad = job(&store, "t", &[change("a", "1")], "1", &log);
    bad.done = Box::new(|_| panic!("a panic of the caller"));
    writer.submit(bad);
    writer.submit(job(&store, "t", &[change("a", "2")], "2", &log));
    run(writer.close(LONG)).unwrap();
    assert_eq!(contents(&*store), BTreeMap::from([(b"a".to_vec(), stored("2"))]));
}

/// Law: a job is complete once its store is synced, and what was not synced is written again.
#[test]
fn a_failed_sync_is_repeated_with_its_writes() {
    let (one, other, log) = (Arc::new(Gated::default()), Arc::new(Gated::default()), Log::default());
    let writer = StoreWriter::stepped(1 << 20);
    one.state.lock().unwrap().failing_syncs = 1;
    writer.submit(job(&one, "one", &[change("a", "1")], "1", &log));
    writer.submit(job(&other, "other", &[change("a", "1")], "2", &log));
    assert!(writer.step(), "the other store is synced");
    assert_eq!(*log.lock().unwrap(), [("2".to_owned(), Ok(()))]);
    assert!(writer.step());
    assert_eq!(*log.lock().unwrap(), [("2".to_owned(), Ok(())), ("1".to_owned(), Ok(()))]);
    assert_eq!((one.with(|state| state.writes.len()), other.with(|state| state.writes.len())), (2, 1));

    let (store, log) = (Arc::new(Gated::default()), Log::default());
    let writer = self::writer(1 << 20);
    store.state.lock().unwrap().failing_syncs = 3;
    writer.submit(job(&store, "t", &[change("a", "1")], "1", &log));
    run(writer.flushed(&name("t")));
    assert_eq!((store.with(|state| state.writes.len()), &*log.lock().unwrap()), (4, &vec![("1".to_owned(), Ok(()))]));
}
