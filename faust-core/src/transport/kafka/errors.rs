//! Conversion of librdkafka's errors to the port's errors, which are classified by the possible reaction.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::config::is_secret;
use crate::error::{TransportError, TransportErrorKind};

/// Creates the error of a failed operation.
pub(super) fn failed(what: impl Into<String>, error: &KafkaError) -> TransportError {
    let kind = error.rdkafka_error_code().map_or_else(|| kind_without_code(error), kind);
    TransportError { what: what.into(), why: reason(error), kind }
}

/// Creates the error of a failed operation of which only the error code is known.
pub(super) fn refused(what: impl Into<String>, code: RDKafkaErrorCode) -> TransportError {
    TransportError { what: what.into(), why: code.to_string(), kind: kind(code) }
}

/// Creates the error of a failed operation for which the broker has given a reason.
pub(super) fn refused_because(what: impl Into<String>, code: RDKafkaErrorCode, reason: &str) -> TransportError {
    let error = refused(what, code);
    // Without a reason of the broker, librdkafka describes the code.
    if reason.is_empty() || error.why.contains(reason) {
        return error;
    }
    TransportError { why: format!("{}: {reason}", error.why), ..error }
}

/// Creates the error of a client that could not be created because of its settings.
pub(super) fn unusable(what: impl Into<String>, error: &KafkaError) -> TransportError {
    let mut why = reason(error);
    if why.contains("not available at build time") || why.contains("No provider for SASL") {
        why.push_str(
            ": build with `--features ssl` (for Kerberos, depend on `rdkafka` with its feature `gssapi` as well)",
        );
    }
    TransportError::fatal(what, why)
}

/// Classifies an error code.
pub(super) fn kind(code: RDKafkaErrorCode) -> TransportErrorKind {
    use RDKafkaErrorCode as Code;
    match code {
        Code::UnknownMemberId
        | Code::IllegalGeneration
        | Code::RebalanceInProgress
        | Code::AssignmentLost
        | Code::StaleMemberEpoch
        | Code::FencedMemberEpoch
        | Code::State => TransportErrorKind::Rebalanced,
        Code::OffsetOutOfRange | Code::AutoOffsetReset => TransportErrorKind::OffsetOutOfRange,
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        // Metadata without a broker, as while it restarts, end the requests to it.
        | Code::DestroyBroker
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::TimedOutQueue
        | Code::MessageTimedOut
        | Code::WaitingForCoordinator
        | Code::WaitCache
        | Code::InProgress
        | Code::PreviousInProgress
        | Code::Retry
        | Code::QueueFull
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::OffsetNotAvailable
        | Code::UnstableOffsetCommit
        | Code::ReplicaNotAvailable
        | Code::ListenerNotFound
        | Code::RequestTimedOut
        | Code::BrokerNotAvailable
        | Code::NetworkException
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::NotController
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::KafkaStorageError
        | Code::ThrottlingQuotaExceeded => TransportErrorKind::Retriable,
        _ => TransportErrorKind::Fatal,
    }
}

/// Classifies the error code of a message. It can be sent again, by another producer or in another transaction, if its producer has
/// failed, or its transaction was aborted.
pub(super) fn kind_of_message(code: RDKafkaErrorCode) -> TransportErrorKind {
    use RDKafkaErrorCode as Code;
    match code {
        Code::PurgeQueue
        | Code::PurgeInflight
        | Code::State
        | Code::Fatal
        | Code::Fenced
        | Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::UnknownProducerId
        | Code::InvalidProducerIdMapping
        | Code::InvalidProducerEpoch
        | Code::ProducerFenced
        | Code::InvalidTransactionalState
        | Code::TransactionCoordinatorFenced
        | Code::ConcurrentTransactions => TransportErrorKind::Retriable,
        other => kind(other),
    }
}

// rdkafka reports some errors as text only.
fn kind_without_code(error: &KafkaError) -> TransportErrorKind {
    match error {
        KafkaError::AdminOp(code) => kind(*code),
        KafkaError::Seek(text) if text.contains("Erroneous state") => TransportErrorKind::Rebalanced,
        KafkaError::Seek(text) | KafkaError::PauseResume(text) if text.contains("Timed out") => {
            TransportErrorKind::Retriable
        }
        _ => TransportErrorKind::Fatal,
    }
}

fn reason(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, text, name, value) if !is_secret(name) => {
            format!("`{name}` = `{value}`: {text}")
        }
        KafkaError::ClientConfig(_, text, name, _) => format!("`{name}`: {text}"),
        _ => match error.rdkafka_error_code() {
            Some(code @ RDKafkaErrorCode::InvalidTimestamp) => format!(
                "{code}: the timestamp is outside the topic's `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`; correct it, or change these configurations of the topic"
            ),
            Some(code) => code.to_string(),
            None => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_classified_by_the_possible_reaction() {
        let cases = [
            (KafkaError::ConsumerCommit(RDKafkaErrorCode::IllegalGeneration), TransportErrorKind::Rebalanced),
            (KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId), TransportErrorKind::Rebalanced),
            (KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), TransportErrorKind::Retriable),
            (KafkaError::AdminOp(RDKafkaErrorCode::RequestTimedOut), TransportErrorKind::Retriable),
            (KafkaError::ConsumerCommit(RDKafkaErrorCode::OffsetMetadataTooLarge), TransportErrorKind::Fatal),
            (KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset), TransportErrorKind::OffsetOutOfRange),
            (KafkaError::Seek("Local: Erroneous state".to_owned()), TransportErrorKind::Rebalanced),
        ];
        for (error, kind) in cases {
            assert_eq!(failed("x", &error).kind, kind, "{error}");
        }
    }

    /// Otherwise, an abort would count as an attempt at an event, and the policy of the agent would give it up.
    #[test]
    fn the_end_of_a_transaction_or_a_producer_is_no_refusal_of_its_messages() {
        use RDKafkaErrorCode as Code;
        for code in [Code::PurgeQueue, Code::OutOfOrderSequenceNumber, Code::InvalidProducerEpoch, Code::Fatal] {
            assert_eq!(kind_of_message(code), TransportErrorKind::Retriable, "{code}");
        }
        for code in [Code::MessageSizeTooLarge, Code::TopicAuthorizationFailed, Code::InvalidTimestamp] {
            assert_eq!(kind_of_message(code), TransportErrorKind::Fatal, "{code}");
        }
    }

    /// The errors that librdkafka's own requests look up metadata after, or retry (`rd_kafka_err_action`), except for those
    /// of single messages and of TLS.
    #[test]
    fn errors_that_librdkafka_retries_are_retried() {
        use RDKafkaErrorCode as Code;
        let codes = [
            Code::LeaderNotAvailable,
            Code::NotLeaderForPartition,
            Code::BrokerNotAvailable,
            Code::ReplicaNotAvailable,
            Code::CoordinatorNotAvailable,
            Code::NotCoordinator,
            Code::WaitingForCoordinator,
            Code::DestroyBroker,
            Code::KafkaStorageError,
            Code::BrokerTransportFailure,
            Code::OperationTimedOut,
            Code::RequestTimedOut,
            Code::NotEnoughReplicas,
            Code::NotEnoughReplicasAfterAppend,
            Code::TimedOutQueue,
            Code::CoordinatorLoadInProgress,
        ];
        for code in codes {
            assert_eq!(failed("x", &KafkaError::MetadataFetch(code)).kind, TransportErrorKind::Retriable, "{code}");
        }
    }
}
