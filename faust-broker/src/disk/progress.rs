//! The progress of a start that takes long.

use std::time::{Duration, Instant};

/// Interval of the reports. A start that takes less time is not reported.
const INTERVAL: Duration = Duration::from_secs(5);

/// What has been recovered so far.
#[derive(Debug)]
pub(crate) struct Progress {
    bytes: u64,
    logs: usize,
    of: usize,
    reported: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self { bytes: 0, logs: 0, of: 0, reported: Instant::now() }
    }
}

impl Progress {
    pub(crate) fn has_read(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.report_when_due(Instant::now());
    }

    pub(crate) fn has_recovered(&mut self, logs: usize, of: usize) {
        (self.logs, self.of) = (logs, of);
        self.report_when_due(Instant::now());
    }

    fn report_when_due(&mut self, now: Instant) -> bool {
        let is_due = now.duration_since(self.reported) >= INTERVAL;
        if is_due {
            self.reported = now;
            let (logs, of, megabytes) = (self.logs, self.of, self.bytes / 1_000_000);
            tracing::info!(logs, of, megabytes, "recovering the logs of an earlier run");
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_start_is_reported_every_five_seconds() {
        let mut progress = Progress::default();
        let begun = progress.reported;
        let due =
            [1, 4, 5, 6, 9, 10, 30, 31].map(|second| progress.report_when_due(begun + Duration::from_secs(second)));
        assert_eq!(due, [false, false, true, false, false, true, true, false]);
    }
}
