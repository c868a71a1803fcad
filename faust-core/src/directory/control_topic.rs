//! The part of a worker that reads and writes the control topic, in a Tokio task of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::entries::{EntryKey, START_HEADER, WorkerEntry};
use super::known::{Effect, Known, Rival};
use crate::error::{Error, TransportError, TransportErrorKind};
use crate::message::{Headers, Offset};
use crate::plan::{Plan, PlanSummary};
use crate::time::millis;
use crate::transport::{Delivery, Outgoing, Read, Reader, Sink, SinkTopic, StartAt, TopicPartition, Transport, send};

/// Maximum interval between a worker's entries.
const INTERVAL: Duration = Duration::from_secs(5);
/// Maximum time for which a worker waits for what others have written.
const START_WITHIN: Duration = Duration::from_secs(5);
/// Pause after an error, which doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Maximum time for which a broker holds a request while there is nothing to read.
const HOLD: Duration = Duration::from_millis(500);

/// The parts that a worker's [`Directory`] is created from.
pub(crate) struct DirectorySetup<'a> {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) plan: &'a Plan,
    /// Name of the worker, and a number that distinguishes this start of it.
    pub(crate) worker: (String, u64),
    /// Time after which the group expels a worker that is silent.
    pub(crate) session_timeout: Duration,
    /// Reports errors that end the worker.
    pub(crate) failed: mpsc::UnboundedSender<Error>,
}

/// The directory of an app's workers, as one of them takes part in it. Dropping it ends that.
pub(crate) struct Directory {
    shared: Arc<DirectoryState>,
    running: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

struct DirectoryState {
    known: Mutex<Known>,
    plan: PlanSummary,
    /// The worker's own entry; `None` once it leaves.
    own: watch::Sender<Option<WorkerEntry>>,
    /// Set once everything is known that was written before, or the topic cannot be used.
    is_begun: watch::Sender<bool>,
}

impl Directory {
    /// Begins to read and write the control topic.
    pub(crate) fn start(setup: DirectorySetup<'_>) -> Self {
        let DirectorySetup { transport, sink, plan, worker: (name, start), session_timeout, failed } = setup;
        let summary = plan.summary();
        let timeout_ms = millis(session_timeout).unsigned_abs();
        let own = WorkerEntry { start, plan: entry_name(summary.fingerprint()), timeout_ms, ..WorkerEntry::default() };
        let shared = Arc::new(DirectoryState {
            known: Mutex::new(Known::new(name.clone(), start)),
            plan: summary,
            own: watch::Sender::new(Some(own)),
            is_begun: watch::Sender::new(false),
        });
        let topic = ControlTopic {
            topic: TopicPartition::new(plan.control_topic(), 0),
            interval: INTERVAL.min(session_timeout / 3),
            shared: Arc::clone(&shared),
            transport,
            sink,
            worker: (name, start),
            failed,
            next: None,
            is_replaced: false,
            last: None,
        };
        Self { shared, running: Mutex::new(Some(tokio::spawn(topic.run()))) }
    }

    /// Returns a hash of the plan, which commits name.
    pub(crate) fn fingerprint(&self) -> u32 {
        self.shared.plan.fingerprint()
    }

    /// Waits until everything is known that other workers had written before this one, or for a few seconds. Returns the workers
    /// that own partitions of a table of this plan from other topics.
    pub(crate) async fn rivals(&self) -> Vec<Rival> {
        let mut begun = self.shared.is_begun.subscribe();
        let is_late = timeout(START_WITHIN, begun.wait_for(|begun| *begun)).await.is_err();
        if is_late {
            tracing::warn!(
                "the control topic was not read within {START_WITHIN:?}: other programs with the id of this app are not noticed"
            );
        }
        self.shared.known().rivals(&self.shared.plan)
    }

    /// Sets the partitions of this worker.
    pub(crate) fn set_partitions<'a>(&self, all: impl Iterator<Item = &'a TopicPartition>) {
        self.shared.own.send_if_modified(|own| {
            let Some(entry) = own else { return false };
            let before = std::mem::take(&mut entry.partitions);
            for partition in all {
                entry.partitions.entry(partition.topic.to_string()).or_default().push(partition.partition);
            }
            entry.partitions != before
        });
    }

    /// Sets the standbys of this worker, each with its lag. Changed lags are written with the next entry, others at once.
    pub(crate) fn set_standbys<'a>(&self, all: impl Iterator<Item = (&'a str, i32, Option<u64>)>) {
        self.shared.own.send_if_modified(|own| {
            let Some(entry) = own else { return false };
            let before = std::mem::take(&mut entry.standbys);
            for (table, partition, lag) in all {
                entry.standbys.entry(table.to_owned()).or_default().insert(partition, lag);
            }
            let keys = |standbys: &BTreeMap<String, BTreeMap<i32, Option<u64>>>| -> Vec<_> {
                standbys
                    .iter()
                    .map(|(table, partitions)| (table.clone(), partitions.keys().copied().collect::<Vec<_>>()))
                    .collect()
            };
            keys(&entry.standbys) != keys(&before)
        });
    }

    /// Describes the differences of the plan with this fingerprint from the worker's own; `None` if it is not known.
    pub(crate) fn differences(&self, fingerprint: u32) -> Option<Vec<String>> {
        let known = self.shared.known();
        Some(self.shared.plan.differences(known.plan(&entry_name(fingerprint))?))
    }

    /// Returns the other workers that had partitions of these numbers when they wrote their last entries, each with whether it is
    /// alive. Workers that have stopped are not among them.
    pub(crate) fn owners(&self, partitions: &BTreeSet<i32>) -> BTreeMap<String, bool> {
        self.shared.known().owners(partitions)
    }

    /// Removes the worker from the directory.
    pub(crate) async fn leave(&self, within: Duration) {
        self.shared.own.send_replace(None);
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut running) = running
            && timeout(within, &mut running).await.is_err()
        {
            // Its entry counts as that of a dead worker after the session timeout.
            running.abort();
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut().unwrap_or_else(PoisonError::into_inner) {
            running.abort();
        }
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("known", &self.shared.known()).finish_non_exhaustive()
    }
}

