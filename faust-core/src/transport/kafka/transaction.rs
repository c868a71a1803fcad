//! A transactional producer. Its calls block, and run on a thread of their own.
//!
//! librdkafka 2.12.1 may never return from `rd_kafka_send_offsets_to_transaction` if the group's coordinator is lost: it waits for a
//! connection to the coordinator that it has cached, although that broker has left the cluster's metadata, and looks for the new
//! coordinator only when the connection of any broker opens or closes (`rd_kafka_coord_req_fsm`, called by
//! `rd_kafka_coord_rkb_monitor_cb`; the request's own timeout, `creq_ts_timeout`, is set and read nowhere). A producer that waits
//! sends nothing, so no connection changes, and nothing ends the wait. Therefore idle connections are closed after a few seconds
//! (`connections.max.idle.ms`), and one that closes continues the search. In addition, each call is watched; one that hangs all the
//! same is left behind with its producer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError;
use rdkafka::producer::{Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::config::KafkaConfig;
use super::errors::{failed, kind};
use super::native::{TransactionFailure, commit_transaction};
use super::offsets::to_commit;
use super::sink::{KafkaSink, SinkContext};
use crate::error::TransportError;
use crate::transport::outage::Outage;
use crate::transport::port::{Committed, Sink, TopicPartition, Transactions};
use crate::transport::retry::Retries;
use crate::transport::transaction::{GroupMembership, TransactionError, TransactionErrorKind};

/// Timeout of one call. If it passes, the call is repeated: librdkafka continues the operation.
const CALL: Duration = Duration::from_secs(3);
/// Time after which a call that has not returned is given up.
const WATCHDOG: Duration = Duration::from_secs(12);
/// Time for which the addition of offsets is repeated, apart from the last call. Then the transaction is aborted: librdkafka
/// repeats the request itself, also for a topic that was deleted.
const OFFSETS_WITHIN: Duration = Duration::from_secs(2);
/// Pause before a call that has failed at once is repeated.
const PAUSE: Duration = Duration::from_millis(20);

type NativeProducer = ThreadedProducer<SinkContext>;
type NativeCall = Box<dyn FnOnce(&NativeProducer) + Send>;

/// A transactional producer with the thread of its calls.
pub(super) struct KafkaTransactions {
    id: String,
    sink: Arc<KafkaSink>,
    jobs: mpsc::Sender<NativeCall>,
}

impl KafkaTransactions {
    /// Creates a producer and initializes its id, waiting for the brokers for as long as it takes.
    pub(super) async fn open(
        config: &KafkaConfig,
        outage: &Arc<Outage>,
        id: &str,
    ) -> Result<Arc<Self>, TransactionError> {
        let refused = |error| TransactionError::new(TransactionErrorKind::Refused, error);
        let sink = Arc::new(KafkaSink::transactional(config, outage, id).map_err(refused)?);
        let (jobs, work) = mpsc::channel::<NativeCall>();
        let of_thread = Arc::clone(&sink);
        let run = move || {
            while let Ok(job) = work.recv() {
                job(of_thread.producer());
            }
        };
        let thread = std::thread::Builder::new().name("faust-transaction".to_owned()).spawn(run);
        thread.map_err(|error| refused(TransportError::fatal("starting the thread of transactions", error)))?;
        let producer = Arc::new(Self { id: id.to_owned(), sink, jobs });
        let mut retries = Retries::default().of(Arc::clone(outage));
        loop {
            match producer.call("initialization", |producer| producer.init_transactions(CALL)).await? {
                Ok(()) => return Ok(producer),
                Err(failure) if failure.is_retriable => {
                    let error = producer.error("initialization", &failure);
                    retries.pause(&format!("waiting for the broker to initialize transactions: {error}")).await;
                }
                Err(failure) => return Err(producer.classified("initialization", &failure)),
            }
        }
    }

    /// Runs a call on the thread, and waits for its result.
    ///
    /// # Errors
    /// The call has not returned in time, or the thread has panicked.
    async fn call_native<T: Send + 'static>(
        &self,
        what: &str,
        call: impl FnOnce(&NativeProducer) -> T + Send + 'static,
    ) -> Result<T, TransactionError> {
        let (reply, answer) = oneshot::channel();
        let job: NativeCall = Box::new(move |producer| drop(reply.send(call(producer))));
        let hung = |why: String| {
            TransactionError::new(TransactionErrorKind::Hung, TransportError::retriable(self.attempt(what), why))
        };
        self.jobs.send(job).map_err(|_| hung("its thread has ended".to_owned()))?;
        match tokio::time::timeout(WATCHDOG, answer).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(hung("its thread has ended".to_owned())),
            Err(_) => Err(hung(format!("librdkafka has not returned within {WATCHDOG:?}"))),
        }
    }

    /// Like [`call_native`](Self::call_native), for a call of rdkafka.
    async fn call(
        &self,
        what: &str,
        call: impl FnOnce(&NativeProducer) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<Result<(), TransactionFailure>, TransactionError> {
        let called = self.call_native(what, |producer| match call(producer) {
            Ok(()) => Ok(Ok(())),
            Err(KafkaError::Transaction(error)) => Ok(Err(TransactionFailure::of(&error))),
            Err(error) => Err(error),
        });
        let lost =
            |error: KafkaError| TransactionError::new(TransactionErrorKind::Lost, failed(self.attempt(what), &error));
        called.await?.map_err(lost)
    }

    fn attempt(&self, what: &str) -> String {
        format!("{what} of transactions of `{}`", self.id)
    }

    fn error(&self, what: &str, failure: &TransactionFailure) -> TransportError {
        let why = match failure.code {
            RDKafkaErrorCode::TransactionalIdAuthorizationFailed => format!(
                "{}: grant this program the right to `Write` and `Describe` the transactional id, or set `processing_guarantee` to `at_least_once`",
                failure.text
            ),
            RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion => {
                format!("{}: set `processing_guarantee` to `at_least_once`", failure.text)
            }
            _ => failure.text.clone(),
        };
        TransportError { what: self.attempt(what), why, kind: kind(failure.code) }
    }

    /// Classifies a failure that is not repeated. The order of the classes is librdkafka's.
    fn classified(&self, what: &str, failure: &TransactionFailure) -> TransactionError {
        use RDKafkaErrorCode as Code;
        let kind = match failure.code {
            Code::TransactionalIdAuthorizationFailed | Code::UnsupportedFeature | Code::UnsupportedVersion => {
                TransactionErrorKind::Refused
            }
            _ if failure.requires_abort && !failure.is_fatal => TransactionErrorKind::Abortable,
            // An error without a class is a call in the wrong state.
            _ => TransactionErrorKind::Lost,
        };
        TransactionError::new(kind, self.error(what, failure))
    }
}

