//! The connection to the broker for all commands but `worker` and `broker`. It never starts a broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use faust_core::config::{Resolved, Settings};
use faust_core::directory::RunningApp;
use faust_core::local::Connection;
use faust_core::plan::Plan;
use faust_core::transport::kafka::KafkaTransport;
use faust_core::transport::{Retries, TopicPartition, Transport, TransportError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::output::Output;

/// Upper limit of the request timeout. A request that takes longer is reported to the user and retried.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection to the broker, which may be unavailable at the moment.
pub(crate) struct Client {
    pub(crate) settings: Settings,
    pub(crate) transport: Arc<dyn Transport>,
    /// Address and host of the broker.
    pub(crate) description: String,
    /// `true` if the broker is the embedded broker of this app, which runs on this machine.
    pub(crate) is_embedded: bool,
    retries: Retries,
}

impl Client {
    /// Finds the address of the broker. `timeout` limits how long all later requests wait for the broker.
    ///
    /// # Errors
    /// No broker is set, and none is running for the app on this machine.
    pub(crate) async fn find(resolved: Resolved, timeout: Option<Duration>, out: &Output) -> Result<Self, Failure> {
        let settings = resolved.settings;
        let connection = Connection::find(&settings).await?;
        let mut kafka = connection.kafka(&settings);
        kafka.request_timeout = kafka.request_timeout.min(REQUEST_TIMEOUT);
        let transport = Arc::new(KafkaTransport::new(kafka));
        let retries = Retries::new(out.notes()).of(transport.outage());
        let retries = retries.with_deadline(timeout.map(|timeout| Instant::now() + timeout));
        let (description, is_embedded) = (connection.describe(), connection.is_embedded());
        Ok(Self { settings, transport, description, is_embedded, retries })
    }

    /// Limits how long all later requests wait for the broker, from now on; `None` if they wait without a limit.
    pub(crate) fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.retries.set_deadline(timeout.map(|timeout| Instant::now() + timeout));
    }

    /// Repeats the attempt until it succeeds, as long as the timeout allows.
    ///
    /// # Errors
    /// Fails if the error is not retriable, or at the timeout.
    pub(crate) async fn retry<'a, T>(
        &mut self,
        attempt: impl Fn() -> BoxFuture<'a, Result<T, TransportError>>,
    ) -> Result<T, Failure> {
        self.retries.run("the broker", attempt).await.map_err(|error| self.failure(error))
    }

    /// Waits after a failed attempt, until the next one is due.
    ///
    /// # Errors
    /// As [`retry`](Self::retry).
    pub(crate) async fn after(&mut self, error: TransportError) -> Result<(), Failure> {
        self.retries.after("the broker", error).await.map_err(|error| self.failure(error))
    }

    /// Reads what the workers of the app say of themselves; `None` if the app has no control topic, and so no workers.
    ///
    /// # Errors
    /// Fails if the broker refuses a request or does not answer, or if the control topic of a group with members is missing.
    pub(crate) async fn running_app(&mut self, plan: &Plan) -> Result<Option<RunningApp>, Failure> {
        let (admin, group) = (self.transport.admin()?, self.settings.group());
        let members = self.retry(|| admin.members(&group)).await?;
        let name = plan.control_topic();
        let found = self.retry(|| admin.topics(Some(vec![name.clone()]))).await?;
        if !found.contains_key(&name) {
            return match members {
                0 => Ok(None),
                count => Err(Failure::error(format!(
                    "group `{group}` has {count} members, but topic `{name}`, in which workers describe themselves, does not exist: nothing is known of them"
                ))),
            };
        }
        let transport = Arc::clone(&self.transport);
        self.retry(|| RunningApp::read(&*transport, plan, members > 0).boxed()).await.map(Some)
    }

    /// Awaits `future`, and reports if the broker does not answer meanwhile. The timeout does not apply.
    pub(crate) async fn watch<T>(&mut self, what: &str, future: impl Future<Output = T>) -> T {
        self.retries.watch(what, future).await
    }

    fn failure(&self, error: TransportError) -> Failure {
        match error.is_retriable() {
            true => {
                let outage = self.transport.outage();
                let advice = outage.advice().map_or_else(String::new, |advice| format!("; {advice}"));
                Failure::error(format!("no answer in time from the broker at {outage}: {error}{advice}"))
            }
            false => error.into(),
        }
    }

    /// Returns the number of messages in each topic, by the watermarks of its partitions. `topics` maps names to
    /// partition counts.
    pub(crate) async fn messages(&mut self, topics: &BTreeMap<String, i32>) -> Result<BTreeMap<String, u64>, Failure> {
        let admin = self.transport.admin()?;
        let partitions = |(name, count): (&String, &i32)| {
            let topic: Arc<str> = name.as_str().into();
            (0..*count).map(move |number| TopicPartition::new(Arc::clone(&topic), number))
        };
        let every: Vec<TopicPartition> = topics.iter().flat_map(partitions).collect();
        let marks = self.retry(|| admin.watermarks(every.clone())).await?;
        let mut messages: BTreeMap<String, u64> = topics.keys().map(|name| (name.clone(), 0)).collect();
        for (partition, (low, high)) in &marks {
            *messages.entry(partition.topic.to_string()).or_default() += high.since(*low);
        }
        Ok(messages)
    }
}
