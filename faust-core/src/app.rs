//! The app: which agents, which settings; where a worker or a client starts from.

use std::sync::Arc;

use crate::agent::{AgentEntry, AgentHandle, AgentOptions};
use crate::client::Client;
use crate::config::{Layers, Resolved, Settings};
use crate::error::Error;
use crate::local::{Connection, HostKind, WorkerDir};
use crate::plan::{Plan, ensure_topics, planner};
use crate::stage::{HookDef, HookHandle};
use crate::store::{self, StoreSet};
use crate::transport::Transport;
use crate::transport::kafka::KafkaTransport;
use crate::worker::{Parts, Worker, WorkerOptions};
use crate::{agent, codec};

/// A set of agents with settings, checked: what a worker runs.
#[derive(Debug)]
pub struct App {
    resolved: Resolved,
    agents: Vec<AgentEntry>,
    hooks: Vec<HookDef>,
}

/// An app while it is put together.
#[derive(Debug)]
#[must_use]
pub struct AppBuilder {
    id: String,
    layers: Layers,
    agents: Vec<AgentEntry>,
    hooks: Vec<HookDef>,
    /// Where to look for linked agents: nowhere, everywhere, or in one module.
    discover: Option<Option<&'static str>>,
}

/// An agent of an app, for lists.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AgentInfo {
    /// Its name.
    pub name: String,
    /// The topics it reads.
    pub topics: Vec<String>,
    /// The topics its values go to.
    pub sinks: Vec<String>,
    /// The first paragraph of its doc comment.
    pub help: &'static str,
    /// Where it is defined.
    pub file: &'static str,
    /// The line there.
    pub line: u32,
}

impl App {
    /// An app of every agent that is linked into the program.
    ///
    /// The id is the consumer group and the beginning of the names of the app's own topics: it must not change.
    #[allow(
        clippy::new_ret_no_self,
        reason = "an app is made by its builder; `App::new(..).main()` is what people write"
    )]
    pub fn new(id: impl Into<String>) -> AppBuilder {
        AppBuilder { discover: Some(None), ..Self::builder(id) }
    }

    /// An app of the agents that are named with [`AppBuilder::agent`].
    pub fn builder(id: impl Into<String>) -> AppBuilder {
        AppBuilder { id: id.into(), layers: Layers::default(), agents: Vec::new(), hooks: Vec::new(), discover: None }
    }

    /// The app's id.
    pub fn id(&self) -> &str {
        &self.resolved.settings.id
    }

    /// What is in force.
    pub fn settings(&self) -> &Settings {
        &self.resolved.settings
    }

    /// What is in force, and which layer said so.
    pub fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// The agents, sorted by name.
    pub fn agents(&self) -> Vec<AgentInfo> {
        let owned = |names: &[Arc<str>]| names.iter().map(|name| name.to_string()).collect();
        let info = |agent: &AgentEntry| AgentInfo {
            name: agent.name.to_string(),
            topics: owned(&agent.topics),
            sinks: owned(&agent.sinks),
            help: agent.def.help,
            file: agent.def.file,
            line: agent.def.line,
        };
        self.agents.iter().map(info).collect()
    }

    /// Runs every agent up to its stream and draws the topology. Needs no broker; partition counts are unknown.
    ///
    /// # Errors
    /// Every fault of every agent, and of the topology they make.
    pub async fn plan(&self) -> Result<Plan, Error> {
        planner::plan(&self.settings().group(), &self.agents, &self.hooks, self.settings().plan_timeout).await
    }

    /// Starts a worker in this process and returns when it has joined its group.
    ///
    /// Waits for a broker that is away. With no broker set, the worker brings its own.
    ///
    /// # Errors
    /// Faults of the topology; topics that do not fit it; what the broker refuses for good.
    pub async fn start(&self) -> Result<Worker, Error> {
        self.start_with(WorkerOptions::default()).await
    }

    /// As [`start`](Self::start), with options.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(&self, options: WorkerOptions) -> Result<Worker, Error> {
        let settings = self.settings();
        // Before anything is opened: a mistake in an agent should cost no broker.
        let plan = self.plan().await?;
        let connection = Connection::host(settings, HostKind::Worker).await?;
        let directory = WorkerDir::take(&settings.datadir)?;
        let stores = self.stores(&plan, directory.path()).await?;
        let kafka = connection.kafka(settings, options.until_idle.is_some());
        let transport: Arc<dyn Transport> = Arc::new(KafkaTransport::new(kafka));
        let home = Some((connection, directory));
        Worker::start(Parts { settings: settings.clone(), plan, transport, stores, home, options }).await
    }

    /// Starts a worker on a given transport: the test driver's way.
    #[cfg(feature = "testing")]
    pub(crate) async fn start_on(
        &self,
        transport: Arc<dyn Transport>,
        stores: Option<Arc<dyn StoreSet>>,
    ) -> Result<Worker, Error> {
        let plan = self.plan().await?;
        let (settings, options) = (self.settings().clone(), WorkerOptions::default());
        Worker::start(Parts { settings, plan, transport, stores, home: None, options }).await
    }

    /// Opens the database of a worker's tables, if it has any.
    async fn stores(&self, plan: &Plan, directory: &std::path::Path) -> Result<Option<Arc<dyn StoreSet>>, Error> {
        if plan.tables().next().is_none() {
            return Ok(None);
        }
        let Settings { version, store: kind, .. } = *self.settings();
        let directory = store::directory(directory, version, kind);
        let opened = tokio::task::spawn_blocking(move || store::open(kind, &directory)).await;
        let opened = opened.map_err(|error| Error::LocalState(format!("the stores could not be opened: {error}")))?;
        opened.map_err(|error| Error::LocalState(error.to_string()))
    }

    /// Connects to the broker this app uses, which must be running, to send and read by hand.
    ///
    /// # Errors
    /// No broker is set and none of this app runs.
    pub async fn client(&self) -> Result<Client, Error> {
        Client::connect(self.settings()).await
    }

    /// Creates the app's missing topics and checks the others, as a worker does at its start.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn declare(&self, client: &Client) -> Result<Plan, Error> {
        let mut plan = self.plan().await?;
        ensure_topics(&mut plan, &*client.transport().admin()?, self.settings()).await?;
        Ok(plan)
    }
}

