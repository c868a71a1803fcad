//! The port to a Kafka cluster: bytes in, bytes out.
//!
//! These traits contain everything the engine requires of a broker. A [`Transport`] is a cluster; a [`Sink`] writes to
//! it; a [`Group`] is this worker's membership in the consumer group; a [`PartitionQueue`] reads one assigned
//! partition; [`Admin`] declares and describes topics. Adapters: `kafka` (rdkafka) for production, `memory` for the
//! test driver.

pub(super) mod delivery;
pub(super) mod outage;
pub(super) mod inspection;
pub(super) mod transaction;
pub(super) mod port;
pub(super) mod start;
pub(super) mod retry;
pub(super) mod send;
pub mod kafka;
#[cfg(feature = "testing")]
pub mod memory;

pub use self::delivery::Delivery;
pub(crate) use self::delivery::Sender;
pub use self::inspection::{ClusterState, Operation, PartitionReplicas, TopicState};
pub use self::outage::Outage;
pub use self::port::{
    Admin, Assigned, Committed, Group, GroupListener, GroupMember, NewTopic, Outgoing, PENDING_AFTER, PROMPT,
    PartitionQueue, Read, Reader, RefusedOffsets, SendRefused, Sink, SinkTopic, StartAt, Subscription, TailPace,
    TopicConfigs, TopicPartition, Transactions, Transport, Watermarks,
};
pub(crate) use self::port::{Sealed, is_storable};
pub use self::retry::Retries;
pub(crate) use self::retry::{PROGRESS_INTERVAL, with_progress};
pub use self::send::send;
pub(crate) use self::send::send_by;
pub(crate) use self::transaction::transactional_id;
pub use self::transaction::{GroupMembership, TransactionError, TransactionErrorKind};
pub use crate::error::{TransportError, TransportErrorKind};
