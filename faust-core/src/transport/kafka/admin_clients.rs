//! The clients of the administration. A thread of their own serves and closes them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::admin::AdminClient;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tracing::debug;

use super::config::KafkaConfig;
use super::connection::{self, NoListener};
use super::errors::unusable;
use super::native::{GroupDescription, describe_group};
use crate::error::TransportError;
use crate::transport::outage::Outage;

/// A consumer without a group, because a consumer's lookups never create topics.
pub(super) type LookupClient = BaseConsumer<LookupContext>;

/// Maximum duration of one poll, and so the maximum delay until dropped clients are closed.
const POLL: Duration = Duration::from_millis(100);

/// The client for changes of topics and groups.
pub(super) type ChangeClient = AdminClient<NoListener>;

/// The client for the committed offsets of a group, and the group's name. It is not a member of the group.
type GroupClient = (String, Arc<BaseConsumer<NoListener>>);

/// The clients of a cluster's administration.
///
/// Creating them starts threads, and closing them blocks for up to 100 ms, too long for a thread of the runtime.
pub(super) struct AdminClients {
    config: Arc<KafkaConfig>,
    /// Opened by the first change: most programs only look things up.
    changes: Arc<OnceLock<Arc<ChangeClient>>>,
    pub(super) lookups: Arc<LookupClient>,
    /// The client for the committed offsets of a group, opened by the first repeated lookup.
    offsets: Arc<Mutex<Option<GroupClient>>>,
    /// The client for descriptions of groups, opened by the first one, and again after one that times out.
    descriptions: Arc<Mutex<Option<Arc<LookupClient>>>>,
    outage: Arc<Outage>,
    /// Shared with the thread, which closes clients that are not in use. IMPORTANT: declared last, so that the thread drops the clients.
    _in_use: Arc<()>,
}

impl AdminClients {
    /// Opens the client for lookups. Blocks.
    pub(super) fn open(config: Arc<KafkaConfig>, outage: Arc<Outage>) -> Result<Self, TransportError> {
        let what = "opening the admin client";
        let lookups = open_lookups(&config, &outage).map_err(|error| unusable(what, &error))?;
        let changes = Arc::<OnceLock<Arc<ChangeClient>>>::default();
        let offsets = Arc::<Mutex<Option<GroupClient>>>::default();
        let descriptions = Arc::<Mutex<Option<Arc<LookupClient>>>>::default();
        let clients = (Arc::clone(&changes), Arc::clone(&lookups), Arc::clone(&offsets), Arc::clone(&descriptions));
        let in_use = Arc::new(());
        let watched = Arc::downgrade(&in_use);
        let serve = move || {
            // Serves log lines and errors, which would accumulate otherwise.
            while watched.strong_count() > 0 {
                drop(clients.1.poll(POLL));
                let of_group = clients.2.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some((_, client)) = of_group {
                    drop(client.poll(Duration::ZERO));
                }
                let described = clients.3.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(client) = described {
                    drop(client.poll(Duration::ZERO));
                }
            }
            drop(clients);
        };
        let thread = std::thread::Builder::new().name("faust-admin".to_owned());
        thread.spawn(serve).map_err(|error| TransportError::fatal(what, error))?;
        Ok(Self { config, changes, lookups, offsets, descriptions, outage, _in_use: in_use })
    }

    /// Returns the client for changes, which the first call opens. Blocks.
    pub(super) fn changes(&self) -> Result<Arc<ChangeClient>, TransportError> {
        if let Some(client) = self.changes.get() {
            return Ok(Arc::clone(client));
        }
        let client = self.open_for_changes()?;
        // Of two first calls, one closes its client again.
        Ok(Arc::clone(self.changes.get_or_init(|| Arc::new(client))))
    }

    /// Opens another client for changes. Blocks.
    pub(super) fn open_for_changes(&self) -> Result<ChangeClient, TransportError> {
        let mut client = self.config.lookup(None);
        // The client's log queue is not read, so log lines would accumulate there.
        client.set_log_level(RDKafkaLogLevel::Emerg);
        client.create_with_context(NoListener).map_err(|error| unusable("opening the admin client", &error))
    }

    /// Describes a group. Blocks.
    ///
    /// # Errors
    /// The client cannot be opened. The inner error is that of the request.
    pub(super) fn describe_group(
        &self,
        group: &str,
        within: Duration,
    ) -> Result<Result<GroupDescription, RDKafkaErrorCode>, TransportError> {
        let client = self.for_descriptions()?;
        let described = describe_group(client.client(), group, within);
        // The request goes on, and must end with its client.
        if let Err(RDKafkaErrorCode::OperationTimedOut) = described {
            let mut held = self.descriptions.lock().unwrap_or_else(PoisonError::into_inner);
            drop(held.take_if(|held| Arc::ptr_eq(held, &client)));
        }
        Ok(described)
    }

    fn for_descriptions(&self) -> Result<Arc<LookupClient>, TransportError> {
        let mut held = self.descriptions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*held {
            return Ok(Arc::clone(client));
        }
        let client = open_lookups(&self.config, &self.outage);
        let client = client.map_err(|error| unusable("opening the client for groups", &error))?;
        Ok(Arc::clone(held.insert(client)))
    }
}

fn open_lookups(config: &KafkaConfig, outage: &Arc<Outage>) -> Result<Arc<LookupClient>, KafkaError> {
    config.lookup(None).create_with_context(LookupContext(Arc::clone(outage))).map(Arc::new)
}

impl AdminClients {
    /// Returns the client for the committed offsets of this group. Another group's client is closed. Blocks.
    pub(super) fn of_group(&self, group: &str) -> Result<Arc<BaseConsumer<NoListener>>, TransportError> {
        let mut held = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = held.as_ref().filter(|(name, _)| name == group) {
            return Ok(Arc::clone(client));
        }
        let client = self.config.look_in(group).create_with_context(NoListener);
        let client = Arc::new(client.map_err(|error| unusable("opening the client of a group's offsets", &error))?);
        *held = Some((group.to_owned(), Arc::clone(&client)));
        Ok(client)
    }
}

/// The callbacks of the lookup client: its errors show why the brokers do not answer.
pub(super) struct LookupContext(Arc<Outage>);

impl ClientContext for LookupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        connection::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if !connection::means_down(&error) {
            self.0.failed(reason);
        }
        debug!(target: "faust::kafka", "{error}: {reason}");
    }
}

impl ConsumerContext for LookupContext {}
