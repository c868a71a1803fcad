//! A progress bar on the last line of the terminal while tables are restored, and output of lines above it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use faust_core::task::{RestoreListener, RestoreProgress, log_listener};
use indicatif::{HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

/// The progress bars of the process. Static, as the log is, because log lines are printed above the bars.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Hides the progress bar while `print` writes to the terminal.
pub(super) fn suspend_bar<T>(print: impl FnOnce() -> T) -> T {
    BARS.suspend(print)
}

/// A writer for log lines to standard error, above the progress bar if there is one. Each call of `write` gets a whole
/// line.
#[derive(Debug)]
pub(crate) struct LogLine;

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        suspend_bar(|| io::stderr().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A progress bar for all concurrent restores. A restore that ends or is suspended is logged, as without the bar.
pub(crate) struct RestoreBar {
    log: Arc<dyn RestoreListener>,
    restores: Mutex<Restores>,
}

impl Default for RestoreBar {
    fn default() -> Self {
        Self { log: log_listener(), restores: Mutex::default() }
    }
}

impl RestoreBar {
    fn restores(&self) -> MutexGuard<'_, Restores> {
        self.restores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RestoreListener for RestoreBar {
    fn started(&self, progress: &RestoreProgress) {
        self.restores().set(progress, State::Running);
        self.log.started(progress);
    }

    fn progressed(&self, progress: &RestoreProgress) {
        let mut restores = self.restores();
        restores.set(progress, State::Running);
        restores.draw();
    }

    fn ended(&self, progress: &RestoreProgress) {
        self.restores().set(progress, State::Done);
        self.log.ended(progress);
    }

    fn suspended(&self, progress: &RestoreProgress) {
        self.restores().forget(&key(progress));
        self.log.suspended(progress);
    }
}

/// Table name and partition.
type Key = (Arc<str>, i32);

fn key(progress: &RestoreProgress) -> Key {
    (Arc::clone(&progress.table), progress.partition)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Done,
}

/// The restores since the last time that none was running.
#[derive(Default)]
struct Restores {
    /// State, number of offsets restored, and number of offsets to restore.
    known: BTreeMap<Key, (State, u64, u64)>,
    since: Option<Instant>,
    /// Created with the first progress report, so that short restores show no bar.
    bar: Option<ProgressBar>,
}

impl Restores {
    fn set(&mut self, progress: &RestoreProgress, state: State) {
        let length = progress.end.since(progress.from);
        let at = if state == State::Done { length } else { progress.at.since(progress.from).min(length) };
        self.known.insert(key(progress), (state, at, length));
        self.since.get_or_insert_with(Instant::now);
        self.end_if_all_are_done();
    }

    fn forget(&mut self, key: &Key) {
        self.known.remove(key);
        self.end_if_all_are_done();
    }

    fn end_if_all_are_done(&mut self) {
        if self.known.values().all(|(state, ..)| *state == State::Done) {
            self.known.clear();
            self.since = None;
            if let Some(bar) = self.bar.take() {
                bar.finish_and_clear();
            }
        }
    }

    fn draw(&mut self) {
        let (at, length, done) = self.sums();
        let (parts, pace) = (format!("{done} of {}", self.known.len()), pace(at, length, self.took()));
        let bar = self.bar.get_or_insert_with(|| {
            // The bar gets its texts and length before it is first drawn.
            let bar = ProgressBar::hidden().with_style(style()).with_message(parts.clone()).with_prefix(pace.clone());
            bar.set_length(length);
            BARS.add(bar)
        });
        bar.set_message(parts);
        bar.set_prefix(pace);
        bar.set_length(length);
        bar.set_position(at);
    }

    /// Returns the time since the first of the restores started.
    fn took(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Returns the sums of the restored offsets and of the offsets to restore, and the number of completed restores.
    fn sums(&self) -> (u64, u64, usize) {
        let add = |(at, length, done), (state, part_at, part_length): &(State, u64, u64)| {
            (at + part_at, length + part_length, done + usize::from(*state == State::Done))
        };
        self.known.values().fold((0, 0, 0), add)
    }
}

/// Formats the restored records per second, counted by offsets, and the remaining time at that rate. The rate is the
/// average since the start, because a changelog arrives in large batches and the current rate fluctuates too much.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the values are rounded for display"
)]
fn pace(at: u64, length: u64, took: Duration) -> String {
    let rate = at as f64 / took.as_secs_f64().max(0.001);
    let left = Duration::try_from_secs_f64(length.saturating_sub(at) as f64 / rate).unwrap_or_default();
    format!("{}/s, {:#} left", HumanCount(rate as u64), HumanDuration(left))
}

const TEMPLATE: &str = "restoring tables, {msg} partitions {wide_bar} {percent}%, {prefix}";

fn style() -> ProgressStyle {
    ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restores(parts: &[(i32, State, u64, u64)]) -> Restores {
        let known = parts.iter().map(|(part, state, at, length)| (("t".into(), *part), (*state, *at, *length)));
        Restores { known: known.collect(), ..Restores::default() }
    }

    #[test]
    fn one_bar_shows_all_restores_until_the_last_is_done() {
        let mut both = restores(&[(0, State::Done, 10, 10), (1, State::Running, 5, 30)]);
        both.draw();
        let bar = both.bar.clone().unwrap_or_else(ProgressBar::hidden);
        assert_eq!((bar.position(), bar.length(), bar.message()), (15, Some(40), "1 of 2".to_owned()));
        both.end_if_all_are_done();
        assert!(both.bar.is_some());
        both.forget(&("t".into(), 1));
        assert!(both.bar.is_none() && both.known.is_empty() && bar.is_finished());
    }

    #[test]
    fn the_pace_is_the_average_since_the_start() {
        assert_eq!(pace(30_000, 90_000, Duration::from_secs(20)), "1,500/s, 40s left");
        assert_eq!(pace(0, 90_000, Duration::from_secs(1)), "0/s, 0s left");
    }

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
