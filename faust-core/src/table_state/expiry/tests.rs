//! Windows are closed in bounded steps, from memory and from a store.
#![allow(clippy::unwrap_used)] // A failed unwrap is the test's failure.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::declare::{TableDecl, WindowDecl};
use crate::store::{FakeStore, Store, StoreErrorKind, stored};
use crate::table_state::budget::CacheBudget;
use crate::table_state::partition::PartitionCx;
use crate::table_state::spec::TableSpec;

fn spec() -> WindowSpec {
    WindowSpec::tumbling(Duration::from_secs(1)).unwrap().with_expires(Duration::ZERO).unwrap()
}

fn partition(store: Option<Arc<FakeStore>>) -> Arc<TablePartition<u64>> {
    let decl = TableDecl { window: Some(WindowDecl::Of(spec())), ..TableDecl::default() };
    let spec = TableSpec::<u64>::new::<String>(&decl, "counts", "a test", "test").unwrap();
    let store = store.map(|store| store as Arc<dyn Store>);
    TablePartition::new(Arc::new(spec), PartitionCx { store, budget: CacheBudget::new(0), ..PartitionCx::alone() })
}

fn key(start: i64, number: usize) -> Vec<u8> {
    let mut key = Vec::new();
    store_key(Timestamp(start), format!("{number:06}").as_bytes(), &mut key);
    key
}

/// Closes all windows that have expired by this time. Returns their starts and keys, in order.
fn close(partition: &TablePartition<u64>, time: i64) -> Vec<(i64, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let Expired { closed, has_more } = partition.expire(Timestamp(time), true).unwrap();
        assert!(closed.len() <= CLOSE_BATCH, "{} windows in one step", closed.len());
        let collected = partition.state().closing.as_ref().map_or(0, |closing| closing.keys.len());
        assert!(collected <= 2 * VISIT_BATCH, "{collected} keys were collected in one step");
        all.extend(closed.into_iter().map(|closed| (closed.window.start().0, closed.key)));
        if !has_more {
            return all;
        }
    }
}

const MANY: usize = 2 * VISIT_BATCH + 1000;

#[test]
fn windows_in_memory_are_closed_in_bounded_steps() {
    let partition = partition(None);
    for number in 0..MANY {
        partition.set(&key(1000, number), Some(1), Timestamp(0)).unwrap();
        partition.set(&key(number as i64 % 3 * 1000, number), Some(1), Timestamp(0)).unwrap();
    }
    let closed = close(&partition, 2000);
    assert!(closed.is_sorted_by_key(|(start, _)| *start), "older windows come first");
    assert_eq!(closed.len(), MANY.div_ceil(3) + MANY);
    assert_eq!(close(&partition, 3000).len(), MANY / 3);
    assert_eq!((close(&partition, 9000), partition.count().unwrap()), (vec![], 0));
}

#[test]
fn windows_in_a_store_are_closed_in_bounded_steps() {
    let mut expected: Vec<_> = (0..MANY).map(|number| (number as i64 % 2 * 1000, number)).collect();
    let store = FakeStore::of(expected.iter().map(|&(start, number)| (key(start, number), stored("1"))));
    let partition = partition(Some(Arc::clone(&store)));
    // Some windows are only in memory, and some of the store have been removed.
    for number in 0..MANY {
        partition.set(&key(1000, MANY + number), Some(1), Timestamp(0)).unwrap();
        expected.push((1000, MANY + number));
    }
    for number in (0..100).map(|number| 2 * number) {
        partition.set(&key(0, number), None, Timestamp(0)).unwrap();
    }
    expected.retain(|&(start, number)| start > 0 || number >= 200);
    expected.sort_unstable();
    let shown = |(start, number): (i64, usize)| (start, format!("{number:06}").into_bytes());
    assert_eq!(close(&partition, 2000), expected.into_iter().map(shown).collect::<Vec<_>>());
    assert!(store.visits.lock().unwrap().iter().all(|visits| *visits <= VISIT_BATCH));
    assert_eq!(close(&partition, 9000), []);

    store.visits.lock().unwrap().clear();
    assert_eq!(partition.count().unwrap(), 0, "all windows were removed");
    let visits = store.visits.lock().unwrap();
    assert_eq!(
        (visits.iter().sum::<usize>(), visits.iter().max() < Some(&MANY)),
        (MANY, true),
        "a scan visits in steps"
    );
}

/// The overlay is no longer complete once entries were evicted, which may happen between two steps.
#[test]
fn windows_that_leave_memory_meanwhile_are_closed() {
    let partition = partition(Some(FakeStore::of((0..MANY).map(|number| (key(0, number), stored("1"))))));
    {
        let mut state = partition.state();
        state.whole = true;
        for number in 0..MANY {
            let at = state.overlay.insert(&key(0, number), Held::Bytes(b"1".as_slice().into()), Timestamp(0));
            partition.note_start(&mut state, &key(0, number), at);
        }
    }
    let first = partition.expire(Timestamp(1000), false).unwrap();
    assert_eq!((first.closed.len(), first.has_more), (CLOSE_BATCH, true));
    partition.state().is_not_whole();
    assert_eq!(close(&partition, 1000).len(), MANY - CLOSE_BATCH);
}

/// Law: after an error of the store, the windows that were about to be closed are closed by a later step.
#[test]
fn no_window_is_lost_when_the_store_cannot_be_read() {
    for after in [0, 1] {
        let store = FakeStore::of((0..1000).map(|number| (key(0, number), stored("1"))));
        let partition = partition(Some(Arc::clone(&store)));
        let mut closed =
            (0..after).map(|_| partition.expire(Timestamp(1000), true).unwrap().closed.len()).sum::<usize>();
        *store.failing.lock().unwrap() = Some(StoreErrorKind::Io);
        assert!(partition.expire(Timestamp(1000), true).is_err());
        *store.failing.lock().unwrap() = None;
        closed += close(&partition, 1000).len();
        assert_eq!(closed, 1000, "after {after} steps");
    }
}
