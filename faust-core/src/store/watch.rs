//! The watch over calls into an engine: a call that takes long is logged, and the engine is asked to end it if it can.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A function that ends calls which wait in an engine that has failed. It must not block.
pub(super) type Waker = Box<dyn Fn() + Send>;

/// Watches calls on a thread of its own, which ends when the value is dropped.
pub(super) struct CallWatch {
    shared: Arc<Shared>,
}

struct Shared {
    calls: Mutex<Calls>,
    /// Notifies the thread of the first call, and of the end.
    changed: Condvar,
    /// `None` while the engine is closed.
    waker: Mutex<Option<Waker>>,
}

#[derive(Default)]
struct Calls {
    /// Calls in progress by their numbers, the oldest first.
    running: BTreeMap<u64, Call>,
    last: u64,
    has_ended: bool,
}

struct Call {
    what: String,
    began: Instant,
    reported: Instant,
}

/// Intervals of the watch.
#[derive(Clone, Copy)]
pub(super) struct WatchPace {
    /// Interval at which calls are looked at, and the waker is called while there are any.
    pub(super) look_every: Duration,
    /// Interval at which a call is reported.
    pub(super) report_every: Duration,
}

impl Default for WatchPace {
    fn default() -> Self {
        Self { look_every: Duration::from_secs(1), report_every: Duration::from_secs(10) }
    }
}

impl CallWatch {
    /// Starts the thread. `report` receives a description of a long call, and its duration so far.
    pub(super) fn spawn(pace: WatchPace, report: impl Fn(&str, Duration) + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { calls: Mutex::default(), changed: Condvar::new(), waker: Mutex::new(None) });
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("faust-store-watch".to_owned()).spawn(move || of_thread.run(pace, &report))?;
        Ok(Self { shared })
    }

    /// Replaces the waker. `None` closes the engine for the watch.
    pub(super) fn set_waker(&self, waker: Option<Waker>) {
        *self.shared.waker() = waker;
    }

    /// Watches a call until the guard is dropped.
    pub(super) fn begin(&self, what: impl FnOnce() -> String) -> WatchedCall<'_> {
        let now = Instant::now();
        let mut calls = self.shared.calls();
        calls.last += 1;
        let number = calls.last;
        let is_first = calls.running.is_empty();
        calls.running.insert(number, Call { what: what(), began: now, reported: now });
        drop(calls);
        if is_first {
            self.shared.changed.notify_all();
        }
        WatchedCall { watch: self, number }
    }
}

impl Drop for CallWatch {
    fn drop(&mut self) {
        self.set_waker(None);
        self.shared.calls().has_ended = true;
        self.shared.changed.notify_all();
    }
}

/// Guard: the call is in progress while it is held.
#[must_use = "the call counts as ended when the value is dropped"]
pub(super) struct WatchedCall<'a> {
    watch: &'a CallWatch,
    number: u64,
}

impl Drop for WatchedCall<'_> {
    fn drop(&mut self) {
        self.watch.shared.calls().running.remove(&self.number);
    }
}

impl Shared {
    fn run(&self, pace: WatchPace, report: &impl Fn(&str, Duration)) {
        let mut calls = self.calls();
        while !calls.has_ended {
            if calls.running.is_empty() {
                calls = self.changed.wait(calls).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            calls = self.changed.wait_timeout(calls, pace.look_every).unwrap_or_else(PoisonError::into_inner).0;
            let now = Instant::now();
            let is_long = |since: Instant, than: Duration| now.saturating_duration_since(since) >= than;
            let due = calls.running.values_mut().filter(|call| is_long(call.reported, pace.report_every));
            let due: Vec<_> = due
                .map(|call| {
                    call.reported = now;
                    (call.what.clone(), now.saturating_duration_since(call.began))
                })
                .collect();
            let waits = calls.running.values().any(|call| is_long(call.began, pace.look_every));
            // Neither the log nor the engine is called under the lock, for which the next call would wait.
            drop(calls);
            due.iter().for_each(|(what, elapsed)| report(what, *elapsed));
            if let Some(wake) = self.waker().as_ref().filter(|_| waits) {
                wake();
            }
            calls = self.calls();
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_long_call_is_reported_and_woken_until_it_ends() {
        let pace = WatchPace { look_every: Duration::from_millis(1), report_every: Duration::from_millis(5) };
        let ((reports, reported), (wakes, woken)) = (mpsc::channel(), mpsc::channel());
        let report = move |what: &str, elapsed: Duration| drop(reports.send((what.to_owned(), elapsed)));
        let watch = CallWatch::spawn(pace, report).expect("a thread can be started");
        watch.set_waker(Some(Box::new(move || wakes.send(()).unwrap_or_default())));
        let call = watch.begin(|| "a write".to_owned());
        for times in 1..=2 {
            let (what, elapsed) = reported.recv().expect("the call is reported");
            assert_eq!(what, "a write");
            assert!(elapsed >= times * pace.report_every, "{elapsed:?}");
        }
        woken.recv().expect("the engine is asked to end the call");
        drop(call);
        // Closing the engine ends the sender; what was sent before is left in the channel.
        watch.set_waker(None);
        while woken.recv().is_ok() {}
        drop(watch);
        while reported.recv().is_ok() {}
    }
}
