//! Kills of the broker, each followed by damage to one of its files: only what is damaged is lost, and the broker names it.
#![allow(clippy::print_stdout, reason = "a run reports how often each kind of file was damaged")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use faust_broker::core::batch::Header;
use rdkafka::producer::ThreadedProducer;

use crate::kills::{Acknowledged, PARTITIONS, TIMEOUT, create_topic, feed, read_all, settings};
use crate::process::Process;
use crate::restart::{commit, committed, segments};
use crate::wire::Client;

/// Number of messages that are acknowledged between two kills.
const BETWEEN: usize = 500;
/// Small, so that there are many segments.
const SEGMENT_BYTES: u32 = 3000;
/// The line of the log after which all damage is reported.
const VERIFIED: &str = "verified the checksums";

/// Returns the number of kills for each codec.
fn kills() -> usize {
    std::env::var("FAUST_TEST_KILLS").map_or(4, |text| text.parse().expect("FAUST_TEST_KILLS is a number"))
}

/// The files of a broker that contain something after a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    SealedSegment,
    RepairedSegment,
    ActiveSegment,
    Summary,
    Journal,
    TopicCopy,
    Checkpoint,
    Holder,
    Reserve,
}

const KINDS: [Kind; 9] = [
    Kind::SealedSegment,
    Kind::RepairedSegment,
    Kind::ActiveSegment,
    Kind::Summary,
    Kind::Journal,
    Kind::TopicCopy,
    Kind::Checkpoint,
    Kind::Holder,
    Kind::Reserve,
];

/// The base offset of a segment, and its end if its name has one.
fn offsets_of(path: &Path) -> (i64, Option<i64>) {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let number = |text: &str| text.parse().unwrap();
    name.split_once('-').map_or_else(|| (number(name), None), |(base, end)| (number(base), Some(number(end))))
}

fn partition_of(segment: &Path) -> i32 {
    segment.parent().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap()
}

impl Kind {
    /// Returns the files of this kind that are not empty.
    fn files(self, directory: &Path) -> Vec<PathBuf> {
        let segments = segments(directory);
        let is_last = |path: &PathBuf| {
            let later = |other: &&PathBuf| other.parent() == path.parent() && offsets_of(other) > offsets_of(path);
            !segments.iter().any(|other| later(&other))
        };
        let has_end = |path: &PathBuf| offsets_of(path).1.is_some();
        let of_segments =
            |is_wanted: &dyn Fn(&PathBuf) -> bool| segments.iter().filter(|path| is_wanted(path)).cloned().collect();
        let mut files: Vec<PathBuf> = match self {
            Self::SealedSegment => of_segments(&|path| !is_last(path) && !has_end(path)),
            Self::RepairedSegment => of_segments(&has_end),
            Self::ActiveSegment => of_segments(&|path| is_last(path) && !has_end(path)),
            Self::Summary => segments.iter().map(|path| path.with_extension("summary")).collect(),
            Self::Journal => vec![directory.join("journal")],
            Self::TopicCopy => {
                segments[..1].iter().map(|path| path.parent().unwrap().with_file_name("topic")).collect()
            }
            Self::Checkpoint => vec![directory.join("synced")],
            Self::Holder => vec![directory.join("holder")],
            Self::Reserve => vec![directory.join("reserve")],
        };
        files.retain(|path| fs::metadata(path).is_ok_and(|found| found.len() > 0));
        files
    }

    fn is_segment(self) -> bool {
        matches!(self, Self::SealedSegment | Self::RepairedSegment | Self::ActiveSegment)
    }
}

/// Numbers that look random and follow from a seed (SplitMix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }
}

/// Returns the positions and offsets of the batches in a segment.
fn batches_of(bytes: &[u8]) -> Vec<(Range<usize>, Range<i64>)> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(header) = Header::read(&bytes[at..]).filter(|header| at + header.size <= bytes.len()) {
        found.push((at..at + header.size, header.base_offset..header.last_offset() + 1));
        at += header.size;
    }
    found
}

/// Damage to one file.
#[derive(Debug)]
struct Strike {
    kind: Kind,
    blow: &'static str,
    path: PathBuf,
    at: String,
    /// The partition and the offsets of the batches that are damaged.
    lost: BTreeSet<(i32, i64)>,
}