impl AppBuilder {
    /// The app's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Registers one agent: `.agent::<count>()`.
    pub fn agent<A: AgentHandle>(self) -> Self {
        self.agent_with::<A>(|options| options)
    }

    /// Registers one agent under another name or for other topics; in a loop, one function becomes many agents.
    pub fn agent_with<A: AgentHandle>(mut self, change: impl FnOnce(AgentOptions) -> AgentOptions) -> Self {
        self.agents.push(AgentEntry::new(A::DEF).with(change));
        self
    }

    /// Registers one function of `#[window_close]` or `#[window_late]`: `.hook::<closed>()`.
    pub fn hook<H: HookHandle>(mut self) -> Self {
        self.hooks.push(H::DEF);
        self
    }

    /// Finds the linked agents of one module and of those below it; for tests, `discover_in(module_path!())`.
    pub fn discover_in(mut self, module: &'static str) -> Self {
        self.discover = Some(Some(module));
        self
    }

    /// Sets a value in the program, below the file, the environment and the command line.
    pub fn setting(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.layers.builder(name, value);
        self
    }

    /// All layers of settings, for whoever reads files, environments and command lines.
    pub fn layers_mut(&mut self) -> &mut Layers {
        &mut self.layers
    }

    /// Takes the environment (`FAUST_..`) and `faust.toml` into account, as the command line does by itself.
    pub fn from_process(mut self) -> Self {
        self.layers.process();
        self
    }

    /// Connects to the app's broker, which must be running, without any agent: for programs that only send or read.
    ///
    /// # Errors
    /// Faults of the settings; no broker is set and none of this app runs.
    pub async fn client(self) -> Result<Client, Error> {
        let resolved = self.layers.resolve(&self.id).map_err(Error::Setup)?;
        Client::connect(&resolved.settings).await
    }

    /// Checks everything.
    ///
    /// # Errors
    /// All faults together: settings, agents, codecs, records.
    pub fn build(self) -> Result<App, Error> {
        let Self { id, layers, mut agents, mut hooks, discover } = self;
        if let Some(module) = discover {
            agents.extend(agent::discover(module));
            hooks.extend(agent::discover_hooks(module));
        }
        agent::sort_hooks(&mut hooks);
        let (agents, mut faults) = agent::check(agents);
        faults.extend(codec::faults());
        match layers.resolve(&id) {
            Ok(resolved) if faults.is_empty() => Ok(App { resolved, agents, hooks }),
            Ok(_) => Err(Error::setup(faults)),
            Err(settings) => Err(Error::setup(settings.faults().iter().cloned().chain(faults).collect())),
        }
    }
}
