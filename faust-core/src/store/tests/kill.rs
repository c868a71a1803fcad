//! `kill -9` at random moments: reported writes survive, and the mark is never ahead of the entries.
//!
//! A child process writes rounds of changes that depend only on the round's number, with that number as the mark, and
//! reports each round after writing it. After each kill, the parent reads the mark and derives the possible values of
//! every key from it.
//!
//! `FAUST_TEST_KILLS` is the number of kills (4 by default), and `FAUST_TEST_SEED` makes their moments reproducible.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::store::port::Write;

const ROLE: &str = "FAUST_TEST_STORE";
const KEYS: u64 = 40_000;
/// Rounds alternate between two stores of the database.
const STORES: u64 = 2;

/// A small random number generator, with which both processes compute the same rounds.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Returns the changes of round `number`. Values start with the number of the round.
fn round(number: u64) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let mut random = Random(number.wrapping_mul(7_919));
    // Rounds are mostly small, and sometimes so large that fjall writes files directly.
    let count = if random.below(12) == 0 { 30_000 } else { 1 + random.below(1_500) };
    let mut changes = BTreeMap::new();
    for _ in 0..count {
        let key = random.below(KEYS).to_be_bytes().to_vec();
        // sled stores values longer than 128 KiB in separate files.
        let length = if random.below(20_000) == 0 { 150_000 } else { random.below(100) };
        let value = [&number.to_be_bytes()[..], &vec![number as u8; length as usize]].concat();
        changes.insert(key, (random.below(8) > 0).then_some(value));
    }
    changes
}

fn name_of(round: u64) -> StoreName {
    StoreName::new("killed", (round % STORES) as i32)
}

/// Returns the mark as the number of a round, or 0 if there is no mark.
fn marked(store: &dyn Store) -> u64 {
    store.mark().unwrap().map_or(0, |mark| u64::from_be_bytes(mark.try_into().unwrap()))
}

/// The child process, which continues after the last mark until it is killed. Run as a test of its own, it does
/// nothing.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let [kind, reports, dir] = role.splitn(3, '|').collect::<Vec<_>>().try_into().unwrap();
    let kind = StoreKind::COMPILED_IN.iter().find(|known| known.as_str() == kind).unwrap();
    let mut reports = TcpStream::connect(reports).unwrap();
    let set = open_set(*kind, Path::new(dir));
    let stores: Vec<_> = (0..STORES).map(|number| set.open(&name_of(number)).unwrap()).collect();
    let mut last = stores.iter().map(|store| marked(&**store)).max().unwrap();
    loop {
        last += 1;
        let changes = round(last);
        let entries: Vec<Write<'_>> = changes.iter().map(|(key, value)| (&**key, value.as_deref())).collect();
        let store = &stores[(last % STORES) as usize];
        store.write(&entries, Some(&last.to_be_bytes())).and_then(|()| store.sync()).unwrap();
        // After this call, the kill cannot affect the report any more.
        reports.write_all(format!("{last}\n").as_bytes()).unwrap();
    }
}

/// Starts a child, kills it after the given time, and returns the last round that it reported.
fn run_and_kill(kind: StoreKind, dir: &Path, for_a_while: Duration) -> u64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "store::tests::kill::child"]);
    command.env(ROLE, format!("{kind}|{}|{}", listener.local_addr().unwrap(), dir.display()));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let reports = BufReader::new(accept(&listener, &mut child));
    // A connection reset ends the reports as well.
    let mut reports = reports.lines().map_while(Result::ok).map(|line| line.parse::<u64>().unwrap());
    let first = reports.next().expect("a report of the child");
    // The moment of the kill is random, so there is no event to wait for.
    std::thread::sleep(for_a_while);
    child.kill().unwrap();
    child.wait().unwrap();
    reports.last().unwrap_or(first)
}

/// Accepts the child's connection. Panics if the child exits before it connects.
fn accept(listener: &TcpListener, child: &mut Child) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    loop {
        if let Ok((connection, _)) = listener.accept() {
            connection.set_nonblocking(false).unwrap();
            return connection;
        }
        assert_eq!(child.try_wait().unwrap(), None, "the child has died");
        std::thread::yield_now();
    }
}

/// The contents that a store must have after all rounds up to its mark. It may also have changes of the next round.
#[derive(Default)]
struct Expected {
    upto: u64,
    contents: Contents,
}

impl Expected {
    fn advance(&mut self, store: u64, mark: u64) {
        for number in (self.upto + 1..=mark).filter(|number| number % STORES == store) {
            for (key, value) in round(number) {
                match value {
                    Some(value) => self.contents.insert(key, value),
                    None => self.contents.remove(&key),
                };
            }
        }
        self.upto = mark;
    }

    fn check(&self, found: &Contents, next: &BTreeMap<Vec<u8>, Option<Vec<u8>>>, which: &str) {
        for number in 0..KEYS {
            let key = &number.to_be_bytes()[..];
            let (found, expected) = (found.get(key), self.contents.get(key));
            if found != expected {
                let next = next.get(key).map(Option::as_ref);
                let upto = self.upto;
                assert_eq!(next, Some(found), "{which}: key {number} is neither as of round {upto} nor of the next");
            }
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

fn survives(kind: StoreKind) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("state");
    let seed = variable("FAUST_TEST_SEED").unwrap_or_else(|| crate::time::Timestamp::now().as_millis() as u64);
    let mut random = Random(seed);
    let mut expected: Vec<Expected> = (0..STORES).map(|_| Expected::default()).collect();
    for kill in 0..variable("FAUST_TEST_KILLS").unwrap_or(4) {
        let reported = run_and_kill(kind, &dir, Duration::from_micros(random.below(300_000)));
        let set = open_set(kind, &dir);
        let which = format!("{kind}, kill {kill}, FAUST_TEST_SEED={seed}");
        assert_eq!(set.set_aside(), 0, "{which}");
        let mut highest = 0;
        for (number, expected) in (0..).zip(&mut expected) {
            let store = set.open(&name_of(number)).unwrap();
            let mark = marked(&*store);
            assert!(mark + STORES > reported, "{which}: round {reported} was reported, the mark is {mark}");
            expected.advance(number, mark);
            expected.check(&contents(&*store), &round(mark + STORES), &which);
            highest = highest.max(mark);
        }
        assert!(highest >= reported, "{which}: round {reported} was reported, the mark is {highest}");
    }
}

#[test]
fn each_engine_survives() {
    on_each_engine(survives);
}
