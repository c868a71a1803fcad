//! Timestamps in the format of Kafka: milliseconds since the Unix epoch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time in milliseconds since the Unix epoch, as in Kafka messages. It is serialized as that number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Returns the time of the wall clock. Pure code takes a `Timestamp` as an argument instead.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(millis(since))
    }

    /// Returns the number of milliseconds.
    pub fn as_millis(self) -> i64 {
        self.0
    }
}

impl From<i64> for Timestamp {
    fn from(millis: i64) -> Self {
        Self(millis)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A timestamp, or none, that one thread writes and others read. Every number of milliseconds is a timestamp, so none of
/// them stands for the absent one.
#[derive(Debug)]
pub(crate) struct AtomicTimestamp {
    millis: AtomicI64,
    is_set: AtomicBool,
}

impl AtomicTimestamp {
    pub(crate) fn new(time: Option<Timestamp>) -> Self {
        let millis = AtomicI64::new(time.map_or(0, Timestamp::as_millis));
        Self { millis, is_set: AtomicBool::new(time.is_some()) }
    }

    pub(crate) fn load(&self) -> Option<Timestamp> {
        // Acquire pairs with the Release in `store`: a thread that sees the flag also sees the number.
        self.is_set.load(Ordering::Acquire).then(|| Timestamp(self.millis.load(Ordering::Relaxed)))
    }

    pub(crate) fn store(&self, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.millis.store(time.0, Ordering::Relaxed);
        }
        self.is_set.store(time.is_some(), Ordering::Release);
    }

    /// Raises the timestamp to `time` if that is later. Only one thread may write.
    pub(crate) fn raise(&self, time: Timestamp) {
        if self.load().is_none_or(|earlier| earlier < time) {
            self.store(Some(time));
        }
    }
}

/// A wall clock: that of the system, or that of the test driver.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<dyn Fn() -> Timestamp + Send + Sync>>);

impl Clock {
    /// Creates a clock that is read through `read`.
    pub fn new(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(read)))
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.0.as_ref().map_or_else(Timestamp::now, |read| read())
    }
}

/// The latest time that is accepted: a fixed distance ahead of a clock. Most times are accepted without a look at the
/// clock, because they are not later than one that was accepted before.
#[derive(Debug)]
pub(crate) struct Horizon {
    clock: Clock,
    ahead: Duration,
    /// The horizon when the clock was read last.
    known: AtomicI64,
}

impl Horizon {
    pub(crate) fn new(clock: Clock, ahead: Duration) -> Self {
        Self { clock, ahead, known: AtomicI64::new(i64::MIN) }
    }

    /// Returns `true` unless `time` is further ahead of the clock.
    pub(crate) fn reaches(&self, time: Timestamp) -> bool {
        time.0 <= self.known.load(Ordering::Relaxed) || time <= self.latest()
    }

    /// Returns the latest accepted time at this moment.
    pub(crate) fn latest(&self) -> Timestamp {
        let latest = self.clock.now().0.saturating_add(millis(self.ahead));
        self.known.store(latest, Ordering::Relaxed);
        Timestamp(latest)
    }

    /// Returns the distance from the clock.
    pub(crate) fn ahead(&self) -> Duration {
        self.ahead
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Clock(own)" } else { "Clock(system)" })
    }
}

/// Converts a duration to milliseconds, the unit of Kafka; a duration that is too long saturates.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A text that is not a duration, from [`parse_duration`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration: write a number and a unit, like `250ms`, `10s`, `1m30s`, `1h` or `7d`")]
pub struct ParseDurationError {
    text: String,
}

/// Shows the same text as `Display`: a `main` that returns the error prints its `Debug`.
impl fmt::Debug for ParseDurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses a duration such as `10s`, `1m30s`, `250ms`, `1h` or `7d`. A number without a unit is rejected because it is
/// ambiguous.
///
/// # Errors
/// Fails if the text is not a duration. The error names the text and the accepted forms.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let bad = || ParseDurationError { text: text.to_owned() };
    // humantime also accepts months and years, which have no fixed length, and abbreviates month as `M`.
    let unit_is_vague = |unit: &str| unit.starts_with('M') || unit.starts_with("mon") || unit.starts_with('y');
    let mut units = text.split(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace());
    if units.any(unit_is_vague) {
        return Err(bad());
    }
    humantime::parse_duration(text.trim()).map_err(|_| bad())
}

/// Formats a duration in a form that [`parse_duration`] reads: `250ms`, `2.8s`, `90s`, `5m` or `7d`; a longer one that
/// is not a multiple of one unit as `1h30m`. Fractions of a millisecond are cut off.
pub fn format_duration(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    if (1_000..120_000).contains(&millis) && !millis.is_multiple_of(60_000) {
        return format!("{}s", millis as f64 / 1_000.0);
    }
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut text = String::new();
    for (unit, size) in units {
        if millis >= size {
            text += &format!("{}{unit}", millis / size);
            millis %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_milliseconds_is_a_timestamp() {
        let time = AtomicTimestamp::new(None);
        for earliest in [i64::MIN, 0] {
            assert_eq!(time.load(), None);
            time.raise(Timestamp(earliest));
            assert_eq!(time.load(), Some(Timestamp(earliest)));
            time.raise(Timestamp(earliest + 1));
            time.raise(Timestamp(earliest));
            assert_eq!(time.load(), Some(Timestamp(earliest + 1)));
            time.store(None);
        }
    }

    #[test]
    fn a_horizon_moves_with_its_clock() {
        let now = Arc::new(AtomicI64::new(1_000));
        let read = Arc::clone(&now);
        let horizon = Horizon::new(Clock::new(move || Timestamp(read.load(Ordering::Relaxed))), Duration::from_secs(1));
        let reached = |times: [i64; 4]| times.map(|time| horizon.reaches(Timestamp(time)));
        assert_eq!(reached([i64::MIN, 2_000, 2_001, i64::MAX]), [true, true, false, false]);
        now.store(1_001, Ordering::Relaxed);
        assert_eq!(reached([i64::MIN, 2_000, 2_001, i64::MAX]), [true, true, true, false]);
    }

    #[test]
    fn durations_need_a_unit_of_fixed_length() {
        let ok = [("10s", 10_000), ("250ms", 250), ("1m30s", 90_000), ("1h", 3_600_000), ("7d", 604_800_000)];
        for (text, ms) in ok {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["10", "", "1month", "2M", "1y", "-1s", "soon"] {
            let error = parse_duration(text).expect_err(text).to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("10s"), "{error}");
        }
    }

    #[test]
    fn a_formatted_duration_is_read_as_the_same() {
        let shown =
            [(0, "0s"), (250, "250ms"), (2_800, "2.8s"), (90_000, "90s"), (300_000, "5m"), (5_400_000, "1h30m")];
        for (ms, text) in shown {
            let duration = Duration::from_millis(ms);
            assert_eq!(format_duration(duration), text);
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
        }
    }
}
