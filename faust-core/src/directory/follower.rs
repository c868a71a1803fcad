//! The part of a worker that reads and writes the control topic, in a Tokio task of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::entries::{EntryKey, WorkerEntry};
use super::known::{Effect, Known, Rival};
use crate::error::{Error, TransportError, TransportErrorKind};
use crate::message::{Headers, Offset};
use crate::plan::{Plan, PlanSummary};
use crate::transport::{Delivery, Outgoing, Read, Reader, Sink, SinkTopic, StartAt, TopicPartition, Transport, send};

/// Maximum interval between a worker's entries.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time after which a worker goes on without what others have written.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after an error.
const PAUSE: Duration = Duration::from_secs(1);
/// Maximum time for which a broker holds a request while there is nothing to read.
const WAIT: Duration = Duration::from_millis(500);

/// What a worker needs to take part in its app's directory.
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
    began: Instant,
}

struct DirectoryState {
    known: Mutex<Known>,
    plan: PlanSummary,
    /// The worker's own entry; `None` once it leaves.
    own: watch::Sender<Option<WorkerEntry>>,
    /// Set if the topic cannot be used.
    is_unusable: watch::Sender<bool>,
    /// Notified when other workers have changed.
    changed: Notify,
}

impl Directory {
    /// Begins to read and write the control topic.
    pub(crate) fn start(setup: DirectorySetup<'_>) -> Self {
        let DirectorySetup { transport, sink, plan, worker: (name, start), session_timeout, failed } = setup;
        let fingerprint = format!("{:08x}", plan.fingerprint());
        let own = WorkerEntry { start, plan: fingerprint, ..WorkerEntry::default() };
        let shared = Arc::new(DirectoryState {
            known: Mutex::new(Known::new(name.clone(), start, session_timeout)),
            plan: plan.summary(),
            own: watch::Sender::new(Some(own)),
            is_unusable: watch::Sender::new(false),
            changed: Notify::new(),
        });
        let follower = Follower {
            topic: TopicPartition::new(plan.control_topic(), 0),
            interval: INTERVAL.min(session_timeout / 3),
            shared: Arc::clone(&shared),
            transport,
            sink,
            name,
            failed,
            next: None,
            is_replaced: false,
        };
        let running = Mutex::new(Some(tokio::spawn(follower.run())));
        Self { shared, running, began: Instant::now() }
    }

    /// Waits until everything is known that other workers had written before this one, or for a few seconds.
    pub(crate) async fn known(&self) {
        let mut unusable = self.shared.is_unusable.subscribe();
        let known = async {
            while !self.shared.known().is_complete() {
                tokio::select! {
                    () = self.shared.changed.notified() => {}
                    // The sender lives as long as `self`.
                    _ = unusable.wait_for(|unusable| *unusable) => return,
                }
            }
        };
        if timeout(PATIENCE.saturating_sub(self.began.elapsed()), known).await.is_err() {
            tracing::warn!(
                "the control topic was not read within {PATIENCE:?}: other versions of the app may not be noticed"
            );
        }
    }

    /// Waits until other workers have changed.
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Sets what others read about this worker.
    pub(crate) fn tell(&self, change: impl FnOnce(&mut WorkerEntry)) {
        self.shared.own.send_if_modified(|own| {
            let Some(entry) = own else { return false };
            let before = entry.clone();
            change(entry);
            *entry != before
        });
    }

    /// Returns the live workers that started before this one, and own partitions of a table of this plan from other topics.
    pub(crate) fn rivals(&self) -> Vec<Rival> {
        self.shared.known().rivals(&self.shared.plan, Instant::now(), self.began)
    }

    /// Describes the differences of the plan with this fingerprint from the worker's own; `None` if it is not known.
    pub(crate) fn differences(&self, fingerprint: u32) -> Option<Vec<String>> {
        let known = self.shared.known();
        Some(self.shared.plan.differences(known.plan(&format!("{fingerprint:08x}"))?))
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

/// The reader and writer of the control topic.
struct Follower {
    topic: TopicPartition,
    interval: Duration,
    shared: Arc<DirectoryState>,
    transport: Arc<dyn Transport>,
    sink: Arc<dyn Sink>,
    name: String,
    failed: mpsc::UnboundedSender<Error>,
    /// Next offset to read; `None` at the beginning.
    next: Option<Offset>,
    /// Another worker has started under the same name: the entry is its own now.
    is_replaced: bool,
}

impl Follower {
    /// Runs until the worker leaves.
    async fn run(mut self) {
        while let Err(error) = self.follow().await {
            if error.kind == TransportErrorKind::OffsetOutOfRange {
                // The topic was deleted and created again.
                self.next = None;
            } else if !error.is_retriable() && !self.shared.is_unusable.send_replace(true) {
                tracing::warn!(
                    "the control topic `{}` cannot be used, so that other versions of the app are not noticed: {error}",
                    self.topic.topic
                );
            }
            tracing::debug!("the control topic is read again: {error}");
            sleep(PAUSE).await;
        }
    }

    async fn follow(&mut self) -> Result<(), TransportError> {
        let topic = self.sink.topic(&self.topic.topic)?;
        let mut own = self.shared.own.subscribe();
        let plan = own.borrow().as_ref().map(|entry| entry.plan.clone());
        if let Some(plan) = plan {
            let summary = serde_json::to_vec(&self.shared.plan).expect("maps with text as keys are always JSON");
            self.write(&*topic, &EntryKey::Plan(plan), Some(summary)).await?;
        }
        let from = self.next.map_or(StartAt::Earliest, StartAt::Offset);
        let mut reader = self.transport.read(vec![(self.topic.clone(), from)], WAIT)?;
        let mut beats = interval(self.interval);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                changed = own.changed() => {
                    // The worker has crashed, as far as others can see.
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                read = self.read(&mut *reader) => {
                    read?;
                    continue;
                }
                _ = beats.tick() => {}
            }
            let entry = own.borrow_and_update().clone();
            if self.is_replaced {
                return Ok(());
            }
            let key = EntryKey::Worker(self.name.clone());
            let Some(entry) = entry else {
                return self.write(&*topic, &key, None).await?.all().await;
            };
            let entry = serde_json::to_vec(&entry).expect("maps with text as keys are always JSON");
            // What is not delivered is written again soon.
            self.write(&*topic, &key, Some(entry)).await?;
        }
    }

    async fn read(&mut self, reader: &mut dyn Reader) -> Result<(), TransportError> {
        let Some(Read::Message(_, message)) = reader.next(self.interval).await? else { return Ok(()) };
        self.next = Some(message.offset.next());
        let effect = self.shared.known().apply(&message, Instant::now());
        match effect {
            Effect::Nothing => {}
            Effect::Complete | Effect::Changed => self.shared.changed.notify_one(),
            Effect::Replaced => {
                self.is_replaced = true;
                let error = Error::Misuse(format!(
                    "another worker of the app has started under the name `{}`: give each worker a `worker_name` of its own",
                    self.name
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
        let message = Outgoing {
            partition: Some(self.topic.partition),
            key: Some(key.as_bytes()),
            payload: payload.as_deref(),
            headers: Headers::new(),
            timestamp: None,
            event_time: None,
        };
        send(&*self.sink, topic, &message, &delivery).await?;
        Ok(delivery)
    }
}
