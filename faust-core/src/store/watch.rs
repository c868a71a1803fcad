//! The watch over calls into an engine: a call that takes long is logged, and the engine is asked to end it if it can.
//!
//! All calls are watched except `get`. It is made for every key that is not in memory, on the thread of the agents, and takes
//! hardly longer than the watch would; and it does not wait for the disk to accept a write, as the calls do that a full
//! disk holds up.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A function that ends calls which wait in an engine that has failed. It must not block.
pub(super) type Waker = Arc<dyn Fn() + Send + Sync>;

/// Watches calls on a thread of its own, which ends when the value is dropped.
pub(super) struct CallWatch {
    shared: Arc<Shared>,
}

struct Shared {
    calls: Mutex<Calls>,
    /// Notifies the thread of a call while it waits for one, and of the end.
    changed: Condvar,
    /// `None` while the engine is closed.
    waker: Mutex<Option<Waker>>,
}

#[derive(Default)]
struct Calls {
    /// Calls in progress, the oldest first. There are few: one of the store writer, and those of some tasks.
    running: Vec<Call>,
    last: u64,
    /// Set while the thread waits for a call. It looks again by itself for as long as there was one at its last look.
    is_idle: bool,
    has_ended: bool,
}

struct Call {
    number: u64,
    what: &'static str,
    /// The store, if the call is about one.
    store: Option<Arc<str>>,
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
        // The former one may be the last to hold the engine, and is dropped after the lock.
        let _former = std::mem::replace(&mut *self.shared.waker(), waker);
    }

    /// Watches a call until the guard is dropped.
    pub(super) fn begin(&self, what: &'static str, store: Option<&Arc<str>>) -> WatchedCall<'_> {
        let now = Instant::now();
        let mut calls = self.shared.calls();
        calls.last += 1;
        let number = calls.last;
        calls.running.push(Call { number, what, store: store.cloned(), began: now, reported: now });
        let is_idle = std::mem::take(&mut calls.is_idle);
        drop(calls);
        if is_idle {
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
        self.watch.shared.calls().running.retain(|call| call.number != self.number);
    }
}

impl Call {
    fn text(&self) -> String {
        let Self { what, store, .. } = self;
        store.as_ref().map_or_else(|| (*what).to_owned(), |store| format!("{what} `{store}`"))
    }
}

impl Shared {
    fn run(&self, pace: WatchPace, report: &impl Fn(&str, Duration)) {
        let mut calls = self.calls();
        while !calls.has_ended {
            if calls.running.is_empty() {
                calls.is_idle = true;
                calls = self.changed.wait(calls).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            calls = self.changed.wait_timeout(calls, pace.look_every).unwrap_or_else(PoisonError::into_inner).0;
            let now = Instant::now();
            let is_long = |since: Instant, than: Duration| now.saturating_duration_since(since) >= than;
            let due = calls.running.iter_mut().filter(|call| is_long(call.reported, pace.report_every));
            let due: Vec<_> = due
                .map(|call| {
                    call.reported = now;
                    (call.text(), now.saturating_duration_since(call.began))
                })
                .collect();
            let waits = calls.running.iter().any(|call| is_long(call.began, pace.look_every));
            // Neither the log nor the engine is called under the lock, for which the next call would wait.
            drop(calls);
            due.iter().for_each(|(what, elapsed)| report(what, *elapsed));
            // The waker is called without its lock, which a thread takes that holds the locks of all trees.
            let waker = self.waker().clone().filter(|_| waits);
            if let Some(wake) = waker {
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
        watch.set_waker(Some(Arc::new(move || wakes.send(()).unwrap_or_default())));
        let call = watch.begin("a write to", Some(&"counts/3".into()));
        for times in 1..=2 {
            let (what, elapsed) = reported.recv().expect("the call is reported");
            assert_eq!(what, "a write to `counts/3`");
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
    /// Law: a waker that takes long does not hold up the thread that closes the engine.
    #[test]
    fn the_engine_can_be_closed_while_the_waker_runs() {
        let pace = WatchPace { look_every: Duration::from_millis(1), report_every: Duration::from_secs(60) };
        let watch = CallWatch::spawn(pace, |_, _| {}).expect("a thread can be started");
        let ((begun, begins), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
        let released = Mutex::new(released);
        watch.set_waker(Some(Arc::new(move || {
            begun.send(()).unwrap_or_default();
            drop(released.lock().map(|released| released.recv()));
        })));
        let _call = watch.begin("a write", None);
        begins.recv().expect("the waker is called");
        std::thread::scope(|scope| {
            let (closed, closes) = mpsc::channel();
            let watch = &watch;
            scope.spawn(move || {
                watch.set_waker(None);
                closed.send(()).unwrap_or_default();
            });
            // The time is long, because it passes only if the test fails.
            let closed = closes.recv_timeout(Duration::from_secs(10));
            drop(release);
            closed.expect("the waker's lock is free");
        });
    }
}
