//! The clients of the administration. A thread of their own serves and closes them.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
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
    outage: Arc<Outage>,
    open: Arc<OpenClients>,
    /// Shared with the thread, which closes clients that are not in use. IMPORTANT: declared last, so that the thread drops the clients.
    _in_use: Arc<()>,
}

/// The clients that are open, shared with the thread that serves them.
struct OpenClients {
    lookups: Arc<LookupClient>,
    /// Opened by the first change: most programs only look things up.
    changes: OnceLock<Arc<ChangeClient>>,
    /// The client for the committed offsets of a group, opened by the first repeated lookup.
    offsets: Mutex<Option<GroupClient>>,
    /// The client for descriptions of groups, opened by the first one, and again after one that times out.
    descriptions: Mutex<Option<Arc<LookupClient>>>,
}

impl OpenClients {
    fn offsets(&self) -> MutexGuard<'_, Option<GroupClient>> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn descriptions(&self) -> MutexGuard<'_, Option<Arc<LookupClient>>> {
        self.descriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves log lines and errors, which would accumulate otherwise. Blocks for [`POLL`] at most.
    fn serve(&self) {
        drop(self.lookups.poll(POLL));
        let of_group = self.offsets().as_ref().map(|(_, client)| Arc::clone(client));
        if let Some(client) = of_group {
            drop(client.poll(Duration::ZERO));
        }
        let described = self.descriptions().clone();
        if let Some(client) = described {
            drop(client.poll(Duration::ZERO));
        }
    }
}

impl AdminClients {
    /// Opens the client for lookups. Blocks.
    pub(super) fn open(config: Arc<KafkaConfig>, outage: Arc<Outage>) -> Result<Self, TransportError> {
        let what = "opening the admin client";
        let open = Arc::new(OpenClients {
            lookups: open_lookups(&config, &outage).map_err(|error| unusable(what, &error))?,
            changes: OnceLock::new(),
            offsets: Mutex::default(),
            descriptions: Mutex::default(),
        });
        let in_use = Arc::new(());
        let (served, watched) = (Arc::clone(&open), Arc::downgrade(&in_use));
        let serve = move || {
            while watched.strong_count() > 0 {
                served.serve();
            }
            drop(served);
        };
        let thread = std::thread::Builder::new().name("faust-admin".to_owned());
        thread.spawn(serve).map_err(|error| TransportError::fatal(what, error))?;
        Ok(Self { config, outage, open, _in_use: in_use })
    }

    /// Returns the client for lookups.
    pub(super) fn lookups(&self) -> &LookupClient {
        &self.open.lookups
    }

    /// Returns the client for changes, which the first call opens. Blocks.
    pub(super) fn changes(&self) -> Result<Arc<ChangeClient>, TransportError> {
        if let Some(client) = self.open.changes.get() {
            return Ok(Arc::clone(client));
        }
        let client = self.open_for_changes()?;
        // Of two first calls, one closes its client again.
        Ok(Arc::clone(self.open.changes.get_or_init(|| Arc::new(client))))
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
            drop(self.open.descriptions().take_if(|held| Arc::ptr_eq(held, &client)));
        }
        Ok(described)
    }

    fn for_descriptions(&self) -> Result<Arc<LookupClient>, TransportError> {
        let mut held = self.open.descriptions();
        if let Some(client) = &*held {
            return Ok(Arc::clone(client));
        }
        let client = open_lookups(&self.config, &self.outage);
        let client = client.map_err(|error| unusable("opening the client for groups", &error))?;
        Ok(Arc::clone(held.insert(client)))
    }

    /// Returns the client for the committed offsets of this group. Another group's client is closed. Blocks.
    pub(super) fn of_group(&self, group: &str) -> Result<Arc<BaseConsumer<NoListener>>, TransportError> {
        let mut held = self.open.offsets();
        if let Some((_, client)) = held.as_ref().filter(|(name, _)| name == group) {
            return Ok(Arc::clone(client));
        }
        let client = self.config.look_in(group).create_with_context(NoListener);
        let client = Arc::new(client.map_err(|error| unusable("opening the client of a group's offsets", &error))?);
        *held = Some((group.to_owned(), Arc::clone(&client)));
        Ok(client)
    }
}

fn open_lookups(config: &KafkaConfig, outage: &Arc<Outage>) -> Result<Arc<LookupClient>, KafkaError> {
    config.lookup(None).create_with_context(LookupContext(Arc::clone(outage))).map(Arc::new)
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
