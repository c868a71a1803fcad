//! Consistent combinations of store, changelog and commit, and the errors for inconsistent ones.
#![allow(clippy::unwrap_used)] // A failed unwrap is the test's failure.

use std::time::Duration;

use crate::declare::{TableDecl, WindowDecl};
use crate::offsets::{OwnerEpoch, TableMark};
use crate::table_state::TableSpec;
use crate::task::check::*;
use crate::time::{Clock, Timestamp};
use crate::window::WindowSpec;

const NOW: Timestamp = Timestamp(1_767_225_600_000);

fn identity() -> StoreIdentity {
    let kind = "String by raw -> i64 by json".to_owned();
    StoreIdentity { group: "shop".to_owned(), kind, topic_id: "id-1".to_owned(), clock: Clock::new(|| NOW) }
}

fn mark(change: impl FnOnce(&mut StoreCheckpoint)) -> Option<Vec<u8>> {
    let mut mark = StoreCheckpoint {
        v: STORE_VERSION,
        group: "shop".to_owned(),
        kind: identity().kind,
        topic_id: "id-1".to_owned(),
        next: Offset(50),
        end: Some(Offset(50)),
        cut: CommitNumber(7),
        epoch: OwnerEpoch(2),
        partial: false,
        time: Timestamp(NOW.0 - 1000),
    };
    change(&mut mark);
    Some(serde_json::to_vec(&mark).unwrap())
}

fn commit(number: u64, length: i64) -> CommittedTable {
    let mark = TableMark { end: Offset(60), length: Offset(length), number: CommitNumber(number) };
    CommittedTable { epoch: OwnerEpoch(2), mark }
}

fn look(held: Option<Vec<u8>>, commit: Option<CommittedTable>, low: i64, high: i64) -> Result<RestoreStart, String> {
    let info = TableSpec::<i64>::new::<String>(&TableDecl::new(), "counts", "count", "shop").unwrap().info;
    let changelog = TopicPartition::new("shop-counts-changelog", 3);
    let identity = identity();
    let facts =
        Facts { identity: &identity, held, commit, low: Offset(low), high: Offset(high), changelog: &changelog };
    check(&info, 3, facts).map_err(|error| error.to_string())
}

fn source(from: i64, full: bool, cut: u64) -> RestoreStart {
    RestoreStart { from: Offset(from), full, cut: CommitNumber(cut), is_stale: false, is_ahead: false }
}

#[test]
fn a_consistent_table_is_restored_from_its_checkpoint() {
    let commit = commit(9, 80);
    assert_eq!(look(None, None, 0, 0), Ok(source(0, true, 0)), "everything is new");
    assert_eq!(look(None, Some(commit), 0, 80), Ok(source(0, true, 0)), "there is no store");
    let new = CommittedTable::default();
    assert_eq!(look(None, Some(new), 80, 80), Ok(source(80, true, 0)), "emptied and not written to since");
    assert_eq!(look(mark(|_| ()), Some(commit), 0, 80), Ok(source(50, false, 7)), "the store lags");
    let caught_up = mark(|mark| (mark.next, mark.cut) = (Offset(80), CommitNumber(9)));
    assert_eq!(look(caught_up, Some(commit), 0, 80), Ok(source(80, false, 9)));
    assert_eq!(look(mark(|_| ()), Some(commit), 50, 80), Ok(source(50, false, 7)), "the store has the rest");
    let complete = |age: Duration| {
        mark(|mark| {
            (mark.next, mark.cut) = (Offset(80), CommitNumber(9));
            mark.time = Timestamp(NOW.0 - millis(age));
        })
    };
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(look(complete(day), Some(commit), 0, 81), Ok(source(80, false, 9)), "the end of a transaction follows");
    assert_eq!(look(complete(day), Some(commit), 81, 81), Ok(source(81, false, 9)), "everything else was deleted");
}

/// Law: the end of a transaction that was aborted need not be covered by the commit of the next owner.
#[test]
fn a_store_behind_an_aborted_transaction_is_not_ahead() {
    let of_standby = |end: i64| {
        mark(|mark| {
            (mark.next, mark.end, mark.cut, mark.epoch) =
                (Offset(61), Some(Offset(end)), CommitNumber(7), OwnerEpoch(1))
        })
    };
    assert_eq!(look(of_standby(59), Some(commit(9, 80)), 0, 80), Ok(source(61, false, 7)));
    let none_counts = TableMark { end: Offset(0), ..commit(9, 80).mark };
    let commit_after_it = CommittedTable { mark: none_counts, ..commit(9, 80) };
    assert_eq!(look(of_standby(0), Some(commit_after_it), 0, 80), Ok(source(61, false, 7)), "the first transaction");
    // A standby that goes on with the store after a restart compares this end with the next owner's.
    let ends = [of_standby(59), of_standby(0), mark(|mark| mark.end = None), Some(b"{}".to_vec())];
    assert_eq!(ends.map(|held| records_end(&held.unwrap())), [59, 0, 50, 0].map(Offset));
    let ahead = RestoreStart { is_stale: true, is_ahead: true, ..source(0, true, 7) };
    assert_eq!(look(of_standby(61), Some(commit(9, 80)), 0, 80), Ok(ahead));
}

