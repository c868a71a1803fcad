//! The check of a batch before it is appended: the rules of its topic for records, timestamps, size and compression.
//!
//! The check decompresses the batch and may compress it again, so it is separate from the append: a broker that is
//! shared checks batches without its lock.

use crate::core::compression::TopicCompression;
use crate::core::config::TimestampLimits;
use crate::core::records::raw::{self, RawRecord};
use crate::core::{Batch, ErrorCode};

/// Maximum number of records that a rejection names.
const MAX_NAMED: usize = 1000;

/// The rules by which a topic accepts batches. They follow from its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendRules {
    pub(crate) needs_keys: bool,
    pub(crate) max_message_bytes: usize,
    /// True if records get the broker's time as their timestamp (`LogAppendTime`).
    pub(crate) append_time: bool,
    /// Limits of the timestamps that producers set.
    pub(crate) timestamps: TimestampLimits,
    pub(crate) compression: TopicCompression,
}

/// A batch that a topic accepts, in the form in which it is stored.
#[derive(Debug, Clone)]
pub struct CheckedBatch {
    sent: Batch,
    stored: Batch,
    rules: AppendRules,
    append_time_ms: i64,
}

/// A batch that a topic does not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// The error code in the protocol.
    pub code: ErrorCode,
    /// A description of the error and how to fix it.
    pub message: String,
    /// The records because of which the batch is rejected, at most 1000. Empty if the batch as a whole is invalid.
    pub records: Vec<RejectedRecord>,
}

/// A record because of which its batch is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRecord {
    /// The position of the record in its batch, from 0.
    pub index: i32,
    /// A description of the error.
    pub message: String,
}

impl Rejection {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), records: Vec::new() }
    }
}

impl From<ErrorCode> for Rejection {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.to_string())
    }
}

impl CheckedBatch {
    /// Returns the batch as it is stored.
    pub fn batch(&self) -> &Batch {
        &self.stored
    }

    /// Returns the timestamp that the broker has set, in milliseconds since the Unix epoch, or -1.
    pub(crate) fn append_time_ms(&self) -> i64 {
        self.append_time_ms
    }

    /// Returns the check's result under `rules`, which is this one unless the topic's configuration has changed.
    pub(crate) fn under(self, rules: &AppendRules, now_ms: i64) -> Result<Self, Rejection> {
        if self.rules == *rules { Ok(self) } else { self.sent.check(rules, now_ms) }
    }
}

impl Batch {
    /// Checks the batch against the rules of a topic and brings it into the form in which the topic stores it.
    ///
    /// # Errors
    /// `InvalidRecord` for records that cannot be read, and for a record without a key if the topic is compacted; `InvalidTimestamp`, `MessageTooLarge`, `UnsupportedCompressionType`.
    pub fn check(&self, rules: &AppendRules, now_ms: i64) -> Result<CheckedBatch, Rejection> {
        rules.check_size(self)?;
        let sent = self.header().compression().unwrap_or_default();
        let body = self.body().map_err(|undecodable| Rejection::new(undecodable.code(), undecodable.to_string()))?;
        let max_timestamp = rules.check_records(raw::records(self.header(), &body), now_ms)?;
        let codec = rules.compression.stored(sent);
        let (max_timestamp, append_time_ms) = if rules.append_time { (now_ms, now_ms) } else { (max_timestamp, -1) };
        let stored = self
            .stored_as((codec, rules.compression.level(codec)), max_timestamp, rules.append_time, &body)
            .ok_or_else(|| Rejection::new(ErrorCode::InvalidRecord, "the records cannot be compressed"))?;
        // Compression may have enlarged the batch.
        rules.check_size(&stored)?;
        Ok(CheckedBatch { sent: self.clone(), stored, rules: *rules, append_time_ms })
    }
}

/// The fault of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordFault {
    NoKey,
    Timestamp(i64),
}

impl AppendRules {
    fn check_size(&self, batch: &Batch) -> Result<(), Rejection> {
        let (size, limit) = (batch.header().size, self.max_message_bytes);
        if size <= limit {
            return Ok(());
        }
        let text = format!("the batch has {size} bytes, but `max.message.bytes` of the topic is {limit}");
        Err(Rejection::new(ErrorCode::MessageTooLarge, text))
    }

    /// Checks the records of a batch and returns their highest timestamp, -1 if none has one.
    fn check_records<'a>(
        &self,
        records: impl Iterator<Item = Result<RawRecord<'a>, ErrorCode>>,
        now_ms: i64,
    ) -> Result<i64, Rejection> {
        let (mut max_timestamp, mut faults, mut named) = (-1, 0, Vec::new());
        let mut code = ErrorCode::InvalidRecord;
        for (index, record) in (0..).zip(records) {
            let record = record.map_err(|code| Rejection::new(code, format!("record {index} is malformed")))?;
            max_timestamp = max_timestamp.max(record.timestamp);
            let Some(fault) = self.fault(&record, now_ms) else { continue };
            faults += 1;
            if matches!(fault, RecordFault::Timestamp(_)) {
                code = ErrorCode::InvalidTimestamp;
            }
            if named.len() < MAX_NAMED {
                named.push(RejectedRecord { index, message: self.describe(fault, now_ms) });
            }
        }
        match named.first() {
            None => Ok(max_timestamp),
            Some(RejectedRecord { index, message }) => {
                let message =
                    format!("the batch has invalid records ({faults}); the first is record {index}: {message}");
                Err(Rejection { code, message, records: named })
            }
        }
    }

    fn fault(&self, record: &RawRecord<'_>, now_ms: i64) -> Option<RecordFault> {
        if self.needs_keys && record.key.is_none() {
            return Some(RecordFault::NoKey);
        }
        let is_accepted = self.append_time || self.timestamps.accept(record.timestamp, now_ms);
        (!is_accepted).then_some(RecordFault::Timestamp(record.timestamp))
    }

    fn describe(&self, fault: RecordFault, now_ms: i64) -> String {
        match fault {
            RecordFault::NoKey => "it has no key, but the topic is compacted; set a key".to_owned(),
            RecordFault::Timestamp(timestamp) => {
                let from = now_ms.saturating_sub(self.timestamps.before_ms);
                let to = now_ms.saturating_add(self.timestamps.after_ms);
                format!(
                    "its timestamp {timestamp} is outside {from} to {to}, the range that \
                     `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms` of the topic allow"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