impl fmt::Debug for KafkaTransactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaTransactions({})", self.id)
    }
}

impl crate::transport::port::Sealed for KafkaTransactions {}

impl Transactions for KafkaTransactions {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::<KafkaSink>::clone(&self.sink)
    }

    fn begin(&self) -> BoxFuture<'_, Result<(), TransactionError>> {
        async {
            let what = "begin";
            self.call(what, Producer::begin_transaction).await?.map_err(|failure| self.classified(what, &failure))
        }
        .boxed()
    }

    fn send_offsets(
        &self,
        member: GroupMembership,
        offsets: BTreeMap<TopicPartition, Committed>,
    ) -> BoxFuture<'_, Result<(), TransactionError>> {
        async move {
            let what = "offsets";
            let abortable = |error| TransactionError::new(TransactionErrorKind::Abortable, error);
            let Some(member) = member.downcast::<ConsumerGroupMetadata>() else {
                return Err(abortable(TransportError::fatal(
                    self.attempt(what),
                    "the member is that of another cluster",
                )));
            };
            let list = to_commit(&offsets).map_err(|error| abortable(failed(self.attempt(what), &error)))?;
            let list = Arc::new(list);
            let began = Instant::now();
            loop {
                let (list, member) = (Arc::clone(&list), Arc::clone(&member));
                let sent = self.call(what, move |producer| producer.send_offsets_to_transaction(&list, &member, CALL));
                match sent.await? {
                    Ok(()) => return Ok(()),
                    Err(failure) if failure.is_retriable && began.elapsed() < OFFSETS_WITHIN => {
                        debug!(target: "faust::kafka", "{}; repeating", self.error(what, &failure));
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(failure) if failure.is_retriable => return Err(abortable(self.error(what, &failure))),
                    Err(failure) => return Err(self.classified(what, &failure)),
                }
            }
        }
        .boxed()
    }

    fn commit(&self) -> BoxFuture<'_, Result<(), TransactionError>> {
        self.end("commit", |producer| commit_transaction(producer, CALL)).boxed()
    }

    fn abort(&self) -> BoxFuture<'_, Result<(), TransactionError>> {
        let abort = |producer: &NativeProducer| match producer.abort_transaction(CALL) {
            Ok(()) => Ok(()),
            Err(KafkaError::Transaction(error)) => Err(TransactionFailure::of(&error)),
            Err(error) => Err(TransactionFailure {
                code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
                text: error.to_string(),
                is_fatal: true,
                requires_abort: false,
                is_retriable: false,
            }),
        };
        self.end("abort", abort).boxed()
    }

    /// If messages were discarded. librdkafka 2.12.1 gives their sequence numbers to the next ones
    /// (`rd_kafka_toppar_purge_queues`), also if they were sent before, and their acknowledgement was lost. The broker that has them
    /// takes the next ones for repetitions, and acknowledges them without storing them.
    fn is_spent(&self) -> bool {
        self.sink.producer().context().has_purged()
    }
}

impl KafkaTransactions {
    /// Repeats a call that ends the transaction until its outcome is known. Nothing else may be called meanwhile.
    async fn end(
        &self,
        what: &str,
        call: impl Fn(&NativeProducer) -> Result<(), TransactionFailure> + Clone + Send + 'static,
    ) -> Result<(), TransactionError> {
        let (began, mut reported) = (Instant::now(), Instant::now());
        loop {
            let Err(failure) = self.call_native(what, call.clone()).await? else { return Ok(()) };
            if !failure.is_retriable || failure.is_fatal || failure.requires_abort {
                return Err(self.classified(what, &failure));
            }
            if reported.elapsed() >= WATCHDOG {
                reported = Instant::now();
                let (error, took) = (self.error(what, &failure), began.elapsed());
                warn!(target: "faust::kafka", "{error}; its outcome is unknown for {took:?}, and it is repeated until that is known");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
