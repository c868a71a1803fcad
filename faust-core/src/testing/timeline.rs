//! The timeline of a test: its history as text, which a failing test prints.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use super::driver::{START, TestDriver};
use super::failure::is_failing;
use super::history::{Entered, Happening, What};
use crate::stage::observer::KeyWindow;
use crate::time::{Timestamp, format_duration};
use crate::transport::TopicPartition;
use crate::transport::memory::StoredMessage;

/// Number of characters of a key, a value or a reason that a line shows.
const SHOWN: usize = 100;

/// The latest things that have happened in a test, from [`TestDriver::timeline`]. Its `Display` is what a failing test prints.
///
/// One line per happening, each with the driver's time since [`START`] and the worker; `test` is the test itself:
///
/// | line | meaning |
/// |---|---|
/// | `sends clicks[0] offset 3, time .., key .., value ..` | a message is in the topic: an input of the test, an output of a worker |
/// | `count reads clicks[0] offset 3, time .., stream time ..` | an agent comes to an event; stream time is the greatest time it has seen |
/// | `sums "a" in [.., +1m)` below it | a window of a table that the event has changed |
/// | `sums "a" in [.., +1m): too late, ..` | a window that the event was too late for |
/// | `count closes sums "a" in [.., +1m)` | a window has expired and is final |
/// | `count fails at clicks[0] offset 3: ..` | an agent's failure, with its reason |
/// | `commits clicks[0] up to offset 4` | the events before this offset are finished for good |
/// | `is assigned clicks[0]`, `loses clicks[0]` | a rebalance |
///
/// Messages in changelogs and in the control topic are left out.
#[derive(Clone, Debug)]
pub struct Timeline {
    app: String,
    happenings: Vec<Happening>,
    total: u64,
}

impl Timeline {
    /// Returns `true` if nothing has happened, or nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.happenings.is_empty()
    }
}

impl TestDriver {
    /// Returns what has happened so far: inputs and outputs, events with their windows, late events, commits, rebalances.
    ///
    /// A test that panics, such as with a failing `assert!`, prints it to standard error when the driver is dropped, behind the
    /// message of the panic; `cargo test` shows it with the output of the failed test. So does a test that ends with `?`, if it
    /// returns a [`TestResult`](super::TestResult): the driver cannot notice an error of another type.
    /// [`limit_timeline`](Self::limit_timeline) sets the timeline's length.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.start_worker()?;
    /// driver.send_with("words", &"a".to_owned(), &"apple".to_owned(), |message| message.partition(0))?;
    /// driver.commit();
    /// let timeline = driver.timeline().to_string();
    /// for line in [
    ///     r#"test      sends words[0] offset 0, time 2026-01-01T00:00:00.000Z, key "a", value "apple""#,
    ///     "worker-1  count reads words[0] offset 0, time 2026-01-01T00:00:00.000Z, stream time 2026-01-01T00:00:00.000Z",
    ///     r#"worker-1    per_minute "a" in [2026-01-01T00:00:00.000Z, +1m)"#,
    ///     "worker-1  commits words[0] up to offset 1",
    /// ] {
    ///     assert!(timeline.contains(line), "{timeline}");
    /// }
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn timeline(&self) -> Timeline {
        let (happenings, total) = self.history.recent();
        Timeline { app: self.app.id().to_owned(), happenings, total }
    }

    /// Sets the number of happenings that the [`timeline`](Self::timeline) shows, by default the last 60. With 0, nothing is
    /// recorded, and a failing test prints no timeline; this suits property tests, which fail many times while they shrink a
    /// case.
    ///
    /// # Examples
    /// ```
    /// use faust::{App, testing::{TestDriver, examples::count}};
    ///
    /// let mut driver = TestDriver::new(App::new("lesson").only::<count>())?;
    /// driver.limit_timeline(0);
    /// driver.start_worker()?;
    /// assert!(driver.timeline().is_empty());
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn limit_timeline(&mut self, happenings: usize) {
        self.history.limit(happenings);
    }

    /// Prints the timeline if the test fails.
    #[allow(clippy::print_stderr, reason = "the test harness shows the standard error of a failed test")]
    pub(super) fn print_timeline_of_failure(&self) {
        if !is_failing() {
            return;
        }
        let timeline = self.timeline();
        if !timeline.is_empty() {
            eprintln!("\n{timeline}");
        }
    }
}