impl DirectoryState {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the name of a plan's entry.
fn entry_name(fingerprint: u32) -> String {
    format!("{fingerprint:08x}")
}

/// The reader and writer of the control topic.
struct ControlTopic {
    topic: TopicPartition,
    interval: Duration,
    shared: Arc<DirectoryState>,
    transport: Arc<dyn Transport>,
    sink: Arc<dyn Sink>,
    worker: (String, u64),
    failed: mpsc::UnboundedSender<Error>,
    /// Next offset to read; `None` at the beginning.
    next: Option<Offset>,
    /// Another worker has started under the same name: the entry is its own now.
    is_replaced: bool,
    /// The delivery of the last entry.
    last: Option<Arc<Delivery>>,
}

impl ControlTopic {
    /// Runs until the worker leaves.
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.follow().await {
            if error.kind == TransportErrorKind::OffsetOutOfRange {
                // The topic was deleted and created again.
                self.next = None;
            } else if !error.is_retriable() && !self.shared.is_begun.send_replace(true) {
                tracing::warn!(
                    "the control topic `{}` cannot be used, so that other programs with the id of this app, and other versions of it, are not noticed: {error}",
                    self.topic.topic
                );
            }
            tracing::debug!("the control topic is read again in {pause:?}: {error}");
            let mut own = self.shared.own.subscribe();
            // A worker that leaves does not wait for the topic.
            if timeout(pause, own.wait_for(Option::is_none)).await.is_ok() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn follow(&mut self) -> Result<(), TransportError> {
        let topic = self.sink.topic(&self.topic.topic)?;
        let mut own = self.shared.own.subscribe();
        let plan = serde_json::to_vec(&self.shared.plan).expect("maps with text as keys are always JSON");
        let key = EntryKey::Plan(entry_name(self.shared.plan.fingerprint()));
        self.write(&*topic, &key, Some(plan)).await?;
        let from = self.next.map_or(StartAt::Earliest, StartAt::Offset);
        let mut reader = self.transport.read(vec![(self.topic.clone(), from)], HOLD)?;
        let mut beats = interval(self.interval);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                read = self.read(&mut *reader) => {
                    read?;
                    continue;
                }
                // The sender lives as long as `self`.
                _ = own.changed() => {}
                _ = beats.tick() => {}
            }
            if self.is_replaced {
                return Ok(());
            }
            let entry = own.borrow_and_update().clone();
            let key = EntryKey::Worker(self.worker.0.clone());
            let Some(entry) = entry else {
                return self.write(&*topic, &key, None).await?.all().await;
            };
            if let Some(last) = self.last.take_if(|last| last.pending() == 0) {
                last.all().await?;
            }
            // One that is still on its way is as good as another one.
            if self.last.is_none() {
                let entry = serde_json::to_vec(&entry).expect("maps with text as keys are always JSON");
                self.last = Some(self.write(&*topic, &key, Some(entry)).await?);
            }
        }
    }

    async fn read(&mut self, reader: &mut dyn Reader) -> Result<(), TransportError> {
        let Some(Read::Message(_, message)) = reader.next(self.interval).await? else { return Ok(()) };
        self.next = Some(message.offset.next());
        let effect = self.shared.known().apply(&message);
        match effect {
            Effect::Nothing => {}
            Effect::Complete => {
                self.shared.is_begun.send_replace(true);
            }
            Effect::Replaced => {
                self.is_replaced = true;
                let error = Error::Misuse(format!(
                    "another worker of the app has started under the name `{}`: give each worker a `worker_name` of its own",
                    self.worker.0
                ));
                // An error means that the worker has ended already.
                drop(self.failed.send(error));
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        topic: &dyn SinkTopic,
        key: &EntryKey,
        payload: Option<Vec<u8>>,
    ) -> Result<Arc<Delivery>, TransportError> {
        let (key, delivery) = (key.text(), Delivery::new());
        let headers = match payload {
            Some(_) => Headers::new(),
            None => Headers::new().with(START_HEADER, self.worker.1.to_string()),
        };
        let message = Outgoing {
            partition: Some(self.topic.partition),
            key: Some(key.as_bytes()),
            payload: payload.as_deref(),
            headers,
            ..Outgoing::default()
        };
        send(&*self.sink, topic, &message, &delivery).await?;
        Ok(delivery)
    }
}
