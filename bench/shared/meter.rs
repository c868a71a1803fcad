//! Measures event processing inside the process, in the same way for the loop and the framework.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::BoxError;

/// Counts and times the events of each partition. An event costs one clock reading and up to three plain stores.
#[derive(Debug)]
pub struct Meter {
    lanes: [Lane; LANES],
    base: LazyLock<Instant>,
}

/// The counters of one partition. At most one thread writes to them at a time, and no other partition shares their cache
/// line.
#[derive(Debug)]
#[repr(align(128))]
struct Lane {
    seen: AtomicU64,
    /// Nanoseconds since the base, like the next two.
    first: AtomicU64,
    last: AtomicU64,
    stall: AtomicU64,
}

/// The result of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Time of the first event.
    pub first: Instant,
    /// Time from the first event to the last.
    pub took: Duration,
    /// Longest time between two events of a partition.
    pub max_stall: Duration,
}

const LANES: usize = 64;

impl Meter {
    /// Creates a meter without events.
    pub const fn new() -> Self {
        Self { lanes: [const { Lane::new() }; LANES], base: LazyLock::new(Instant::now) }
    }

    /// Records an event. Called before the event is processed.
    #[inline]
    pub fn event(&self, partition: i32) {
        let now = self.base.elapsed().as_nanos() as u64;
        let lane = &self.lanes[partition as usize % LANES];
        let seen = lane.seen.load(Ordering::Relaxed);
        if seen == 0 {
            lane.first.store(now, Ordering::Relaxed);
        } else {
            let gap = now.saturating_sub(lane.last.load(Ordering::Relaxed));
            if gap > lane.stall.load(Ordering::Relaxed) {
                lane.stall.store(gap, Ordering::Relaxed);
            }
        }
        lane.last.store(now, Ordering::Relaxed);
        lane.seen.store(seen + 1, Ordering::Release);
    }

    /// Returns the number of events so far.
    pub fn seen(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.seen.load(Ordering::Acquire)).sum()
    }

    /// Returns the measurement up to the last event, or `None` before the first event.
    pub fn measured(&self) -> Option<Measured> {
        let used = || self.lanes.iter().filter(|lane| lane.seen.load(Ordering::Acquire) > 0);
        let read = |field: &AtomicU64| Duration::from_nanos(field.load(Ordering::Relaxed));
        let first = used().map(|lane| read(&lane.first)).min()?;
        let last = used().map(|lane| read(&lane.last)).max()?;
        let max_stall = used().map(|lane| read(&lane.stall)).max()?;
        Some(Measured { first: *self.base + first, took: last - first, max_stall })
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl Lane {
    const fn new() -> Self {
        Self { seen: AtomicU64::new(0), first: AtomicU64::new(0), last: AtomicU64::new(0), stall: AtomicU64::new(0) }
    }
}

/// Resource usage of the process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time in seconds.
    pub cpu_s: f64,
    /// Peak resident memory in MB.
    pub peak_rss_mb: f64,
}

impl Usage {
    /// Reads the usage from `/proc`, which requires Linux.
    ///
    /// # Errors
    /// Fails if `/proc` is not available.
    pub fn now() -> Result<Self, BoxError> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        // The name in parentheses can contain spaces; user and system time are the 12th and 13th field after it.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        let ticks = fields.skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        Ok(Self { cpu_s: ticks / TICKS_A_SECOND, peak_rss_mb: peak.ok_or("no VmHWM")?.trim().parse::<f64>()? / 1024.0 })
    }
}

/// Linux's `USER_HZ`, which has this value on all common architectures.
const TICKS_A_SECOND: f64 = 100.0;
