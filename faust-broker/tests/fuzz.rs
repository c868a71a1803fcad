//! Fuzz test: on malformed requests, the listener neither panics nor allocates much memory.
//!
//! `FAUST_FUZZ_CASES` sets the number of requests (20 000 by default), `FAUST_FUZZ_SEED` the seed that generates them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "a long run reports its seed and its peak memory")]
#![allow(unsafe_code, reason = "a counting allocator implements the unsafe trait `GlobalAlloc`")]

#[path = "support/compressed.rs"]
mod compressed;
#[path = "support/samples.rs"]
mod samples;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Bytes, BytesMut};
use faust_broker::__private::{Handler, Reaction};
use faust_broker::BrokerConfig;
use faust_broker::core::records::{self, Producer, Record};
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, ResponseHeader};
use kafka_protocol::protocol::Decodable;

use samples::samples;

/// Maximum number of bytes that one request may allocate in addition to the state that the broker already holds.
const MAX_FOR_ONE: usize = 64 * 1024 * 1024;
/// Number of requests after which the broker is replaced, so that topics and groups created earlier do not add up.
const BROKER_LIFE: usize = 5_000;

/// An allocator that counts the currently allocated bytes and their peak.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is forwarded unchanged to the system allocator; only counters are updated.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller upholds the contract of `alloc`, which is the same for `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the pointer is from `alloc` above and thus from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// A SplitMix64 generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

#[test]
fn malformed_requests_neither_panic_nor_exhaust_memory() {
    let cases = number("FAUST_FUZZ_CASES", 20_000);
    let seed = number("FAUST_FUZZ_SEED", 1);
    let mut random = Random(seed.try_into().unwrap());
    let (mut handler, mut frames) = fresh(seed);
    let mut seen = HashMap::from([("answered", 0usize), ("silent", 0), ("closed", 0)]);
    let mut peak = 0;
    for case in 0..cases {
        if case % BROKER_LIFE == BROKER_LIFE - 1 {
            (handler, frames) = fresh(case + seed);
        }
        let frame = if case % 4 == 0 {
            compressed::hostile(|below| random.below(below))
        } else {
            hostile(&frames, &mut random)
        };
        let before = NOW.load(Relaxed);
        PEAK.store(before, Relaxed);
        let outcome = handler.answer(frame.clone());
        let used = PEAK.load(Relaxed).saturating_sub(before);
        assert!(used < MAX_FOR_ONE, "case {case} of seed {seed} took {used} bytes: {frame:02x?}");
        peak = peak.max(used);
        let name = match outcome {
            Reaction::Answered(_) => "answered",
            Reaction::Silent => "silent",
            Reaction::Closed(_) => "closed",
        };
        *seen.get_mut(name).unwrap() += 1;
        if case % 100 == 0 {
            handler.tick();
        }
    }
    println!("{cases} requests from seed {seed}: {seen:?}, at most {peak} bytes for one");
    // The generated requests must be a mix: some are answered and some close the connection.
    assert!(seen["answered"] > cases / 50 && seen["closed"] > cases / 50, "{seen:?}");
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Creates a new broker and valid requests for it.
fn fresh(seed: usize) -> (Handler, Vec<Bytes>) {
    let handler = Handler::new(BrokerConfig::default(), seed.try_into().unwrap()).unwrap();
    for frame in compressed::topics() {
        assert!(matches!(handler.answer(frame), Reaction::Answered(_)));
    }
    let ranges = ranges(&handler);
    let range = move |api: ApiKey| {
        let (min, max) = ranges[&(api as i16)];
        // The first versions of Produce are listed, but not supported.
        min.max(api.valid_versions().min)..=max
    };
    let record = Record { value: Some(Bytes::from_static(b"value")), ..Record::default() };
    let batch = records::encode(&[record], Producer::NONE).unwrap();
    let frames = samples(range, 7, batch).iter().map(samples::Sample::frame).collect();
    (handler, frames)
}

fn ranges(handler: &Handler) -> HashMap<i16, (i16, i16)> {
    // ApiVersions, version 0, correlation id 0, no client id.
    let Reaction::Answered(answer) = handler.answer(Bytes::from_static(&[0, 18, 0, 0, 0, 0, 0, 0, 255, 255])) else {
        panic!("no response to ApiVersions");
    };
    let mut answer = answer.slice(4..);
    ResponseHeader::decode(&mut answer, 0).unwrap();
    let versions = ApiVersionsResponse::decode(&mut answer, 0).unwrap();
    versions.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect()
}

/// Generates a valid request with some damage, or random bytes after the start of a header.
fn hostile(frames: &[Bytes], random: &mut Random) -> Bytes {
    let mut frame = BytesMut::from(&frames[random.below(frames.len())][..]);
    if random.below(8) == 0 {
        frame.truncate(14);
        frame.extend((0..random.below(200)).map(|_| random.next().to_le_bytes()[0]));
        return frame.freeze();
    }
    for _ in 0..random.below(6) {
        damage(&mut frame, random);
    }
    frame.freeze()
}

fn damage(frame: &mut BytesMut, random: &mut Random) {
    let at = random.below(frame.len());
    match random.below(6) {
        0 => frame[at] ^= 1 << random.below(8),
        1 => frame[at] = random.next().to_le_bytes()[0],
        // Critical lengths: the largest, the most negative and -1, among others.
        2 if at + 4 <= frame.len() => {
            let lengths = [i32::MAX, i32::MIN, -1, 1_000_000, 0x7fff_0000];
            frame[at..at + 4].copy_from_slice(&lengths[random.below(lengths.len())].to_be_bytes());
        }
        3 if at + 5 <= frame.len() => frame[at..at + 5].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]),
        4 => frame.truncate(at.max(1)),
        _ => {
            let copy = frame[at..].to_vec();
            frame.extend_from_slice(&copy);
        }
    }
}
