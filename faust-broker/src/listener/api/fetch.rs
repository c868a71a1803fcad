//! `Fetch`: reads records, and waits for more until there are `min_bytes` or the request times out.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse, ProducerId, TopicName};
use tokio::sync::Notify;
use tokio::time::{self, Instant};

use crate::core::{ErrorCode, LEADER_EPOCH, Read};
use crate::listener::router::Call;
use crate::listener::shared::State;

/// First version in which requests identify topics by id instead of name.
const TOPIC_IDS: i16 = 13;
/// Epoch of the fetch that begins a session.
const FIRST_EPOCH: i32 = 0;
/// Epoch of the fetch that ends a session, or is outside of any.
const FINAL_EPOCH: i32 = -1;
/// Value of the isolation level for committed records only.
pub(crate) const READ_COMMITTED: i8 = 1;
/// Upper limit of the requested wait time.
const LONGEST_WAIT_MS: i32 = 5 * 60 * 1000;
/// Upper limit of the requested bytes, because the response is held in memory.
const MOST_BYTES: usize = 64 * 1024 * 1024;

pub(crate) async fn handle(call: &Call, request: FetchRequest) -> FetchResponse {
    // There are no sessions. A full fetch, which begins or ends one, is answered whatever session it names, as in Kafka.
    if !matches!(request.session_epoch, FIRST_EPOCH | FINAL_EPOCH) {
        return FetchResponse::default().with_error_code(ErrorCode::FetchSessionIdNotFound.code());
    }
    let wait_ms = u64::try_from(request.max_wait_ms.min(LONGEST_WAIT_MS)).unwrap_or(0);
    let deadline = Instant::now() + Duration::from_millis(wait_ms);
    let reader = Arc::new(Notify::new());
    loop {
        let is_late = Instant::now() >= deadline;
        let round = read(call, &request, (!is_late).then_some(&reader));
        if is_late || round.is_enough {
            return round.into_response();
        }
        // Either records have been appended or the time is up; the next round handles both.
        drop(time::timeout_at(deadline, reader.notified()).await);
    }
}

/// A topic by name and id, with the results of reading its partitions.
type TopicRead = (TopicName, uuid::Uuid, Vec<(i32, Result<Read, ErrorCode>)>);

/// The result of reading all partitions of a request once.
struct Round {
    topics: Vec<TopicRead>,
    is_committed: bool,
    is_enough: bool,
}

fn read(call: &Call, request: &FetchRequest, reader: Option<&Arc<Notify>>) -> Round {
    let mut state = call.shared.lock();
    let mut room = usize::try_from(request.max_bytes).unwrap_or(0).min(MOST_BYTES);
    let is_committed = request.isolation_level == READ_COMMITTED;
    let (mut bytes, mut failed) = (0, false);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let found = find(&state, topic, call.version);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let result = match &found {
                // The first batch of a response is returned whatever its size; otherwise the reader could not make
                // progress.
                Ok((name, _)) => read_partition(&state, name, partition, is_committed, (room, bytes == 0)),
                Err(code) => Err(*code),
            };
            let size = result.as_ref().map_or(0, |read| read.batches.iter().map(Bytes::len).sum());
            bytes += size;
            room = room.saturating_sub(size);
            failed |= result.is_err();
            partitions.push((partition.partition, result));
        }
        topics.push((topic.topic.clone(), topic.topic_id, partitions));
    }
    let is_enough = failed || bytes >= usize::try_from(request.min_bytes).unwrap_or(0);
    // IMPORTANT: registered under the same lock as the read; otherwise an append in between would not wake the reader.
    if let (false, Some(reader)) = (is_enough, reader) {
        register(&mut state, request, call.version, reader);
    }
    Round { topics, is_committed, is_enough }
}

fn register(state: &mut State, request: &FetchRequest, version: i16, reader: &Arc<Notify>) {
    for topic in &request.topics {
        let Ok((_, id)) = find(state, topic, version) else {
            continue;
        };
        for partition in &topic.partitions {
            state.wake_on_append(id, partition.partition, reader);
        }
    }
}

fn find(state: &State, topic: &FetchTopic, version: i16) -> Result<(String, u128), ErrorCode> {
    if version >= TOPIC_IDS {
        let id = topic.topic_id.as_u128();
        return state.broker.topic_name(id).map(|name| (name.to_owned(), id)).ok_or(ErrorCode::UnknownTopicId);
    }
    let held = state.broker.topic(&topic.topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    Ok((topic.topic.to_string(), held.id()))
}

fn read_partition(
    state: &State,
    topic: &str,
    partition: &FetchPartition,
    is_committed: bool,
    (room, is_first): (usize, bool),
) -> Result<Read, ErrorCode> {
    check_epoch(partition.current_leader_epoch)?;
    let max_bytes = usize::try_from(partition.partition_max_bytes).unwrap_or(0).min(room);
    let (index, offset) = (partition.partition, partition.fetch_offset);
    let mut read = if is_committed {
        state.broker.read_committed(topic, index, offset, max_bytes)?
    } else {
        state.broker.read(topic, index, offset, max_bytes)?
    };
    if !is_first && read.batches.first().is_some_and(|first| first.len() > max_bytes) {
        read.batches.clear();
    }
    Ok(read)
}

/// Checks the leader epoch of a client, which may be unset.
pub(crate) fn check_epoch(epoch: i32) -> Result<(), ErrorCode> {
    match epoch {
        epoch if epoch > LEADER_EPOCH => Err(ErrorCode::UnknownLeaderEpoch),
        epoch if (0..LEADER_EPOCH).contains(&epoch) => Err(ErrorCode::FencedLeaderEpoch),
        _ => Ok(()),
    }
}

impl Round {
    fn into_response(self) -> FetchResponse {
        let topic = |(name, id, partitions): TopicRead| {
            let partitions =
                partitions.into_iter().map(|(index, read)| partition_data(index, self.is_committed, read)).collect();
            FetchableTopicResponse::default().with_topic(name).with_topic_id(id).with_partitions(partitions)
        };
        FetchResponse::default().with_responses(self.topics.into_iter().map(topic).collect())
    }
}

fn partition_data(index: i32, is_committed: bool, read: Result<Read, ErrorCode>) -> PartitionData {
    let data = PartitionData::default().with_partition_index(index);
    match read {
        Ok(read) => data
            .with_high_watermark(read.high_watermark)
            .with_last_stable_offset(read.last_stable)
            .with_aborted_transactions(is_committed.then(|| aborted(&read)))
            .with_log_start_offset(read.log_start)
            .with_records(Some(joined(read.batches))),
        Err(code) => data.with_error_code(code.code()).with_high_watermark(-1).with_records(Some(Bytes::new())),
    }
}

fn aborted(read: &Read) -> Vec<AbortedTransaction> {
    let aborted = read.aborted.iter().map(|aborted| {
        AbortedTransaction::default()
            .with_producer_id(ProducerId(aborted.producer_id))
            .with_first_offset(aborted.first_offset)
    });
    aborted.collect()
}

fn joined(mut batches: Vec<Bytes>) -> Bytes {
    if batches.len() <= 1 {
        return batches.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(batches.iter().map(Bytes::len).sum());
    batches.iter().for_each(|batch| all.extend_from_slice(batch));
    all.freeze()
}
