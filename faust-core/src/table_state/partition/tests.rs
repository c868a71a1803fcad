//! The reports of a partition to its worker.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use std::ops::Bound;

use super::*;
use crate::declare::TableDecl;
use crate::store::FakeStore;

fn partition<K: crate::codec::Data>(cx: PartitionCx) -> Arc<TablePartition<u64>> {
    let spec = TableSpec::<u64>::new::<K>(&TableDecl::default(), "counts", "a test", "test");
    TablePartition::new(Arc::new(spec.unwrap()), cx)
}

/// Law: a store that turns out to be broken when it is read stops the worker. Other errors may pass.
#[test]
fn a_broken_store_that_is_read_is_reported() {
    for (kind, is_reported) in [(StoreErrorKind::Broken, true), (StoreErrorKind::Io, false)] {
        let store = FakeStore::of([]);
        *store.failing.lock().unwrap() = Some(kind);
        let (failed, mut failures) = mpsc::unbounded_channel();
        let cx = PartitionCx { store: Some(store), failed: Some(failed), ..PartitionCx::alone() };
        let partition = partition::<String>(cx);
        let errors = [
            partition.find(b"a").map(drop).unwrap_err(),
            partition.set(b"a", Some(1), Timestamp(0)).unwrap_err(),
            partition.scan((Bound::Unbounded, Bound::Unbounded), &|_| true).map(drop).unwrap_err(),
            partition.count().map(drop).unwrap_err(),
        ];
        for error in errors {
            let expected = is_reported.then(|| error.to_string());
            assert_eq!(failures.try_recv().ok().map(|error| error.to_string()), expected, "{kind:?}");
            assert!(error.to_string().contains("its store cannot be read"), "{error}");
        }
    }
}

/// Law: the key `None` may be in any partition, because messages without a key are.
#[test]
fn the_key_none_is_in_its_place_everywhere() {
    let stats = Arc::new(Stats::default());
    for number in 0..8 {
        let cx = PartitionCx { partition: number, partitions: 8, stats: Arc::clone(&stats), ..PartitionCx::alone() };
        let raw = partition::<Option<String>>(cx.clone());
        raw.set(b"\xFF", Some(1), Timestamp(0)).unwrap();
        raw.find(b"\xFF").unwrap();
        partition::<Option<(u8, u8)>>(cx).set(b"null", Some(1), Timestamp(0)).unwrap();
    }
    assert_eq!(stats.counts().misplaced_keys, 0);
    let cx = PartitionCx { partitions: 8, stats: Arc::clone(&stats), ..PartitionCx::alone() };
    for key in 0..64u8 {
        partition::<Option<String>>(cx.clone()).find(&[key]).unwrap();
    }
    assert!(stats.counts().misplaced_keys > 32, "other keys have one place");
}