impl Strike {
    /// Damages a file of this kind. Without a repaired segment, it is a sealed one.
    fn new(directory: &Path, kind: Kind, numbers: &mut Numbers) -> Self {
        let (kind, files) = match kind.files(directory) {
            none if none.is_empty() => (Kind::SealedSegment, Kind::SealedSegment.files(directory)),
            files => (kind, files),
        };
        assert!(!files.is_empty(), "there is no file to damage: {:?}", segments(directory));
        let path = files[numbers.below(files.len())].clone();
        let before = fs::read(&path).unwrap();
        let batches = if kind.is_segment() { batches_of(&before) } else { Vec::new() };
        loop {
            let (position, bit) = (numbers.below(before.len()), numbers.below(8));
            let mut after = before.clone();
            let blow = match numbers.below(4) {
                0 | 1 => {
                    after[position] ^= 1 << bit;
                    "flip"
                }
                2 => {
                    after.truncate(position);
                    "cut"
                }
                _ => {
                    after[position..].fill(0);
                    "zeros"
                }
            };
            // A cut between two batches looks like a write that never happened, or like a gap. No checksum covers the
            // offset of a batch, so a wrong one between gaps is not noticed.
            let is_boundary = batches.iter().any(|(at, _)| at.start == position);
            let is_offset = batches.iter().any(|(at, _)| (at.start..at.start + 8).contains(&position));
            let is_hidden = kind.is_segment() && blow == "cut" && is_boundary
                || kind == Kind::RepairedSegment && is_offset
                // The last lines of the journal are missing.
                || kind == Kind::Journal && blow == "cut" && (position == 0 || before[position - 1] == b'\n' || before[position] == b'\n');
            if after == before || is_hidden {
                continue;
            }
            fs::write(&path, &after).unwrap();
            let is_changed = |at: &Range<usize>| after.get(at.clone()) != before.get(at.clone());
            let changed = batches.into_iter().filter(|(at, _)| is_changed(at)).flat_map(|(_, offsets)| offsets);
            let lost = changed.map(|offset| (partition_of(&path), offset)).collect();
            let at = format!("{position} of {}", before.len());
            return Self { kind, blow, path, at, lost };
        }
    }

    /// Returns true if the damage must be reported: the file holds something that is not written anew.
    fn must_be_reported(&self) -> bool {
        !matches!(self.kind, Kind::Summary | Kind::Holder | Kind::Reserve)
    }
}

/// Returns the value of a field in a line of the log.
fn field(line: &str, name: &str) -> Option<i64> {
    let (_, rest) = line.split_once(&format!(" {name}="))?;
    rest.split(' ').next()?.parse().ok()
}

/// Returns the offsets that the log names as lost, by partition.
fn reported(log: &str) -> Vec<(i32, Range<i64>)> {
    let range = |line: &str| {
        let partition = i32::try_from(field(line, "partition")?).unwrap();
        match field(line, "from_offset") {
            Some(from) => Some((partition, from..i64::MAX)),
            None => Some((partition, field(line, "first_offset")?..field(line, "next_offset")?)),
        }
    };
    log.lines().filter(|line| line.contains("topic=\"t\"")).filter_map(range).collect()
}

/// A broker that is killed again and again.
struct Victim {
    directory: tempfile::TempDir,
    log: PathBuf,
    broker: Process,
    committed: i64,
}

impl Victim {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log of the broker");
        let broker = Process::start_with_log(&directory.path().join("broker"), 0, &log);
        create_topic(&broker.address.to_string(), SEGMENT_BYTES);
        Self { directory, log, broker, committed: -1 }
    }

    fn commit(&mut self) {
        self.committed += 1;
        commit(&mut Client::connect(self.broker.address), self.committed);
    }

    /// Kills the broker, damages a file and starts the broker. Returns what it has reported.
    fn suffer(&mut self, kind: Kind, numbers: &mut Numbers) -> (Strike, String) {
        self.broker.kill();
        let home = self.directory.path().join("broker");
        let strike = Strike::new(&home, kind, numbers);
        fs::remove_file(&self.log).unwrap();
        self.broker = Process::start_with_log(&home, self.broker.address.port(), &self.log);
        let deadline = Instant::now() + TIMEOUT;
        let log = loop {
            let log = fs::read_to_string(&self.log).unwrap();
            if log.contains(VERIFIED) {
                break log;
            }
            assert!(Instant::now() < deadline, "the checksums are not verified: {log}");
            std::thread::yield_now();
        };
        (strike, log)
    }
}

