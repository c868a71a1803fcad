//! A disk that is full for a while: writes fail, and succeed once there is room again.
//!
//! A child process writes rounds of changes, with a limit on the size of its files, which the parent lifts as soon as a
//! write has failed. Only Linux lets one process set the limits of another, with `prlimit` of util-linux.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::store::port::Write;

const ROLE: &str = "FAUST_TEST_FULL_DISK";
/// Limit of a file's size: less than the file that is written to see whether the disk has room again.
const LIMIT: u64 = 900 << 10;
/// Time within which the child must continue. It is long, because it passes only if the test fails.
const WITHIN: Duration = Duration::from_secs(60);

/// The child process. Run as a test of its own, it does nothing.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let [kind, reports, dir] = role.splitn(3, '|').collect::<Vec<_>>().try_into().unwrap();
    let kind = StoreKind::COMPILED_IN.iter().find(|known| known.as_str() == kind).unwrap();
    let mut reports = TcpStream::connect(reports).unwrap();
    let set = open_set(*kind, Path::new(dir));
    let store = set.open(&counts()).unwrap();
    let mut was_full = false;
    // The limit comes after the engine has created its files, which may be larger.
    reports.write_all(b"open\n").unwrap();
    reports.read_exact(&mut [0]).unwrap();
    // Reads of sled write as well, when they consolidate pages.
    let (reading, is_over) = (Arc::clone(&store), Arc::new(AtomicBool::new(false)));
    let over = Arc::clone(&is_over);
    let reader = std::thread::spawn(move || {
        for n in (0_u64..).take_while(|_| !over.load(Ordering::Relaxed)) {
            drop(reading.get(&(n % 4_000_000).to_be_bytes()));
        }
    });
    for round in 0_u64.. {
        let changes: Vec<_> = (0..500_u64).map(|n| ((n * 7919 + round).to_be_bytes(), [round as u8; 100])).collect();
        let changes: BTreeMap<_, _> = changes.into_iter().collect();
        let entries: Vec<Write<'_>> = changes.iter().map(|(key, value)| (&key[..], Some(&value[..]))).collect();
        while let Err(error) = store.write(&entries, Some(&round.to_be_bytes())).and_then(|()| store.sync()) {
            assert_eq!(error.kind(), StoreErrorKind::Io, "{error}");
            if !was_full {
                reports.write_all(b"full\n").unwrap();
                was_full = true;
            }
            std::thread::yield_now();
        }
        if was_full {
            let last = changes.keys().next_back().unwrap();
            assert_eq!(store.get(last).unwrap().as_deref(), Some(&[round as u8; 100][..]));
            is_over.store(true, Ordering::Relaxed);
            reader.join().unwrap();
            return reports.write_all(b"mended\n").unwrap();
        }
    }
}

/// Ends a child that has not ended by itself.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

impl Ended {
    fn set_limit(&self, limit: &str) {
        let set =
            Command::new("prlimit").args(["--pid", &self.0.id().to_string(), &format!("--fsize={limit}:")]).status();
        assert!(set.expect("the test needs `prlimit` of util-linux").success());
    }
}

fn run(kind: StoreKind) {
    let parent = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut command = Command::new("sh");
    // The signal of this limit would end the child.
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "store::tests::full::child", "--nocapture"]);
    command.env(ROLE, format!("{kind}|{}|{}", listener.local_addr().unwrap(), parent.path().join("state").display()));
    let child = Ended(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    let (mut connection, _) = listener.accept().unwrap();
    connection.set_read_timeout(Some(WITHIN)).unwrap();
    let mut reports = BufReader::new(connection.try_clone().unwrap()).lines();
    let mut next = |expected: &str| match reports.next() {
        Some(Ok(report)) => assert_eq!(report, expected, "{kind}"),
        Some(Err(_)) => panic!("{kind}: the child has not reported `{expected}` within {WITHIN:?}"),
        None => panic!("{kind}: the child has failed"),
    };
    next("open");
    child.set_limit(&LIMIT.to_string());
    connection.write_all(b"x").unwrap();
    next("full");
    child.set_limit("unlimited");
    next("mended");
}

#[test]
fn writes_continue_once_there_is_room() {
    let times = std::env::var("FAUST_TEST_FULL").ok().and_then(|times| times.parse().ok()).unwrap_or(3);
    on_each_engine(|kind| (0..times).for_each(|_| run(kind)));
}
