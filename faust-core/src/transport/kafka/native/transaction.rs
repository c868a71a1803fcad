//! The commit of a transaction, and the errors of transactional calls.

use std::ffi::CStr;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::error::RDKafkaError;
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::handle::millis;

/// A failed transactional call, with librdkafka's classes.
#[derive(Debug)]
pub(crate) struct TransactionFailure {
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) text: String,
    pub(crate) is_fatal: bool,
    pub(crate) requires_abort: bool,
    pub(crate) is_retriable: bool,
}

impl TransactionFailure {
    /// Describes an error that rdkafka has returned.
    pub(crate) fn of(error: &RDKafkaError) -> Self {
        Self {
            code: error.code(),
            text: error.string(),
            is_fatal: error.is_fatal(),
            requires_abort: error.txn_requires_abort(),
            is_retriable: error.is_retriable(),
        }
    }
}

/// Commits the open transaction. rdkafka's own call flushes the producer first, which takes at least 100 ms.
pub(crate) fn commit_transaction<C: ProducerContext + 'static>(
    producer: &ThreadedProducer<C>,
    within: Duration,
) -> Result<(), TransactionFailure> {
    // SAFETY: the handle is valid for as long as `producer` is borrowed. An error, null if there is none, is owned here.
    unsafe {
        let error = rd::rd_kafka_commit_transaction(producer.client().native_ptr(), millis(within));
        if error.is_null() {
            return Ok(());
        }
        let failure = TransactionFailure {
            code: rd::rd_kafka_error_code(error).into(),
            text: CStr::from_ptr(rd::rd_kafka_error_string(error)).to_string_lossy().into_owned(),
            is_fatal: rd::rd_kafka_error_is_fatal(error) != 0,
            requires_abort: rd::rd_kafka_error_txn_requires_abort(error) != 0,
            is_retriable: rd::rd_kafka_error_is_retriable(error) != 0,
        };
        rd::rd_kafka_error_destroy(error);
        Err(failure)
    }
}
