//! Detection of idle workers, of agents that are stuck or fail again and again, and of counters that grow.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::stage::running::RunningStage;
use crate::stats::Counts;
use crate::task::{FailingAgent, TaskHandle};
use crate::transport::PROGRESS_INTERVAL;

/// Returns the running stages of all tasks.
fn live(tasks: &BTreeMap<(usize, i32), TaskHandle>) -> Vec<Arc<RunningStage>> {
    let live = |task: &TaskHandle| task.live.lock().unwrap_or_else(PoisonError::into_inner).stages.clone();
    tasks.values().flat_map(live).collect()
}

/// Tracks since when the worker has been idle.
#[derive(Debug, Default)]
pub(super) struct IdleWatch {
    since: Option<(Instant, u64)>,
    /// Time from which a wait for an open transaction is reported.
    held_report: Option<Instant>,
}

/// Duration of a transaction after which a wait for it is reported.
const HELD: Duration = Duration::from_secs(2);

impl IdleWatch {
    /// Returns `true` if every partition has been read to its end and no event has arrived for `quiet`.
    pub(super) fn look(&mut self, tasks: &BTreeMap<(usize, i32), TaskHandle>, events: u64, quiet: Duration) -> bool {
        let stages = live(tasks);
        // A task without running stages is restoring or waiting to retry, so it is not idle.
        let running = tasks.values().all(|task| task.live.lock().unwrap_or_else(PoisonError::into_inner).is_complete);
        if !running || !stages.iter().all(|stage| is_idle(stage)) {
            self.since = None;
            return false;
        }
        if self.is_held(&stages) {
            self.since = None;
            return false;
        }
        match self.since {
            Some((since, before)) if before == events => since.elapsed() >= quiet,
            _ => {
                self.since = Some((Instant::now(), events));
                quiet.is_zero()
            }
        }
    }

    /// Returns `true` if an open transaction of another program holds messages back, and reports it every ten seconds.
    fn is_held(&mut self, stages: &[Arc<RunningStage>]) -> bool {
        let inputs = stages.iter().flat_map(|stage| &stage.inputs);
        let mut held = inputs.filter_map(|input| Some((input.reader.partition(), input.reader.held_at()?)));
        let Some((partition, end)) = held.next() else {
            self.held_report = None;
            return false;
        };
        let now = Instant::now();
        if *self.held_report.get_or_insert(now + HELD) <= now {
            self.held_report = Some(now + PROGRESS_INTERVAL);
            tracing::warn!(
                "waiting for an open transaction of another program in {partition} from offset {end}: its messages can be read once it is committed or aborted, at the latest after the producer's `transaction.timeout.ms`"
            );
        }
        true
    }
}

/// Returns `true` if the stage's partitions have been read to their ends and all events are finished.
fn is_idle(stage: &RunningStage) -> bool {
    let Some(positions) = stage.cursor.progress.settled().filter(|_| stage.cursor.gate.at_rest()) else { return false };
    stage
        .inputs
        .iter()
        .zip(positions)
        .all(|(input, position)| input.reader.idle_at().is_some_and(|end| position >= end))
}

/// Detects agents that do not finish an event. Kafka does not: the consumer is polled independently of the agents.
#[derive(Debug, Default)]
pub(super) struct StuckWatch {
    seen: BTreeMap<usize, Seen>,
}

#[derive(Debug)]
struct Seen {
    begun: u64,
    since: Instant,
    /// Set once the wait has been reported to the user.
    reported: bool,
}

impl StuckWatch {
    /// Returns all agents that have been in one event for at least `limit`. Logs each of them once.
    pub(super) fn look(&mut self, tasks: &BTreeMap<(usize, i32), TaskHandle>, limit: Duration) -> Vec<String> {
        let mut seen = BTreeMap::new();
        let mut stuck = Vec::new();
        for stage in live(tasks) {
            if stage.cursor.gate.at_rest() {
                continue;
            }
            // The address identifies a stage while it is alive.
            let id = Arc::as_ptr(&stage) as usize;
            let begun = stage.cursor.progress.begun();
            let before = self.seen.remove(&id).filter(|before| before.begun == begun);
            let mut now = before.unwrap_or(Seen { begun, since: Instant::now(), reported: false });
            if now.since.elapsed() >= limit {
                let place = format!("agent `{}` at {}", stage.agent, stage.place());
                if !std::mem::replace(&mut now.reported, true) {
                    tracing::error!(
                        "{place} has not finished its event within `stream_processing_timeout`; it makes no progress, nor do agents that share its tables. If it blocks its thread, none of its partition does: use `tokio::task::spawn_blocking` (book: Blocking code)"
                    );
                }
                stuck.push(place);
            }
            seen.insert(id, now);
        }
        self.seen = seen;
        stuck
    }
}

/// Interval at which an agent that fails again and again is reported.
const FAILING_REPORT: Duration = Duration::from_secs(60);

/// Reports agents that fail again and again.
#[derive(Debug, Default)]
pub(super) struct FailingWatch {
    /// The time at which each agent and place is reported next.
    reports: BTreeMap<(String, String), Instant>,
}

impl FailingWatch {
    /// Returns the agents that fail again and again. Logs each of them every minute.
    pub(super) fn look(&mut self, tasks: &BTreeMap<(usize, i32), TaskHandle>) -> Vec<FailingAgent> {
        let failing = |task: &TaskHandle| task.live.lock().unwrap_or_else(PoisonError::into_inner).failing.clone();
        let failing: Vec<_> = tasks.values().flat_map(failing).collect();
        let mut reports = BTreeMap::new();
        for agent in &failing {
            let id = (agent.agent.clone(), agent.place.clone());
            let now = Instant::now();
            let mut next = self.reports.remove(&id).unwrap_or(now);
            if next <= now {
                tracing::error!("{agent}");
                next = now + FAILING_REPORT;
            }
            reports.insert(id, next);
        }
        self.reports = reports;
        failing
    }
}

/// Minimum interval between two reports of counters.
const COUNTERS_REPORT: Duration = Duration::from_secs(60);

/// Reports the counters of what may need attention, such as late events, while they grow.
#[derive(Debug, Default)]
pub(super) struct CountersWatch {
    /// The counters at the last report.
    reported: Counts,
    last_report: Option<Instant>,
}

impl CountersWatch {
    /// Logs the counters that have grown since the last report, at most once a minute.
    pub(super) fn look(&mut self, counts: Counts, now: Instant) {
        if let Some(grown) = self.due(counts, now) {
            tracing::warn!("new in the counters of this worker: {grown}");
        }
    }

    fn due(&mut self, counts: Counts, now: Instant) -> Option<String> {
        if self.last_report.is_some_and(|last| now < last + COUNTERS_REPORT) {
            return None;
        }
        let grown = counts.unusual_since(&self.reported)?;
        (self.reported, self.last_report) = (counts, Some(now));
        Some(grown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_reported_at_once_and_then_every_minute_while_they_grow() {
        let (mut watch, start) = (CountersWatch::default(), Instant::now());
        let mut report = |late_events, seconds| {
            let mut counts = Counts::default();
            (counts.events, counts.late_events) = (seconds, late_events);
            watch.due(counts, start + Duration::from_secs(seconds))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(report(0, 0), None);
        assert_eq!(report(1, 1), some("1 late event"));
        assert_eq!(report(5, 60), None, "within a minute");
        assert_eq!(report(5, 61), some("4 late events (5 in all)"));
        assert_eq!(report(5, 600), None, "nothing has grown");
        assert_eq!(report(6, 601), some("1 late event (6 in all)"));
    }
}
