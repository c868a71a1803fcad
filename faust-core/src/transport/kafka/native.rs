//! The few calls that go past rdkafka to librdkafka itself; with `native/` the only unsafe code of the crate.
//!
//! Why: reading a partition's queue message by message costs an event, an `Arc` and two locks each, and sending looks
//! the topic up by name each time. In batches and with a cached topic the whole path handles 1.14-1.78 times the events
//! of the plain loop instead of 1.01-1.17 times. rdkafka also panics on header names and offset metadata that are not
//! UTF-8, which any other program may have written, and cannot leave a consumer without a goodbye to the group.
#![allow(unsafe_code)]

mod member;
mod partition;
mod topic;
mod answers;
mod describe;

pub(super) use self::answers::{PartitionAnswer, answers};
pub(super) use self::describe::topic_ids;
pub(super) use self::member::Member;
pub(super) use self::partition::{BATCH, Fetched, PartitionReader, Reading};
pub(super) use self::topic::{TopicHandle, flush};
