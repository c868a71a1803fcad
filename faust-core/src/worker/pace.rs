//! The pace of commits that the user has not set. Under exactly-once, each hop of the app waits for a commit, so they come early
//! where a stage waits, and late where none does.
//!
//! A table's keys are written to its changelog once in each commit in which they have changed. A worker that catches up commits as
//! many keys in 100 ms as it otherwise does in seconds: with 100 000 keys, it spent half of its time on the changelog. What it
//! processes then is late anyway. So its commits may take a twentieth of the time: the next one waits accordingly, as long as under
//! at-least-once at most.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::message::Offset;
use crate::transport::TopicPartition;

/// Minimum interval of commits while a stage waits for messages of another one.
const EARLIEST: Duration = Duration::from_millis(20);
/// Maximum interval of commits while the worker catches up: the one of at-least-once.
const LATEST: Duration = Duration::from_millis(2800);
/// Interval of commits while the worker catches up, in multiples of the time that one takes.
const INVERSE_SHARE: u32 = 20;

/// The pace of a worker's commits.
pub(super) struct CommitPace {
    /// Regular interval of commits; `None` if the user has set one, or under at-least-once, where no stage waits.
    interval: Option<Duration>,
    /// Begin of the last commit, and the duration of the last one that has ended.
    began: Instant,
    took: Duration,
    /// Position in each partition of the input when the last commit began.
    read: BTreeMap<TopicPartition, Offset>,
}

/// The position of a worker in a partition of the app's input: of a topic that the app does not write itself.
#[derive(Debug)]
pub(super) struct InputPosition {
    pub(super) partition: TopicPartition,
    /// Next offset to read.
    pub(super) next: Offset,
    /// The high watermark, as far as it is known.
    pub(super) end: Option<Offset>,
}

impl CommitPace {
    /// Creates a pace. Without an interval, the user's decides alone.
    pub(super) fn new(interval: Option<Duration>) -> Self {
        Self { interval, began: Instant::now(), took: Duration::ZERO, read: BTreeMap::new() }
    }

    /// Notes that a commit begins, at these positions in the app's input.
    pub(super) fn begin(&mut self, inputs: impl Iterator<Item = (TopicPartition, Offset)>) {
        self.began = Instant::now();
        if self.interval.is_some() {
            self.read = inputs.collect();
        }
    }

    /// Notes that the commit has ended.
    pub(super) fn end(&mut self) {
        self.took = self.began.elapsed();
    }

    /// Returns the time of an early commit, for which a stage waits: it comes the later, the longer commits take.
    pub(super) fn early(&self) -> Option<Instant> {
        let interval = self.interval?;
        Some(Instant::now() + (self.took * 3).max(EARLIEST).min(interval))
    }

    /// Returns the time of a commit for which a group waits that has no memory for its messages.
    pub(super) fn earliest() -> Instant {
        Instant::now() + EARLIEST
    }

    /// Returns whether a commit that is due waits, because the worker catches up and the last commit has just been made.
    pub(super) fn is_deferred(&self, inputs: impl Iterator<Item = InputPosition>) -> bool {
        let pause = (self.took * INVERSE_SHARE).min(LATEST);
        let Some(interval) = self.interval.filter(|_| self.began.elapsed() < pause) else { return false };
        self.is_behind(inputs, interval * 2)
    }

    /// Returns whether the worker is behind by this time in each partition that it reads, at its pace since the last commit. A
    /// partition that is read to its end decides for all, since there is one commit for all.
    fn is_behind(&self, inputs: impl Iterator<Item = InputPosition>, by: Duration) -> bool {
        let (elapsed, by) = (self.began.elapsed().as_secs_f64(), by.as_secs_f64());
        let mut is_behind = false;
        for InputPosition { partition, next, end } in inputs {
            let Some(before) = self.read.get(&partition) else { continue };
            let (read, waiting) = (next.since(*before), end.map_or(0, |end| end.since(next)));
            if read > 0 && waiting as f64 * elapsed <= read as f64 * by {
                return false;
            }
            is_behind |= read > 0;
        }
        is_behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGULAR: Duration = Duration::from_millis(100);

    fn at(partition: i32, next: i64, end: Option<i64>) -> InputPosition {
        InputPosition { partition: TopicPartition::new("in", partition), next: Offset(next), end: end.map(Offset) }
    }

    /// A pace whose last commit has begun at offset 100 of two partitions and has taken a time.
    async fn pace(interval: Option<Duration>, took: Duration) -> CommitPace {
        let mut pace = CommitPace::new(interval);
        pace.begin([0, 1].map(|number| (TopicPartition::new("in", number), Offset(100))).into_iter());
        tokio::time::advance(took).await;
        pace.end();
        pace
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_waits_while_the_worker_is_behind_everywhere() {
        let pace = pace(Some(REGULAR), Duration::from_millis(50)).await;
        let is_deferred = |inputs: [InputPosition; 2]| pace.is_deferred(inputs.into_iter());
        tokio::time::advance(Duration::from_millis(50)).await;
        // 100 messages in 100 ms, so that 200 more take 200 ms.
        assert!(is_deferred([at(0, 200, Some(401)), at(1, 150, Some(1000))]));
        assert!(is_deferred([at(0, 200, Some(401)), at(1, 100, Some(100))]), "nothing is read from the other");
        assert!(!is_deferred([at(0, 200, Some(400)), at(1, 150, Some(1000))]), "one is nearly at its end");
        assert!(!is_deferred([at(0, 200, None), at(1, 150, Some(1000))]), "one has an unknown end");
        assert!(!is_deferred([at(0, 100, Some(1000)), at(1, 100, Some(1000))]), "nothing is read");
        assert!(!is_deferred([at(2, 100, Some(1000)), at(3, 100, Some(1000))]), "both are new");
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_waits_for_twenty_times_as_long_as_one_takes_within_bounds() {
        for (took, waits) in [(5, 100), (30, 600), (150, 2800), (400, 2800)] {
            let pace = pace(Some(REGULAR), Duration::from_millis(took)).await;
            let is_deferred = || pace.is_deferred([at(0, 200, Some(1000))].into_iter());
            tokio::time::advance(Duration::from_millis(waits - took - 1)).await;
            assert!(is_deferred(), "{took} ms");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!is_deferred(), "{took} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_interval_of_the_user_is_kept() {
        let pace = pace(None, Duration::from_millis(50)).await;
        assert!(!pace.is_deferred([at(0, 200, Some(1000))].into_iter()));
        assert_eq!(pace.early(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_commit_comes_the_later_the_longer_one_takes() {
        for (took, early) in [(1, 20), (20, 60), (90, 100)] {
            let pace = pace(Some(REGULAR), Duration::from_millis(took)).await;
            assert_eq!(pace.early(), Some(Instant::now() + Duration::from_millis(early)), "{took} ms");
        }
    }
}