/// Law: a restore that was interrupted has not read all that the commit in its checkpoint covers. Such a store misses removals
/// like any other that lags.
#[test]
fn a_store_of_an_interrupted_restore_is_not_complete() {
    let day = Duration::from_secs(24 * 60 * 60);
    let interrupted = || {
        mark(|mark| {
            (mark.next, mark.cut, mark.partial) = (Offset(50), CommitNumber(9), true);
            mark.time = Timestamp(NOW.0 - millis(day));
        })
    };
    let stale = RestoreStart { is_stale: true, ..source(0, true, 9) };
    assert_eq!(look(interrupted(), Some(commit(9, 80)), 0, 80), Ok(stale));
    let deleted = look(interrupted(), Some(commit(9, 80)), 60, 80).unwrap_err();
    assert!(deleted.contains("the records in between were deleted"), "{deleted}");
}

/// Earlier releases wrote the modules of types, and the time for which windows are kept.
#[test]
fn a_store_fits_if_its_bytes_mean_the_same() {
    struct Moved;

    let window = WindowSpec::tumbling(Duration::from_secs(60)).unwrap();
    let decl = TableDecl { window: Some(WindowDecl::Of(window)), ..TableDecl::new() };
    let mut info = TableSpec::<i64>::new::<String>(&decl, "counts", "count", "shop").unwrap().info;
    (info.key_type, info.value_type) = (std::any::type_name::<String>(), std::any::type_name::<Vec<Moved>>());
    let identity = StoreIdentity { kind: info.kind(), ..identity() };
    let changelog = TopicPartition::new("shop-counts-changelog", 3);
    let look = |kind: &str| {
        let held = mark(|mark| mark.kind = kind.to_owned());
        let commit = commit(9, 80);
        let (low, high) = (Offset(0), Offset(80));
        let facts = Facts { identity: &identity, held, commit: Some(commit), low, high, changelog: &changelog };
        check(&info, 3, facts).map_err(|error| error.to_string())
    };
    for kind in [
        identity.kind.as_str(),
        "String by raw -> Vec<Moved> by json, tumbling 1m",
        "alloc::string::String by raw -> alloc::vec::Vec<shop::v1::Moved> by json, tumbling 1m, expires 1h",
    ] {
        assert_eq!(look(kind), Ok(source(50, false, 7)), "{kind}");
    }
    for (kind, expected) in [
        (
            "String by raw -> Vec<Moved> by json, tumbling 10s",
            "its store holds windows `tumbling 10s`, but the program declares windows `tumbling 1m`",
        ),
        ("String by raw -> Vec<Moved> by json", "its store holds no windows"),
        ("String by raw -> Moved by json, tumbling 1m", "have `#[field(default)]`), run `reset`"),
    ] {
        let error = look(kind).unwrap_err();
        assert!(error.contains(expected) && error.contains("`version`"), "{error}");
    }
}

#[test]
fn a_store_that_may_have_missed_removals_is_stale() {
    let commit = commit(9, 80);
    let old = mark(|mark| mark.time = Timestamp(NOW.0 - millis(STALE_AFTER) - 1));
    assert_eq!(look(old.clone(), Some(commit), 0, 80), Ok(RestoreStart { is_stale: true, ..source(0, true, 7) }));
    assert_eq!(look(old, Some(self::commit(9, 50)), 0, 50), Ok(source(50, false, 7)), "it has missed nothing");
}

/// A commit of a former owner, or one that a slow broker carries out late, takes the group back.
#[test]
fn a_store_with_changes_that_do_not_count_is_restored_anew() {
    let anew = |cut| Ok(RestoreStart { is_stale: true, is_ahead: true, ..source(0, true, cut) });
    let held = |epoch, cut, (next, end)| {
        mark(|mark| {
            (mark.epoch, mark.cut) = (OwnerEpoch(epoch), CommitNumber(cut));
            (mark.next, mark.end) = (Offset(next), Some(end).filter(|end| *end >= 0).map(Offset));
        })
    };
    // The last commit is number 9 of epoch 2, whose owner found the changelog up to offset 60.
    for (epoch, cut, ends, expected) in [
        (2, 9, (80, 80), Ok(source(80, false, 9))),
        (2, 9, (70, 80), Ok(source(70, false, 9))),
        (2, 10, (70, 70), anew(10)),
        (3, 1, (70, 70), anew(1)),
        (1, 99, (60, 60), Ok(source(60, false, 99))),
        (1, 1, (61, 61), anew(1)),
        (1, 99, (50, 60), Ok(source(50, false, 99))),
        // Its last records came behind those of the present owner, at which its position stands.
        (1, 99, (60, 75), anew(99)),
        (1, 99, (50, i64::MAX), anew(99)),
        // None of the records before its position count.
        (1, 99, (70, 0), Ok(source(70, false, 99))),
        // Earlier releases wrote no end.
        (1, 99, (60, -1), Ok(source(60, false, 99))),
        (1, 99, (61, -1), anew(99)),
    ] {
        assert_eq!(look(held(epoch, cut, ends), Some(commit(9, 80)), 0, 80), expected, "{epoch} {cut} {ends:?}");
    }
}

