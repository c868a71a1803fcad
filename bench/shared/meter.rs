//! Times events from inside the process that handles them, for the loop and for the framework alike.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::BoxError;

/// Counts the events of each partition and times them: one look at the clock and three plain stores an event.
#[derive(Debug)]
pub struct Meter {
    lanes: [Lane; LANES],
    base: LazyLock<Instant>,
}

/// One partition's. At most one thread at a time writes to it, and no other partition shares its cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Lane {
    seen: AtomicU64,
    /// Nanoseconds since the base, as the next two.
    first: AtomicU64,
    last: AtomicU64,
    stall: AtomicU64,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// When the first event was seen.
    pub first: Instant,
    /// From the first event to the last.
    pub took: Duration,
    /// The longest time between two events of a partition.
    pub max_stall: Duration,
}

const LANES: usize = 64;

impl Meter {
    /// One that has seen nothing.
    pub const fn new() -> Self {
        Self { lanes: [const { Lane::new() }; LANES], base: LazyLock::new(Instant::now) }
    }

    /// An event is about to be handled.
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

    /// The events seen so far.
    pub fn seen(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.seen.load(Ordering::Acquire)).sum()
    }

    /// How it went, up to the last event; `None` before the first.
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

/// What the process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time, in seconds.
    pub cpu_s: f64,
    /// The most memory it had at once, in MB.
    pub peak_rss_mb: f64,
}

impl Usage {
    /// Asks the system, which must be Linux.
    ///
    /// # Errors
    /// It has no `/proc`.
    pub fn now() -> Result<Self, BoxError> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        // The name in parentheses may hold spaces; user and system time are the twelfth and thirteenth field behind it.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        let ticks = fields.skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        Ok(Self { cpu_s: ticks / TICKS_A_SECOND, peak_rss_mb: peak.ok_or("no VmHWM")?.trim().parse::<f64>()? / 1024.0 })
    }
}

/// Linux's `USER_HZ`, which is the same on all of its common architectures.
const TICKS_A_SECOND: f64 = 100.0;
