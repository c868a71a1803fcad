//! A record of the numbers in all topics of a scenario, with their offsets and how often they occur.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faust::transport::{Admin, PROMPT, Read, Reader, StartAt, TopicPartition, TransportError, Watermarks};
use faust::{Client, Offset};

use super::scenario::PARTITIONS;
use crate::harness::{LONG, wait_for};

/// A reader of all topics of a scenario, which records their numbers.
pub(super) struct Ledger {
    run: u64,
    admin: Arc<dyn Admin>,
    reader: Box<dyn Reader>,
    logs: BTreeMap<TopicPartition, Log>,
    /// Number of occurrences of each number, by topic.
    times: BTreeMap<Arc<str>, Vec<u32>>,
}

/// The part of a partition that has been read.
#[derive(Default)]
struct Log {
    /// The next offset to read.
    next: Offset,
    /// The numbers with their offsets, in order.
    numbers: Vec<(Offset, u64)>,
}

impl Ledger {
    /// Starts a ledger at the current ends of the topics, which must exist.
    pub(super) async fn begin(client: &Client, topics: &[String], run: u64) -> Self {
        let admin = client.transport().admin().unwrap();
        let ends = watermarks(&*admin, topics.iter().flat_map(|topic| partitions(topic)).collect()).await;
        let from = ends.iter().map(|(place, (_, high))| (place.clone(), StartAt::Offset(*high))).collect();
        let reader = client.transport().read(from, PROMPT).unwrap();
        let logs = ends.into_iter().map(|(place, (_, high))| (place, Log { next: high, ..Log::default() })).collect();
        Self { run, admin, reader, logs, times: BTreeMap::new() }
    }

    /// Reads every topic to its current end.
    pub(super) async fn catch_up(&mut self) {
        let ends = watermarks(&*self.admin, self.logs.keys().cloned().collect()).await;
        let began = Instant::now();
        while let Some((place, end)) = self.behind(&ends) {
            assert!(began.elapsed() < LONG, "{place} cannot be read to its end {end}");
            match self.reader.next(Duration::from_secs(1)).await {
                Ok(Some(Read::Message(place, message))) => {
                    self.note(&place, message.offset, message.payload.as_deref())
                }
                // Neither a partition end nor a poll without messages is conclusive: the loop compares with the ends.
                Ok(Some(Read::End(_)) | None) => {}
                Err(error) => assert!(error.is_retriable(), "{error}"),
            }
        }
    }

    fn behind(&self, ends: &Watermarks) -> Option<(TopicPartition, Offset)> {
        let behind = |(place, (_, high)): (&TopicPartition, &(Offset, Offset))| self.logs[place].next < *high;
        ends.iter().find(|entry| behind(*entry)).map(|(place, (_, high))| (place.clone(), *high))
    }

    fn note(&mut self, place: &TopicPartition, offset: Offset, payload: Option<&[u8]>) {
        let log = self.logs.get_mut(place).expect("only these partitions are read");
        assert!(offset >= log.next, "the offset of {place} decreased from {} to {offset}", log.next);
        log.next = offset.next();
        let (run, n) = numbers_of(payload.unwrap_or_default());
        if run == self.run {
            log.numbers.push((offset, n));
            let times = self.times.entry(Arc::clone(&place.topic)).or_default();
            let n = usize::try_from(n).unwrap();
            if times.len() <= n {
                times.resize(n + 1, 0);
            }
            times[n] += 1;
        }
    }

    /// Returns the numbers of a partition with their offsets.
    pub(super) fn numbers(&self, place: &TopicPartition) -> &[(Offset, u64)] {
        &self.logs[place].numbers
    }

    /// Returns how often a number occurs in a topic.
    pub(super) fn times(&self, topic: &str, n: u64) -> u32 {
        self.times.get(topic).and_then(|times| times.get(usize::try_from(n).unwrap())).copied().unwrap_or(0)
    }

    /// Returns the end of each of a topic's partitions, as far as they have been read.
    pub(super) fn ends(&self, topic: &str) -> BTreeMap<TopicPartition, Offset> {
        partitions(topic).into_iter().map(|place| (place.clone(), self.logs[&place].next)).collect()
    }
}

/// Parses run and number of a `Number`, the first two fields of its JSON. Every event is read at least three times, and
/// in an unoptimised build, parsing all of it costs more than the worker under test.
fn numbers_of(json: &[u8]) -> (u64, u64) {
    let (mut found, mut inside) = ([0_u64; 2], 0);
    for &byte in json {
        match byte {
            b'0'..=b'9' => found[inside] = found[inside] * 10 + u64::from(byte - b'0'),
            b',' if inside == 1 => return (found[0], found[1]),
            b',' => inside = 1,
            _ => {}
        }
    }
    panic!("{} is not a number", String::from_utf8_lossy(json))
}

/// Returns the partitions of one of the scenario's topics.
pub(super) fn partitions(topic: &str) -> Vec<TopicPartition> {
    let topic: Arc<str> = topic.into();
    (0..i32::try_from(PARTITIONS).unwrap())
        .map(|partition| TopicPartition::new(Arc::clone(&topic), partition))
        .collect()
}

/// Looks up watermarks, and retries until it succeeds: a new topic, or a restarted broker, has no leaders at first.
pub(super) async fn watermarks(admin: &dyn Admin, of: Vec<TopicPartition>) -> Watermarks {
    let mut found = None;
    wait_for("watermarks", LONG, async || {
        let answer = admin.watermarks(of.clone()).await;
        assert!(answer.as_ref().err().is_none_or(TransportError::is_retriable), "{answer:?}");
        found = answer.ok();
        found.is_some()
    })
    .await;
    found.unwrap()
}
