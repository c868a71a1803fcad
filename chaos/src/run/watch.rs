//! The progress of the workers, seen in their output `echo`: how far each partition is, and how many events were replayed.
//!
//! It reads uncommitted records as well, so that events count that a worker had processed before it lost its transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::Deserialize;

use crate::BoxError;
use crate::topics::{Output, PARTITIONS};

/// The part of a record that is needed.
#[derive(Deserialize)]
struct Echoed {
    from: i64,
}

/// The progress at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The number of events of each partition that were processed at least once.
    pub(crate) frontier: Vec<i64>,
    /// Number of events that were processed again.
    pub(crate) replayed: u64,
    /// The longest time in which no partition went forward.
    pub(crate) longest_pause: Duration,
}

impl Progress {
    /// Returns the number of events that were processed.
    pub(crate) fn processed(&self) -> i64 {
        self.frontier.iter().sum()
    }

    /// Returns whether every partition is at least `by` events further than before.
    pub(crate) fn is_past(&self, before: &Self, by: i64) -> bool {
        self.frontier.iter().zip(&before.frontier).all(|(now, then)| *now >= then + by)
    }
}

/// A thread that follows the output.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    progress: Arc<Mutex<Progress>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts following. The topic need not exist yet.
    pub(crate) fn start(bootstrap: &str) -> Result<Self, BoxError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "chaos-watch")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("topic.metadata.refresh.interval.ms", "1000")
            .set("isolation.level", "read_uncommitted");
        let consumer: BaseConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        let topic = Output::Echo.topic();
        (0..PARTITIONS).try_for_each(|partition| list.add_partition_offset(topic, partition, Offset::Beginning))?;
        let frontier = vec![0; usize::try_from(PARTITIONS)?];
        let progress = Arc::new(Mutex::new(Progress { frontier, ..Progress::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, shared) = (Arc::clone(&stop), Arc::clone(&progress));
        let thread = std::thread::spawn(move || follow(&consumer, &list, &stopped, &shared));
        Ok(Self { stop, progress, thread: Some(thread) })
    }

    /// Forgets the pauses so far, such as those of the start.
    pub(crate) fn forget_pauses(&self) {
        lock(&self.progress).longest_pause = Duration::ZERO;
    }

    /// Returns the progress so far.
    pub(crate) fn progress(&self) -> Progress {
        lock(&self.progress).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic of the thread has been printed.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

fn follow(consumer: &BaseConsumer, list: &TopicPartitionList, stop: &AtomicBool, progress: &Mutex<Progress>) {
    let mut assigned = false;
    let mut forward: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        if !assigned {
            // The topic is created by the first worker.
            let known = consumer.fetch_metadata(Some(Output::Echo.topic()), Duration::from_secs(1));
            let exists =
                known.is_ok_and(|known| known.topics().iter().any(|topic| topic.partitions().len() == list.count()));
            assigned = exists && consumer.assign(list).is_ok();
            if !assigned {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        }
        // An error is retried by librdkafka itself.
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let Ok(Echoed { from }) = serde_json::from_slice(message.payload().unwrap_or_default()) else { continue };
        let Ok(partition) = usize::try_from(message.partition()) else { continue };
        let mut progress = lock(progress);
        if from < progress.frontier[partition] {
            progress.replayed += 1;
        } else {
            progress.frontier[partition] = from + 1;
            let pause = forward.map(|forward| forward.elapsed()).unwrap_or_default();
            progress.longest_pause = progress.longest_pause.max(pause);
            forward = Some(Instant::now());
        }
    }
}
