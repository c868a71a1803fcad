//! The few calls that bypass rdkafka and use librdkafka directly. Together with `native/`, this is the only unsafe code
//! of the crate.
//!
//! With rdkafka, reading a partition's queue costs an event, an `Arc` and two locks per message, and sending looks up
//! the topic by name each time. With batches and a cached topic, the whole path handles 1.14-1.78 times the events of
//! the plain loop instead of 1.01-1.17 times. rdkafka also panics on header names and offset metadata that are not
//! UTF-8, which other programs may have written, it cannot destroy a consumer without leaving the group, and it drops
//! the reason for which a broker refuses a topic.
#![allow(unsafe_code)]

mod handle;
mod member;
mod partition;
mod topic;
mod transaction;
mod answers;
mod create;
mod describe;
mod generation;

pub(super) use self::answers::{PartitionAnswer, answers};
pub(super) use self::create::{TopicRefusal, create_topics};
pub(super) use self::describe::{GroupDescription, LONGEST, brokers, describe_group, describe_topics, topic_ids};
pub(super) use self::generation::{generation, member_id};
pub(super) use self::member::GroupConsumer;
pub(super) use self::partition::{BATCH, Fetched, PartitionReader, ReadState};
#[cfg(test)]
pub(super) use self::topic::fail;
pub(super) use self::topic::{TopicHandle, flush, refresh_metadata};
pub(super) use self::transaction::{TransactionFailure, commit_transaction};