/// Checks what a start has reported about a strike, and returns the offsets that may be lost.
fn check(strike: &Strike, log: &str) -> BTreeSet<(i32, i64)> {
    let name = strike.path.file_name().unwrap().to_str().unwrap();
    let is_named = log.lines().any(|line| (line.contains("WARN") || line.contains("ERROR")) && line.contains(name));
    assert!(is_named || !strike.must_be_reported(), "not reported: {strike:?} at {}\n{log}", strike.at);
    let named = reported(log);
    let is_named =
        |(partition, offset): &(i32, i64)| named.iter().any(|(at, range)| at == partition && range.contains(offset));
    strike.lost.iter().filter(|place| is_named(place)).copied().collect()
}

/// Ends the production of messages, also if the test fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills the broker while messages with this codec are produced, and damages a file each time.
fn survives(codec: &str, seed: u64) {
    let mut victim = Victim::new();
    let bootstrap = victim.broker.address.to_string();
    let acknowledged = Acknowledged::default();
    // Several batches fit into a segment.
    let mut config = settings(&bootstrap, codec);
    config.set("acks", "all").set("batch.num.messages", "10");
    let producer: ThreadedProducer<Acknowledged> = config.create_with_context(acknowledged.clone()).unwrap();
    let (mut numbers, is_done) = (Numbers(seed), AtomicBool::new(false));
    let (mut counts, mut may_be_lost) = (BTreeMap::<_, usize>::new(), BTreeSet::new());
    let first = usize::try_from(seed).unwrap() * 2;
    std::thread::scope(|scope| {
        let feeding = scope.spawn(|| feed(&producer, &is_done));
        let end = EndOnDrop(&is_done);
        for round in 0..kills() {
            acknowledged.await_more(BETWEEN);
            victim.commit();
            let (strike, log) = victim.suffer(KINDS[(first + round) % KINDS.len()], &mut numbers);
            may_be_lost.extend(check(&strike, &log));
            let (found, _) = committed(&mut Client::connect(victim.broker.address));
            assert!(
                found == victim.committed || strike.kind == Kind::Journal,
                "{found} instead of {}\n{log}",
                victim.committed
            );
            *counts.entry((strike.kind, strike.blow)).or_default() += 1;
        }
        drop(end);
        feeding.join().unwrap();
    });
    let found = read_all(&bootstrap);
    let acknowledged = acknowledged.0.lock().unwrap();
    let mut lost = 0;
    for (number, place) in acknowledged.iter() {
        if found.get(place) != Some(number) {
            assert!(
                may_be_lost.contains(place),
                "{codec}: message {number} is not at {place:?}, and not named\n{counts:?}"
            );
            lost += 1;
        }
    }
    println!(
        "{codec}: {} acknowledged messages, {lost} lost of {} damaged offsets, {counts:?}",
        acknowledged.len(),
        may_be_lost.len()
    );
    for kind in KINDS.iter().filter(|_| kills() >= 2 * KINDS.len()) {
        assert!(counts.keys().any(|(struck, _)| struck == kind), "{codec}: no {kind:?} was damaged");
    }
    assert!(PARTITIONS > 1 && acknowledged.len() >= kills() * BETWEEN);
}

#[test]
fn uncompressed_messages_survive_damage() {
    survives("none", 0);
}

#[test]
fn gzip_messages_survive_damage() {
    survives("gzip", 1);
}

#[test]
fn snappy_messages_survive_damage() {
    survives("snappy", 2);
}

#[test]
fn lz4_messages_survive_damage() {
    survives("lz4", 3);
}

#[test]
fn zstd_messages_survive_damage() {
    survives("zstd", 4);
}
