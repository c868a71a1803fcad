//! Watches the stages from outside: are they all idle, is one of them stuck?

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::stage::running::RunningStage;
use crate::task::TaskHandle;

/// The stages that run now.
fn live(tasks: &BTreeMap<(usize, i32), TaskHandle>) -> Vec<Arc<RunningStage>> {
    tasks.values().flat_map(|task| task.live.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
}

/// Knows since when nothing has happened.
#[derive(Debug, Default)]
pub(super) struct IdleWatch {
    since: Option<(Instant, u64)>,
}

impl IdleWatch {
    /// Whether every partition has been read to its end and nothing has happened for `quiet`.
    pub(super) fn look(&mut self, tasks: &BTreeMap<(usize, i32), TaskHandle>, events: u64, quiet: Duration) -> bool {
        let stages = live(tasks);
        // A task that is between two attempts has no stages, and is not idle.
        let running = tasks.values().all(|task| !task.live.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
        if !running || !stages.iter().all(|stage| is_idle(stage)) {
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
}

/// All its partitions are read to their ends, and everything read is finished.
fn is_idle(stage: &RunningStage) -> bool {
    let Some(positions) = stage.cursor.progress.settled().filter(|_| stage.cursor.gate.at_rest()) else { return false };
    stage
        .inputs
        .iter()
        .zip(positions)
        .all(|(input, position)| input.reader.idle_at().is_some_and(|end| position >= end))
}

/// Finds agents that stay in one event: the consumer is polled whatever they do, so Kafka does not notice.
#[derive(Debug, Default)]
pub(super) struct StuckWatch {
    seen: BTreeMap<usize, Seen>,
}

#[derive(Debug)]
struct Seen {
    begun: u64,
    since: Instant,
    told: bool,
}

impl StuckWatch {
    /// Looks at every stage; tells of new ones in the log, returns all.
    pub(super) fn look(&mut self, tasks: &BTreeMap<(usize, i32), TaskHandle>, limit: Duration) -> Vec<String> {
        let mut seen = BTreeMap::new();
        let mut stuck = Vec::new();
        for stage in live(tasks) {
            if stage.cursor.gate.at_rest() {
                continue;
            }
            // The address of a stage is its identity for as long as it lives, and it lives while it is in here.
            let id = Arc::as_ptr(&stage) as usize;
            let begun = stage.cursor.progress.begun();
            let before = self.seen.remove(&id).filter(|before| before.begun == begun);
            let mut now = before.unwrap_or(Seen { begun, since: Instant::now(), told: false });
            if now.since.elapsed() >= limit {
                let place = format!("agent `{}` at {}", stage.agent, stage.place());
                if !std::mem::replace(&mut now.told, true) {
                    tracing::error!(
                        "{place} has stayed in one event longer than `stream_processing_timeout`; its partition stands still"
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