#[test]
fn an_inconsistency_is_reported_with_its_fix() {
    let good = commit(9, 80);
    let old = mark(|mark| mark.time = Timestamp(NOW.0 - millis(STALE_AFTER) - 1));
    let cases = [
        (None, Some(good), 80, 80, "begins at offset 80: records before it were deleted"),
        (old, Some(good), 10, 80, "too old to catch up"),
        (None, Some(good), 0, 79, "covers its changelog shop-counts-changelog[3] up to offset 80, but it ends at 79"),
        (None, Some(good), 10, 80, "begins at offset 10: records before it were deleted"),
        (None, None, 10, 80, "begins at offset 10: records before it were deleted"),
        (None, Some(CommittedTable::default()), 10, 80, "begins at offset 10: records before it were deleted"),
        (mark(|mark| mark.topic_id = "id-0".to_owned()), Some(good), 0, 80, "deleted and created again"),
        (
            mark(|mark| mark.next = Offset(90)),
            Some(good),
            0,
            80,
            "up to offset 90, but that ends at 80: it was truncated",
        ),
        (
            mark(|mark| mark.cut = CommitNumber(10)),
            Some(good),
            10,
            80,
            "holds commit 10 of epoch 2, but the last commit is 9",
        ),
        (mark(|_| ()), None, 0, 80, "holds commit 7, but there is no commit of this app"),
        (mark(|_| ()), Some(good), 60, 80, "up to offset 50, but that begins at 60"),
        (mark(|mark| mark.group = "stock".to_owned()), Some(good), 0, 80, "written by the app `stock`"),
        (mark(|mark| mark.kind = "u8".to_owned()), Some(good), 0, 80, "its store holds u8, but the program expects"),
        (mark(|mark| mark.v = 9), Some(good), 0, 80, "has format version 9"),
        (mark(|mark| mark.v = 1), Some(good), 10, 80, "written by an earlier release"),
        (Some(b"{".to_vec()), Some(good), 0, 80, "a checkpoint that cannot be read"),
        (Some(format!("{{\"v\":{STORE_VERSION}}}").into()), Some(good), 0, 80, "a checkpoint that cannot be read"),
    ];
    for (held, commit, low, high, expected) in cases {
        let error = look(held, commit, low, high).unwrap_err();
        assert!(error.starts_with("table `counts`, partition 3: ") && error.contains(expected), "{expected}: {error}");
        assert!(error.contains("reset") || error.contains("version"), "{error}");
    }
}

#[test]
fn a_store_of_an_earlier_release_is_restored() {
    let anew = RestoreStart { is_stale: true, ..source(0, true, 7) };
    assert_eq!(look(mark(|mark| mark.v = 1), Some(commit(9, 80)), 0, 80), Ok(anew));
}

/// A store of an earlier release is replaced only if its changelog has what it holds.
#[test]
fn a_store_of_an_earlier_release_is_kept_if_its_changelog_cannot_replace_it() {
    let earlier = |change: fn(&mut StoreCheckpoint)| {
        mark(|mark| {
            mark.v = 1;
            change(mark);
        })
    };
    let cases = [
        // The changelog was deleted and created again, and the group's offsets have expired.
        (earlier(|_| ()), None, 0, 0, "truncated"),
        (earlier(|mark| mark.topic_id = "id-0".to_owned()), Some(commit(9, 0)), 0, 80, "created again"),
        (earlier(|_| ()), None, 0, 80, "run `recover`"),
        (earlier(|mark| mark.group = "other".to_owned()), Some(commit(9, 80)), 0, 80, "`datadir`"),
        (earlier(|_| ()), Some(commit(9, 80)), 40, 80, "go back to that release"),
    ];
    for (held, commit, low, high, expected) in cases {
        let why = look(held, commit, low, high).unwrap_err();
        assert!(why.contains(expected) && !why.contains("run `reset` to restore from the changelog"), "{why}");
    }
}

/// Law: a commit that was looked up too early does not make a standby's store useless.
#[test]
fn a_store_has_a_later_commit_of_the_same_owner_or_of_the_next_one() {
    let has_later = |number, epoch| {
        let held = mark(|mark| (mark.cut, mark.epoch) = (CommitNumber(number), OwnerEpoch(epoch))).unwrap();
        has_later_commit(&held, commit(7, 80))
    };
    assert_eq!([has_later(8, 2), has_later(1, 3)], [true, true]);
    assert_eq!([has_later(7, 2), has_later(6, 2), has_later(9, 1)], [false, false, false]);
    assert!(!has_later_commit(b"not a checkpoint", commit(7, 80)), "reported by the check");
}