impl Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { app, happenings, total } = self;
        write!(f, "timeline of the app `{app}`, times since {}", shown_time(START))?;
        let shown = happenings.len() as u64;
        if shown < *total {
            write!(f, ", the last {shown} of {total} lines (`driver.limit_timeline(n)` shows more)")?;
        }
        writeln!(f, ":")?;
        let clocks: Vec<_> = happenings.iter().map(|happening| clock(happening.now)).collect();
        let clock_width = clocks.iter().map(String::len).max().unwrap_or_default();
        let client_width = happenings.iter().map(|happening| happening.client.len()).max().unwrap_or_default();
        let mut before = None;
        for (happening, clock) in happenings.iter().zip(&clocks) {
            // A time is shown once, so that pauses are visible.
            let clock = if before.replace(clock) == Some(clock) { "" } else { clock.as_str() };
            let Happening { client, what, .. } = happening;
            let mut line = |text: &dyn Display, clock: &str| {
                writeln!(f, "  {clock:>clock_width$}  {client:<client_width$}  {text}")
            };
            line(&Sentence(what), clock)?;
            if let What::Begun { windows, .. } = what {
                for Entered { window, is_late } in windows {
                    let late = if *is_late { ": too late, the window has expired" } else { "" };
                    line(&format_args!("  {}{late}", shown_window(window)), "")?;
                }
            }
        }
        Ok(())
    }
}

/// The sentence of a happening, without its subject.
struct Sentence<'a>(&'a What);

impl Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            What::Stored(StoredMessage { partition, offset, timestamp, key, payload }) => {
                write!(f, "sends {partition} offset {offset}, time {}", shown_time(*timestamp))?;
                if let Some(key) = key {
                    write!(f, ", key {}", shown_bytes(key))?;
                }
                match payload {
                    Some(value) => write!(f, ", value {}", shown_bytes(value)),
                    None => f.write_str(", a tombstone"),
                }
            }
            What::Begun { event, time, stream_time, .. } => {
                let (agent, partition, offset) = (&event.agent, &event.partition, event.offset);
                write!(f, "{agent} reads {partition} offset {offset}, time {}", shown_time(*time))?;
                match stream_time {
                    Some(time) => write!(f, ", stream time {}", shown_time(*time)),
                    None => f.write_str(", no stream time yet"),
                }
            }
            What::Closed { agent, window } => write!(f, "{agent} closes {}", shown_window(window)),
            What::Failed { agent, place, what } => write!(f, "{agent} fails at {place}: {}", shortened(what)),
            What::Committed(offsets) => {
                let all: Vec<_> =
                    offsets.iter().map(|(partition, offset)| format!("{partition} up to offset {offset}")).collect();
                write!(f, "commits {}", all.join(", "))
            }
            What::CommitFailed(why) => write!(f, "fails to commit: {}", shortened(why)),
            What::Assigned(partitions) => write!(f, "is assigned {}", listed(partitions)),
            What::Revoked(partitions) => write!(f, "loses {}", listed(partitions)),
            What::Done(what) => f.write_str(what),
        }
    }
}

/// Returns the driver's time since its start.
fn clock(now: Timestamp) -> String {
    let since = u64::try_from(now.0.saturating_sub(START.0)).unwrap_or_default();
    format!("+{}", format_duration(Duration::from_millis(since)))
}

fn shown_time(time: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(time.0) {
        Ok(shown) => format!("{shown:.3}"),
        // Dates beyond the year 9999 cannot be formatted.
        Err(_) => format!("{time} ms"),
    }
}

fn shown_window(window: &KeyWindow) -> String {
    format!("{} {} in {}", window.table, shown_bytes(&window.key), window.window)
}

fn listed(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns bytes as a person reads them: JSON as it is, other text in quotes, anything else in hexadecimal.
fn shown_bytes(bytes: &[u8]) -> String {
    let is_json = |text: &str| text.starts_with(['{', '[', '"', '-']) || text.parse::<f64>().is_ok();
    match std::str::from_utf8(bytes) {
        Ok(text) if is_json(text) => shortened(text),
        Ok(text) => format!("{:?}", shortened(text)),
        Err(_) => {
            let hex = bytes.iter().fold("0x".to_owned(), |mut hex, byte| {
                _ = write!(hex, "{byte:02x}");
                hex
            });
            shortened(&hex)
        }
    }
}

/// Cuts a text that would not fit on a line.
fn shortened(text: &str) -> String {
    let text = text.replace('\n', " ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}
